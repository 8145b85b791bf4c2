"""Measures of brain slices, without weights: outline, symmetry, contrast of the tissues, lesions, background.

What is white matter, grey matter or fluid is told by brightness alone. In a head that is not skull-stripped skull and
scalp are among it: compare such images with their like alone.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
from scipy import fft, ndimage
from skimage.filters import threshold_multiotsu

from scansynth import cores

# Tissues from dark to bright in each contrast. The first contrast here that an image has is the one they are told in.
TISSUES = {"t1": ("csf", "grey", "white"), "t2": ("white", "grey", "csf"), "flair": ("csf", "white", "grey")}

MEASURES = {
    "head_area": "area of the head (of the brain where it is skull-stripped), as a share of the image",
    "background": "share of the pixels well outside the head that are brighter than 4 of 255 in any contrast; 0 where "
    "the outside is masked",
    "symmetry": "correlation of the head with its mirror image about its own midline, at half the resolution, -1 to 1; "
    "of axial and coronal slices",
    "edge_agreement": "correlation of the contrasts' edges (gradient magnitudes) inside the head, mean of pairs, -1 "
    "to 1: whether they show the same anatomy",
    **{
        f"{tissue}_white_{contrast}": f"brightness of {words} over that of white matter in {contrast.upper()} (medians)"
        for contrast in TISSUES
        for tissue, words in (("grey", "grey matter"), ("fluid", "the 3% of the head most like water"))
    },
    "lesion_load": "share of the head that is far brighter in FLAIR than what is not fluid is",
}

SMOOTH = 1.0  # pixels, standard deviation of the filter before masks and edges are taken
AIR = 0.15  # of the way from the 2nd to the 98th percentile: what is above it is head
LEAST = 0.02  # share of the image that a head covers
MARGIN = 5  # pixels around the head that belong neither to it nor to the background
FLOOR = 4  # brightness that the background may have
RIM = 3  # pixels inside the head's outline, whose edge all contrasts have
TURNS = range(-24, 25, 6)  # degrees of the mirror image against the image: twice the midline's tilt
FLUID = 0.03  # share of the head
BRIGHT = 2.5  # robust standard deviations
EVEN = 0.06  # of the median: matter varies by as much
TINY = 1e-6


def measure(pixels: np.ndarray, channels: Sequence[str]) -> dict[str, np.ndarray]:
    """All of ``MEASURES`` of slices, each float64 (n,), NaN where it cannot be taken.

    ``pixels`` is uint8 of shape (n, channels, size, size), and ``channels`` names the contrasts: tissues are told in
    t1, t2 and flair, not in others. Without a head ``head_area`` is 0, and ``background`` alone is measured beside it.
    """
    if pixels.shape[1] != len(channels):
        raise ValueError(f"{pixels.shape[1]} channels, but {len(channels)} names: {', '.join(channels)}")
    names = [channel.lower() for channel in channels]
    # Threads are enough: the filters run outside the interpreter's lock.
    with ThreadPoolExecutor(cores.granted()) as pool:
        rows = list(pool.map(lambda image: _measures(image.astype(np.float32), names), pixels))
    return {name: np.array([row.get(name, np.nan) for row in rows], dtype=np.float64) for name in MEASURES}


def head_mask(image: np.ndarray) -> np.ndarray:
    """Where there is head, bool (size, size), of contrasts (channels, size, size); nowhere if it is too small.

    What is brighter than air in any contrast, as the Brain Extraction Tool tells the two (Smith 2002, Human Brain
    Mapping 17): the largest part of it, without holes.
    """
    bright = ndimage.gaussian_filter(image.max(0), SMOOTH)
    low, high = np.percentile(bright, (2, 98))
    labels, count = ndimage.label(ndimage.binary_opening(bright > low + AIR * (high - low), iterations=2))
    if not count:
        return np.zeros(bright.shape, bool)
    head = ndimage.binary_fill_holes(labels == 1 + np.bincount(labels.ravel())[1:].argmax())
    return head if head.mean() >= LEAST else np.zeros_like(head)


def symmetry(image: np.ndarray, head: np.ndarray) -> float:
    """Correlation of the ``head`` in an image (channels, size, size) with its best mirror image; NaN where it is flat.

    The mirror image is turned, and moved to where the two correlate best. Outside the head both are at their mean.
    """
    inside = _halved(head) > 0.5
    values = _halved(image)
    spreads = values[:, inside].std(1)
    if spreads.min() < TINY:
        return np.nan
    values = (values - values[:, inside].mean(1)[:, None, None]) / spreads[:, None, None] * inside
    shape = (3 * len(inside) // 2,) * 2  # room for moves of up to half the image
    transformed = fft.rfft2(values, shape)
    best = max(
        fft.irfft2((transformed * fft.rfft2(_turned(values[..., ::-1], turn), shape).conj()).sum(0), shape).max()
        for turn in TURNS
    )
    return float(best / values[:, inside].size)


def lesion_mask(flair: np.ndarray, head: np.ndarray, matter: np.ndarray) -> np.ndarray:
    """Where in the head FLAIR (size, size) is far brighter than its median in the ``matter`` that is not fluid.

    Far is 2.5 standard deviations, estimated by the median absolute deviation, which lesions hardly change, and at
    least 15% brighter: grey matter is, a little, than white.
    """
    smooth = ndimage.gaussian_filter(flair, SMOOTH)
    middle = np.median(smooth[matter])
    deviation = max(1.4826 * np.median(np.abs(smooth[matter] - middle)), EVEN * middle)
    return ndimage.binary_opening(head & (smooth > middle + BRIGHT * deviation + TINY))


def _measures(image: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """The measures of one slice (channels, size, size), those that can be taken."""
    head = head_mask(image)
    outside = ~ndimage.binary_dilation(head, iterations=MARGIN)
    found = {"head_area": head.mean()}
    if outside.any():
        found["background"] = (image.max(0)[outside] > FLOOR).mean()
    inner = ndimage.binary_erosion(head, iterations=RIM)
    if not inner.any():
        return found
    found["symmetry"] = symmetry(image, head)
    if len(image) > 1:
        found["edge_agreement"] = _edge_agreement(image, inner)
    # Without the outermost pixels, which are partly air.
    return found | _of_tissues(image, ndimage.binary_erosion(head), names)


def _of_tissues(image: np.ndarray, head: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Brightness of the tissues, and lesions; nothing if no contrast is known, or it has too few values for classes.

    The classes are Otsu's (1979, IEEE Trans. Syst. Man Cybern. 9) in T1, else in T2 or FLAIR.
    """
    contrasts = {name: image[names.index(name)] for name in TISSUES if name in names}
    told_in = next(iter(contrasts), None)
    if told_in is None or len(np.unique(contrasts[told_in][head])) < len(TISSUES[told_in]):
        return {}
    values = contrasts[told_in][head]
    classes = np.full(head.shape, -1)
    classes[head] = np.digitize(values, threshold_multiotsu(values, len(TISSUES[told_in])), right=True)
    white, grey, csf = (classes == TISSUES[told_in].index(tissue) for tissue in ("white", "grey", "csf"))
    found = {}
    watery = _watery(contrasts)
    fluid = head & (watery >= np.quantile(watery[head], 1 - FLUID))
    for name, contrast in contrasts.items():
        brightness = np.median(contrast[white])
        if brightness > 0:
            found[f"grey_white_{name}"] = np.median(contrast[grey]) / brightness
            found[f"fluid_white_{name}"] = np.median(contrast[fluid]) / brightness
    if "flair" in contrasts:
        found["lesion_load"] = lesion_mask(contrasts["flair"], head, head & ~csf).sum() / head.sum()
    return found


