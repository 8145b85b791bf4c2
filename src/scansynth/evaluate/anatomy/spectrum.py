"""Grey levels and texture of images of any kind: the intensity histogram and the radial power spectrum."""

from collections.abc import Sequence

import numpy as np

from scansynth.evaluate.bootstrap import Estimate

LEVELS = 64  # bins of the histogram
HALF_NYQUIST = 0.25  # cycles a pixel; beyond it lies the finest texture
TINY = 1e-6  # power, in squared grey levels, that keeps ratios and logarithms finite

MEASURES = {
    "mean_level": "mean grey level, 0 to 255",
    "contrast": "standard deviation of the grey levels",
    "fine_texture": "power beyond half the Nyquist frequency, in decibels relative to the whole",
}
UNITS = {
    "histogram_distance": "grey levels that the mean histogram has to be moved by (1-D Wasserstein distance), 0 to 255",
    "spectrum_distance": "root mean square, over frequencies, of the ratio of the mean power spectra in decibels",
    "spectrum_deviation": "largest deviation from 1 of the ratio of the mean power spectra up to half the Nyquist "
    "frequency",
}


def measure(pixels: np.ndarray, channels: Sequence[str]) -> dict[str, np.ndarray]:
    """All of ``MEASURES`` of images (n, channels, size, size), uint8: each float64 (n,)."""
    if pixels.shape[1] != len(channels):
        raise ValueError(f"{pixels.shape[1]} channels, but {len(channels)} names: {', '.join(channels)}")
    levels = pixels.reshape(len(pixels), -1).astype(np.float64)
    power = radial_power(pixels)
    rings = np.arange(1, power.shape[1] + 1)  # pixels of the plane in a ring grow with its radius
    fine = (power * rings)[:, frequencies(pixels.shape[-1]) > HALF_NYQUIST].sum(1) / ((power * rings).sum(1) + TINY)
    return {
        "mean_level": levels.mean(1),
        "contrast": levels.std(1),
        "fine_texture": 10 * np.log10(fine + TINY),
    }


def histogram(pixels: np.ndarray) -> np.ndarray:
    """Share of each image's values in each of 64 equal bins of 0 to 255, all channels together: float64 (n, 64)."""
    bins = (pixels.reshape(len(pixels), -1) // (256 // LEVELS)).astype(np.int64)
    return np.stack([np.bincount(image, minlength=LEVELS) for image in bins]) / bins.shape[1]


def frequencies(size: int) -> np.ndarray:
    """Of the radial power spectrum, (size / 2,), in cycles a pixel, up to the Nyquist frequency of 0.5."""
    return np.arange(1, size // 2 + 1) / size


def radial_power(pixels: np.ndarray) -> np.ndarray:
    """Power of each image by frequency, averaged over directions and channels: float64 (n, size / 2), grey levels^2.

    Under a Hann window, since the edges of an image that does not end in black would otherwise leak into all
    frequencies, and with the mean removed.
    """
    size = pixels.shape[-1]
    window = np.outer(np.hanning(size), np.hanning(size))
    window /= np.sqrt((window**2).mean())
    images = pixels - pixels.mean((2, 3), keepdims=True, dtype=np.float64)
    power = (np.abs(np.fft.rfft2(images * window)) ** 2).mean(1) / size**2
    rows, columns = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)
    ring = np.round(np.hypot(rows, columns) * size).astype(np.int64).ravel()
    counts = np.bincount(ring)[1 : size // 2 + 1]
    rings = [np.bincount(ring, image.ravel())[1 : size // 2 + 1] for image in power]
    return np.stack(rings) / counts


def histogram_distance(reference: np.ndarray, others: np.ndarray) -> np.ndarray:
    """1-D Wasserstein distance, in grey levels, of mean histograms (..., 64): (...)."""
    return np.abs((reference - others).cumsum(-1)).sum(-1) * (256 // LEVELS)


def spectrum_distance(reference: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Root mean square difference in decibels of mean power spectra (..., size / 2): (...)."""
    return np.sqrt(((10 * np.log10((others + TINY) / (reference + TINY))) ** 2).mean(-1))


def spectrum_deviation(reference: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Largest deviation from 1 of the ratio of mean power spectra (..., size / 2) up to half the Nyquist frequency."""
    kept = frequencies(2 * reference.shape[-1]) <= HALF_NYQUIST
    return np.abs((others + TINY) / (reference + TINY) - 1)[..., kept].max(-1)


def distances(curves: dict[str, dict[str, np.ndarray]], drawn: dict[str, np.ndarray]) -> dict[str, dict[str, Estimate]]:
    """The distances of ``UNITS`` of each set from that named ``reference``, by distance and set.

    Args:
        curves: by set, ``histogram`` and ``power`` of its images, (n, 64) and (n, size / 2).
        drawn: by set, how often each image counts in each replicate, (replicates, n).
    """
    means = {
        name: {
            kind: np.vstack([values.mean(0), drawn[name] @ values / drawn[name].sum(1, keepdims=True)])
            for kind, values in of_set.items()
        }
        for name, of_set in curves.items()
    }
    found: dict[str, dict[str, Estimate]] = {name: {} for name in UNITS}
    for name in curves:
        if name == "reference":
            continue
        for key, function, kind in (
            ("histogram_distance", histogram_distance, "histogram"),
            ("spectrum_distance", spectrum_distance, "power"),
            ("spectrum_deviation", spectrum_deviation, "power"),
        ):
            values = function(means["reference"][kind], means[name][kind])
            found[key][name] = Estimate(float(values[0]), values[1:])
    return found
