"""Image statistics without weights: intensity, texture, edges, spectrum and coarse layout.

Families as in the Image Biomarker Standardisation Initiative (Zwanenburg et al. 2020, arXiv:1612.07003), taken over the
whole image and chosen so that blur, noise, block artefacts and misplaced anatomy each change some of them.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from scipy import ndimage
from scipy.special import entr
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern

from scansynth import cores

VERSION = "1"
LEVELS = 16  # grey levels of the co-occurrence matrices
DISTANCES = (1, 2, 4)  # pixels between the two of a pair
ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
BANDS = 8  # of the power spectrum
BLOCKS = 4  # a side, of the layout
TINY = 1e-6  # keeps logarithms finite; intensities are 0 to 1


def radiomics(pixels: np.ndarray) -> np.ndarray:
    """Statistics of uint8 images (n, channels, size, size): float64 of shape (n, d), each in its own unit.

    d is 63 for one channel. Of several, the mean is described, and the mean and standard deviation of each are added.
    """
    # Threads are enough: the loops over pixels run outside the interpreter's lock.
    with ThreadPoolExecutor(cores.granted()) as pool:
        return np.stack(list(pool.map(_of_image, pixels)))


def _of_image(image: np.ndarray) -> np.ndarray:
    channels = image.astype(np.float64) / 255
    gray = channels.mean(0)
    parts = [_intensity(gray), _cooccurrence(gray), _binary_patterns(gray), _edges(gray), _scales(gray)]
    parts += [_spectrum(gray), _layout(gray)]
    if len(channels) > 1:
        parts += [channels.mean((1, 2)), channels.std((1, 2))]
    return np.concatenate(parts)


def _intensity(gray: np.ndarray) -> np.ndarray:
    """Standard deviation, skewness, kurtosis, entropy (bits) and quantiles: first-order statistics."""
    spread = gray.std()
    z = (gray - gray.mean()) / (spread + TINY)
    squares = z * z
    shares = np.bincount((gray * 31.999).astype(np.int64).ravel(), minlength=32) / gray.size
    entropy = entr(shares).sum() / np.log(2)
    quantiles = np.quantile(gray, (0.05, 0.25, 0.5, 0.75, 0.95))
    return np.array([spread, (squares * z).mean(), (squares * squares).mean(), entropy, *quantiles])


def _cooccurrence(gray: np.ndarray) -> np.ndarray:
    """Contrast (logarithm), homogeneity and correlation of grey levels at each distance, averaged over four directions.

    Haralick et al. 1973, IEEE Trans. Syst. Man Cybern. 3.
    """
    levels = np.minimum(gray * LEVELS, LEVELS - 1).astype(np.uint8)
    matrix = graycomatrix(levels, DISTANCES, ANGLES, LEVELS, symmetric=True, normed=True)
    contrast, homogeneity, correlation = (
        graycoprops(matrix, name).mean(1) for name in ("contrast", "homogeneity", "correlation")
    )
    return np.concatenate([np.log(contrast + TINY), homogeneity, correlation])


def _binary_patterns(gray: np.ndarray) -> np.ndarray:
    """Shares of the uniform local binary patterns of 8 neighbours (Ojala et al. 2002, IEEE TPAMI 24).

    The last share is left out: it is 1 minus the others.
    """
    patterns = local_binary_pattern(np.round(gray * 255).astype(np.uint8), P=8, R=1, method="uniform")
    return np.bincount(patterns.astype(np.int64).ravel(), minlength=10)[:-1] / patterns.size


def _edges(gray: np.ndarray) -> np.ndarray:
    """Mean gradient and mean Laplacian (logarithms), and the share of gradient in each of 8 directions but the last."""
    down, right = np.gradient(gray)
    magnitude = np.hypot(down, right)
    direction = ((np.arctan2(down, right) / np.pi % 1) * 8).astype(np.int64) % 8
    histogram = np.bincount(direction.ravel(), magnitude.ravel(), minlength=8)
    sharpness = np.abs(ndimage.laplace(gray)).mean()
    strengths = np.log([magnitude.mean() + TINY, sharpness + TINY])
    return np.concatenate([strengths, histogram[:-1] / (histogram.sum() + TINY)])


def _scales(gray: np.ndarray) -> np.ndarray:
    """Mean standard deviation inside windows of 3, 7 and 15 pixels (logarithms)."""
    return np.log([_local_deviation(gray, window).mean() + TINY for window in (3, 7, 15)])


def _local_deviation(gray: np.ndarray, window: int) -> np.ndarray:
    mean = ndimage.uniform_filter(gray, window)
    return np.sqrt(np.maximum(ndimage.uniform_filter(gray**2, window) - mean**2, 0))


def _spectrum(gray: np.ndarray) -> np.ndarray:
    """Logarithm of the mean power in rings of spatial frequency, from one cycle an image to the finest."""
    # The window keeps the jump between opposite borders out of the spectrum.
    window = np.hanning(len(gray))
    power = np.abs(np.fft.fft2((gray - gray.mean()) * np.outer(window, window))) ** 2 / gray.size
    rings = _rings(len(gray))
    counted = np.bincount(rings.ravel(), minlength=BANDS + 1)[:BANDS]
    total = np.bincount(rings.ravel(), power.ravel(), minlength=BANDS + 1)[:BANDS]
    return np.log(total / counted + TINY**2)


@cache
def _rings(size: int) -> np.ndarray:
    """The ring of each frequency, 0 to BANDS - 1 at equal ratios; BANDS for those left out (the mean, the corners)."""
    frequency = np.fft.fftfreq(size) * size
    radius = np.hypot(frequency[:, None], frequency[None])
    edges = np.geomspace(1, size / 2, BANDS + 1)
    inside = (radius >= edges[0]) & (radius <= edges[-1])
    return np.where(inside, np.clip(np.searchsorted(edges, radius, side="right") - 1, 0, BANDS - 1), BANDS)


def _layout(gray: np.ndarray) -> np.ndarray:
    """Mean intensity of 4 x 4 blocks."""
    side = len(gray) // BLOCKS
    return gray.reshape(BLOCKS, side, BLOCKS, side).mean((1, 3)).ravel()
