"""Measures of frontal chest radiographs, from the outlines of lungs and heart.

For frontal images alone: side on, a heart has no width to compare with the thorax. The caller leaves laterals out.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from skimage.measure import regionprops

# What a pixel of a mask shows. In a picture the patient's right is at the left.
RIGHT_LUNG, LEFT_LUNG, HEART = 1, 2, 3
STRUCTURES = {RIGHT_LUNG: "right lung", LEFT_LUNG: "left lung", HEART: "heart"}

MEASURES = {
    "cardiothoracic_ratio": "largest width of the heart over the largest inner width of the thorax, from the right "
    "lung's outer border to the left one's",
    "right_lung_area": "area of the lung at the picture's left, as a share of the image",
    "left_lung_area": "area of the lung at the picture's right, as a share of the image",
    "heart_area": "area of the heart, as a share of the image",
    "lung_symmetry": "area of the smaller lung over that of the larger one",
    "heart_offset": "from the middle of the thorax to the heart's centroid, in widths of the thorax; above 0 towards "
    "the patient's left (the picture's right)",
    "heart_on_left": "1 where that offset is above 0, as it should be; else 0",
    "dome_difference": "how much higher the diaphragm is at the patient's right than at the left, in widths of the "
    "thorax",
    "plausible": "1 where two lungs and a heart of plausible size, shape, place and brightness were found; else 0, and "
    "the other measures are not taken",
}

# Limits of what may be a chest, wide enough for the sick and the badly positioned: least and most.
LUNG_AREA, HEART_AREA = (0.015, 0.30), (0.012, 0.25)  # shares of the image
SYMMETRY = 0.25  # least
SOLIDITY = {RIGHT_LUNG: 0.65, LEFT_LUNG: 0.65, HEART: 0.85}  # least share of the convex hull that a structure fills
RATIO = (0.25, 0.85)  # cardiothoracic
CONTRAST = 0.2  # heart less each lung, in standard deviations of the image; has to be above


class Outliner(Protocol):
    """What outlines lungs and heart: see ``scansynth.evaluate.segmenter``."""

    def outline(self, pixels: np.ndarray) -> np.ndarray:
        """Masks (n, size, size), uint8, of images (n, channels, size, size), uint8."""
        ...


def measure(pixels: np.ndarray, channels: Sequence[str], segmenter: Outliner) -> dict[str, np.ndarray]:
    """All of ``MEASURES`` of frontal images, each float64 (n,), NaN where it cannot be taken.

    ``pixels`` is uint8 of shape (n, channels, size, size), and ``channels`` names the channels, whose mean is taken.
    Images that do not show a chest plausibly have a ``plausible`` of 0 and NaN for all else.
    """
    if pixels.shape[1] != len(channels):
        raise ValueError(f"{pixels.shape[1]} channels, but {len(channels)} names: {', '.join(channels)}")
    return of_masks(segmenter.outline(pixels), pixels)


def of_masks(masks: np.ndarray, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """All of ``MEASURES`` of images (n, channels, size, size) with these outlines (n, size, size)."""
    ratios = cardiothoracic_ratio(masks)
    rows = [_measures(mask, image.mean(0), ratio) for mask, image, ratio in zip(masks, pixels, ratios, strict=True)]
    return {name: np.array([row.get(name, np.nan) for row in rows], dtype=np.float64) for name in MEASURES}


def cardiothoracic_ratio(masks: np.ndarray) -> np.ndarray:
    """Largest width of the heart over the largest of the thorax (Danzer 1919), float64 (n,), of masks (n, size, size).

    The thorax is as wide as a row in which the lungs' outer borders are farthest apart. NaN without lungs or a heart.
    """
    lungs = (masks == RIGHT_LUNG) | (masks == LEFT_LUNG)
    heart, thorax = _extent((masks == HEART).any(1)), _extent(lungs).max(1)
    found = (heart > 0) & (thorax > 0)
    return np.divide(heart, thorax, out=np.full(len(masks), np.nan), where=found)


def _extent(lines: np.ndarray) -> np.ndarray:
    """From the first to the last true element of each line (..., size), in pixels; 0 where there is none."""
    last = lines.shape[-1] - lines[..., ::-1].argmax(-1)
    return np.where(lines.any(-1), last - lines.argmax(-1), 0)


def _measures(mask: np.ndarray, image: np.ndarray, ratio: float) -> dict[str, float]:
    """The measures of one image (size, size); ``plausible`` alone where it is 0."""
    regions = {region.label: region for region in regionprops(mask, image)}
    if not _plausible(regions, mask.size, ratio, image.std()):
        return {"plausible": 0}
    right, left, heart = (regions[label] for label in STRUCTURES)
    lungs = (mask == RIGHT_LUNG) | (mask == LEFT_LUNG)
    widths = _extent(lungs)
    width, row = widths.max(), widths.argmax()
    middle = np.nonzero(lungs[row])[0][0] + (width - 1) / 2
    offset = (heart.centroid[1] - middle) / width
    return {
        "cardiothoracic_ratio": ratio,
        "right_lung_area": right.area / mask.size,
        "left_lung_area": left.area / mask.size,
        "heart_area": heart.area / mask.size,
        "lung_symmetry": _symmetry(right, left),
        "heart_offset": offset,
        "heart_on_left": offset > 0,
        "dome_difference": (_dome(mask, left) - _dome(mask, right)) / width,
        "plausible": 1,
    }


def _plausible(regions: dict, pixels: int, ratio: float, spread: float) -> bool:
    """Whether the regions, by label, of an image of so many pixels and such a spread may be those of a chest."""
    if len(regions) < len(STRUCTURES):
        return False
    right, left, heart = (regions[label] for label in STRUCTURES)
    height, across = zip(*(region.centroid for region in (right, left, heart)), strict=True)
    return bool(
        all(LUNG_AREA[0] <= lung.area / pixels <= LUNG_AREA[1] for lung in (right, left))
        and HEART_AREA[0] <= heart.area / pixels <= HEART_AREA[1]
        and _symmetry(right, left) >= SYMMETRY
        and RATIO[0] <= ratio <= RATIO[1]
        and across[0] < across[2] < across[1]
        and height[2] > (height[0] + height[1]) / 2
        and all(heart.intensity_mean - lung.intensity_mean > CONTRAST * spread for lung in (right, left))
        and all(regions[label].solidity >= least for label, least in SOLIDITY.items())
    )


def _symmetry(right, left) -> float:
    return min(right.area, left.area) / max(right.area, left.area)


def _dome(mask: np.ndarray, lung) -> float:
    """Row of the diaphragm below a lung: the median of its lower border, from its middle to near its outer border.

    Nearer the midline the border is the mediastinum's; where the heart lies below, the diaphragm is not seen. NaN
    where it is nowhere seen.
    """
    _, first, _, end = lung.bbox
    middle = lung.centroid[1]
    outer = first if lung.label == RIGHT_LUNG else end - 1
    near, far = sorted((middle, middle + 0.8 * (outer - middle)))
    columns = np.arange(int(np.ceil(near)), int(far) + 1)
    inside = mask[:, columns] == lung.label
    last = len(mask) - 1 - inside[::-1].argmax(0)
    below = mask[np.minimum(last + 1, len(mask) - 1), columns]
    seen = inside.any(0) & (below == 0)
    return float(np.median(last[seen])) if seen.any() else np.nan
