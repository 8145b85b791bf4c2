"""Measures of H&E patches, without weights: the two stains, the nuclei, and where there is no tissue."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.measure import label

from scansynth import cores
from scansynth.picture import COLOUR
from scansynth.prepare.readers.stain import LEAST, PARALLEL, REFERENCE, STAINED, WHITE, stains_of

MEASURES = {
    "haematoxylin_angle": "angle between the patch's haematoxylin and the standard one, in degrees of optical density",
    "eosin_angle": "the same of eosin",
    "stain_separation": "angle between the patch's two stains, in degrees",
    "haematoxylin": "mean optical density (natural logarithm) of haematoxylin",
    "eosin": "the same of eosin",
    "white": "share of the patch without stain",
    "nuclear_density": "nuclei per 100 x 100 pixels",
    "nuclear_area": "median area of a nucleus, in pixels",
    "nuclear_share": "share of the patch that is nucleus",
}
SMOOTH = 0.7  # pixels, standard deviation of the filter before nuclei are outlined
SMALLEST = 12  # pixels of a nucleus
LARGEST_HOLE = 25  # pixels inside a nucleus
APART = 3  # pixels between the centres of two nuclei
CONTRAST = 0.12  # optical density that nuclei have more than what is around them, at least


def measure(pixels: np.ndarray, channels: Sequence[str]) -> dict[str, np.ndarray]:
    """All of ``MEASURES`` of patches (n, 3, size, size), uint8: each float64 (n,), NaN where it cannot be taken.

    Stains are told apart by the method of Macenko et al. 2009 (see ``prepare.readers.stain``); where a patch has too
    little stain for it, or one alone, only ``white`` is measured. Images that are not in colour have no measure.
    """
    coloured = list(channels) == COLOUR
    # Threads are enough: what takes the time runs outside the interpreter's lock.
    with ThreadPoolExecutor(cores.granted()) as pool:
        rows = list(pool.map(_measures, pixels)) if coloured else [{}] * len(pixels)
    return {name: np.array([row.get(name, np.nan) for row in rows], dtype=np.float64) for name in MEASURES}


def nuclei(haematoxylin: np.ndarray) -> np.ndarray:
    """Outlines of the nuclei of a patch by its haematoxylin's optical density (size, size): int, 0 or a number each.

    What is above Otsu's threshold, cut where the distance from the border has its ridges.
    """
    smooth = ndimage.gaussian_filter(haematoxylin, SMOOTH)
    threshold = threshold_otsu(smooth)
    dark = _filled(smooth > threshold)
    if not dark.any() or smooth[dark].mean() - smooth[~dark].mean() < CONTRAST:
        return np.zeros(dark.shape, dtype=np.int64)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(dark), 1)
    peaks = peak_local_max(depth, min_distance=APART, labels=label(dark), exclude_border=False)
    seeds = np.zeros(dark.shape, dtype=bool)
    seeds[tuple(peaks.T)] = True
    nearest = ndimage.distance_transform_edt(~seeds, return_distances=False, return_indices=True)
    return np.where(dark, label(seeds)[tuple(nearest)], 0)


def _filled(dark: np.ndarray) -> np.ndarray:
    """The mask (size, size) with its small holes filled: the pale insides of nuclei, and no lumen among them."""
    holes = label(ndimage.binary_fill_holes(dark) & ~dark)
    small = np.bincount(holes.ravel()) <= LARGEST_HOLE
    small[0] = False
    return dark | small[holes]


def _measures(image: np.ndarray) -> dict[str, float]:
    """The measures of one patch (3, size, size)."""
    density = np.maximum(-np.log((image.reshape(3, -1).T + 1.0) / WHITE), 0)
    stained = density.mean(1) > STAINED
    found = {"white": 1 - stained.mean()}
    if stained.mean() < LEAST:
        return found
    stains = stains_of(density[stained])
    apart = np.linalg.norm(np.cross(*stains))
    if apart < PARALLEL:
        return found
    standard = REFERENCE / np.linalg.norm(REFERENCE, axis=1, keepdims=True)
    angles = np.degrees(np.arccos(np.clip((stains * standard).sum(1), -1, 1)))
    amounts = (density @ np.linalg.pinv(stains)).T.reshape(2, *image.shape[1:])
    found |= dict(zip(("haematoxylin_angle", "eosin_angle"), angles, strict=True))
    found |= dict(zip(("haematoxylin", "eosin"), amounts.mean((1, 2)), strict=True))
    found["stain_separation"] = np.degrees(np.arcsin(min(apart, 1)))
    return found | _of_nuclei(nuclei(amounts[0]))


def _of_nuclei(outlines: np.ndarray) -> dict[str, float]:
    areas = np.bincount(outlines.ravel())[1:]
    areas = areas[areas >= SMALLEST]
    found = {"nuclear_density": len(areas) / outlines.size * 1e4, "nuclear_share": areas.sum() / outlines.size}
    return found | ({"nuclear_area": float(np.median(areas))} if len(areas) else {})
