"""The metrics, as one panel that any set of images can be put before.

What is read of a single image (its features, what it shows, whether it is a copy) is read once; a metric is then a
number of one set's readings, or of two sets'.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.stats import wasserstein_distance

from scansynth.evaluate.anatomy import spectrum
from scansynth.evaluate.copies import Audit
from scansynth.evaluate.coverage import prdc
from scansynth.evaluate.damages import Images
from scansynth.evaluate.diversity import ms_ssim_pairs, perceptual_pairs
from scansynth.evaluate.extractors import Extractor
from scansynth.evaluate.fidelity import aurocs, view_accuracy
from scansynth.evaluate.frechet import Gaussian, frechet_distance
from scansynth.evaluate.inception_score import inception_score
from scansynth.evaluate.kernel import kernel_distance
from scansynth.evaluate.reader import Reader

PAIRS = 25  # of images, whose similarity is taken: a quarter of what the result on diversity has, for the time
MEASURED = 5  # images, of each set, that a measure's distance needs

# Images, uint8 of shape (n, channels, size, size), to what is read of each, (n, ...).
Instrument = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Seen:
    """Some images, and what each instrument reads of each."""

    images: Images
    readings: dict[str, np.ndarray]


@dataclass(frozen=True)
class Metric:
    """A number of a set of images, beside the reference or on its own."""

    name: str
    worse: int  # 1 where a worse set has a higher value, -1 where it has a lower one
    alone: bool = False  # of one set: to be compared with the reference's own
    share: bool = False  # of the images, or of pairs of them: less than one image's share is no change


@dataclass(frozen=True)
class Gauge:
    """Metrics that are taken together, and the instruments that they need."""

    metrics: tuple[Metric, ...]
    take: Callable[[Seen, Seen], Sequence[float]]  # of a set and the reference; NaN where it cannot be had
    instruments: dict[str, Instrument] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """All gauges."""

    gauges: tuple[Gauge, ...]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All metrics, in the gauges' order."""
        return tuple(metric for gauge in self.gauges for metric in gauge.metrics)

    def reader(self) -> "OnceRead":
        """What reads images for all gauges."""
        return OnceRead({name: each for gauge in self.gauges for name, each in gauge.instruments.items()})

    def values(self, seen: Seen, reference: Seen) -> np.ndarray:
        """Each metric of the set, (metrics,)."""
        return np.array([value for gauge in self.gauges for value in gauge.take(seen, reference)], dtype=np.float64)


class OnceRead:
    """Reads images with all instruments, the same image only once."""

    def __init__(self, instruments: dict[str, Instrument], known: dict[bytes, dict[str, np.ndarray]] | None = None):
        self._instruments, self._known = instruments, dict(known or {})

    def branch(self) -> "OnceRead":
        """One that knows the same images; what it learns is forgotten with it."""
        return OnceRead(self._instruments, self._known)

    def __call__(self, images: Images) -> Seen:
        """The images with all their readings."""
        keys = [hashlib.sha256(np.ascontiguousarray(image)).digest() for image in images.pixels]
        places = {key: i for i, key in enumerate(keys) if key not in self._known}
        if places:
            new = images.pixels[list(places.values())]
            found = {name: instrument(new) for name, instrument in self._instruments.items()}
            for i, key in enumerate(places):
                self._known[key] = {name: values[i] for name, values in found.items()}
        of_each = [self._known[key] for key in keys]
        return Seen(images, {name: np.stack([known[name] for known in of_each]) for name in self._instruments})


def in_space(extractor: Extractor) -> tuple[Gauge, ...]:
    """The metrics of a feature space: distances, score of the classes, precision and recall, density and coverage."""
    name = extractor.name
    instruments: dict[str, Instrument] = {name: extractor.features}

    def distances(seen: Seen, reference: Seen) -> tuple[float, float]:
        first, second = reference.readings[name], seen.readings[name]
        return frechet_distance(Gaussian.fitted(first), Gaussian.fitted(second)), kernel_distance(first, second)

    def manifolds(seen: Seen, reference: Seen) -> tuple[float, ...]:
        found = prdc(reference.readings[name], seen.readings[name])
        return found.precision, found.recall, found.density, found.coverage

    def score(seen: Seen, reference: Seen) -> tuple[float]:
        return (float(inception_score(extractor.probabilities(seen.readings[name]))),)

    of_distances = tuple(Metric(f"{each} distance ({name})", 1) for each in ("Frechet", "kernel"))
    of_manifolds = tuple(
        Metric(f"{each} ({name})", -1, share=each != "density")
        for each in ("precision", "recall", "density", "coverage")
    )
    gauges = Gauge(of_distances, distances, instruments), Gauge(of_manifolds, manifolds, instruments)
    if len(extractor.classes) < 2:
        return gauges
    return (*gauges, Gauge((Metric(f"Inception score ({name})", -1, alone=True),), score, instruments))