def _watery(contrasts: dict[str, np.ndarray]) -> np.ndarray:
    """How much like water each pixel (size, size) is: bright in T2 and dark in T1.

    Dark in FLAIR where there is nothing else; beside others it is not asked, so that its suppression can be measured.
    """
    told = {name: contrast for name, contrast in contrasts.items() if name != "flair"} or contrasts
    signed = sum(contrast if name == "t2" else -contrast for name, contrast in told.items())
    return ndimage.gaussian_filter(signed, SMOOTH)


def _edge_agreement(image: np.ndarray, inner: np.ndarray) -> float:
    """Mean correlation of the gradient magnitudes of all pairs of contrasts; NaN where one of them has no edge."""
    edges = [ndimage.gaussian_gradient_magnitude(contrast, SMOOTH)[inner] for contrast in image]
    if min(edge.std() for edge in edges) < TINY:
        return np.nan
    return float(np.mean([np.corrcoef(pair)[0, 1] for pair in combinations(edges, 2)]))


def _halved(values: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels of (..., size, size), float32."""
    *leading, rows, columns = values.shape
    return values.reshape(*leading, rows // 2, 2, columns // 2, 2).mean((-3, -1), dtype=np.float32)


def _turned(values: np.ndarray, degrees: float) -> np.ndarray:
    return ndimage.rotate(values, degrees, axes=(1, 2), reshape=False, order=1)