def of_diversity(probe: Path, seed: int) -> Gauge:
    """How alike random pairs of a set's images are, structurally and to the probe in the file."""

    def take(seen: Seen, reference: Seen) -> tuple[float, float]:
        pixels = seen.images.pixels
        return ms_ssim_pairs(pixels, PAIRS, seed).mean(), perceptual_pairs(pixels, probe, PAIRS, seed).mean()

    metrics = Metric("MS-SSIM of pairs", 1, alone=True), Metric("perceptual distance of pairs", -1, alone=True)
    return Gauge(metrics, take)


def of_copies(audit: Audit) -> Gauge:
    """The share of the images that the audit takes for copies of training images."""

    def take(seen: Seen, reference: Seen) -> tuple[float]:
        return (seen.readings["copies"].mean(),)

    metric = Metric("copies of training images", 1, alone=True, share=True)
    return Gauge((metric,), take, {"copies": lambda pixels: audit.search(pixels).copies})


def of_labels(reader: Reader) -> Gauge:
    """Whether images show what their labels say: areas under the ROC curve, averaged, and the view's accuracy."""

    def take(seen: Seen, reference: Seen) -> tuple[float, float]:
        probabilities, rows = seen.readings["labels"], seen.images.rows
        areas = [*aurocs(probabilities, rows, reader).values()]
        accuracy = view_accuracy(probabilities, rows, reader)
        return np.mean(areas) if areas else np.nan, np.nan if accuracy is None else accuracy

    names = "labels read (mean AUROC)", "views read (accuracy)"
    metrics = tuple(Metric(name, -1, alone=True, share=True) for name in names)
    return Gauge(metrics, take, {"labels": reader.probabilities})


def of_texture() -> Gauge:
    """Distances of the mean histogram and of the mean power spectrum."""

    def take(seen: Seen, reference: Seen) -> tuple[float, float]:
        (levels, power), (real_levels, real_power) = (
            (each.readings["histogram"].mean(0), each.readings["power"].mean(0)) for each in (seen, reference)
        )
        return (
            float(spectrum.histogram_distance(real_levels, levels)),
            float(spectrum.spectrum_distance(real_power, power)),
        )

    instruments = {"histogram": spectrum.histogram, "power": spectrum.radial_power}
    return Gauge((Metric("histogram distance", 1), Metric("spectrum distance", 1)), take, instruments)


def of_measures(
    title: str,
    meanings: Mapping[str, str],
    measure: Callable[[np.ndarray], dict[str, np.ndarray]],
    chosen: Callable[[Images], np.ndarray],
) -> Gauge:
    """Distance (1-D Wasserstein, in the measure's unit) of each measure's values from the reference's.

    ``meanings`` names the measures, ``measure`` gives them, NaN where one cannot be taken, and ``chosen`` says of which
    images, bool (n,), they are to be taken.
    """

    def read(pixels: np.ndarray) -> np.ndarray:
        found = measure(pixels)
        return np.stack([found[name] for name in meanings], axis=1)

    def take(seen: Seen, reference: Seen) -> list[float]:
        columns = (each.readings[title][chosen(each.images)].T for each in (seen, reference))
        return [_distance(*pair) for pair in zip(*columns, strict=True)]

    metrics = tuple(
        Metric(f"{title}: {name.replace('_', ' ')}", 1, share=meaning.startswith("1 where"))
        for name, meaning in meanings.items()
    )
    return Gauge(metrics, take, {title: read})


def _distance(values: np.ndarray, others: np.ndarray) -> float:
    values, others = values[np.isfinite(values)], others[np.isfinite(others)]
    return wasserstein_distance(values, others) if min(len(values), len(others)) >= MEASURED else np.nan
