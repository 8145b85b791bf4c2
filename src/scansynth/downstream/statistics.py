"""How well classifiers tell classes apart, and whether two differ: by resampled patients, and by their seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

BINS = 10  # of the probability, in the calibration error
LEVEL = 0.05
POWER = 0.8


def auroc(scores: np.ndarray, shown: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve in each replicate, (replicates,): a tie counts half (Hanley and McNeil 1982).

    ``scores`` and ``shown`` are (n,), ``weights`` (replicates, n) how often each image counts. NaN where there are no
    images that show the class, or none that do not.
    """
    positive, negative = _tied(scores, shown, weights)
    below = np.cumsum(negative, 1) - negative / 2
    pairs = positive.sum(1) * negative.sum(1)
    return np.divide((positive * below).sum(1), pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def average_precision(scores: np.ndarray, shown: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision in each replicate, (replicates,): precision, weighted by what each threshold adds to recall."""
    positive, negative = (counts[:, ::-1] for counts in _tied(scores, shown, weights))
    found = np.cumsum(positive, 1)
    precision = found / np.maximum(found + np.cumsum(negative, 1), 1e-300)
    total = positive.sum(1)
    return np.divide((precision * positive).sum(1), total, out=np.full(len(weights), np.nan), where=total > 0)


def brier(scores: np.ndarray, shown: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean squared error of the probabilities in each replicate, (replicates,) (Brier 1950)."""
    return weights @ (scores - shown) ** 2 / weights.sum(1)


def calibration_error(scores: np.ndarray, shown: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error over 10 bins of equal width in each replicate, (replicates,) (Guo et al. 2017)."""
    inside = np.eye(BINS)[np.minimum((scores * BINS).astype(int), BINS - 1)]
    return np.abs((weights * (scores - shown)) @ inside).sum(1) / weights.sum(1)


METRICS = {
    "auroc": auroc,
    "average_precision": average_precision,
    "brier": brier,
    "calibration_error": calibration_error,
}


@dataclass(frozen=True)
class Measured:
    """A metric of the classifiers of an arm: that of each seed, (seeds,), and the mean's replicates, (replicates,)."""

    seeds: np.ndarray
    replicates: np.ndarray

    def __sub__(self, other: "Measured") -> "Measured":
        """The difference, pair by pair: of seeds, and of replicates that have the same patients."""
        return Measured(self.seeds - other.seeds, self.replicates - other.replicates)

    @staticmethod
    def mean(parts: Sequence["Measured"]) -> "Measured":
        """The mean over classes."""
        return Measured(*(np.mean([getattr(part, key) for part in parts], 0) for key in ("seeds", "replicates")))

    @property
    def value(self) -> float:
        """Mean over seeds."""
        return float(self.seeds.mean())

    @property
    def error(self) -> float:
        """Standard error: of the patients, by their resampling, and of the seeds."""
        return float(np.hypot(self._of_patients, self._of_seeds))

    @property
    def freedom(self) -> float:
        """Degrees of freedom of that error (Satterthwaite 1946): seeds are few, patients are many."""
        patients, seeds = self._of_patients**2, self._of_seeds**2
        return float((patients + seeds) ** 2 / (seeds**2 / (len(self.seeds) - 1) or np.inf)) if seeds else np.inf

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of Student's t."""
        half = float(stats.t.ppf(1 - LEVEL / 2, self.freedom)) * self.error
        return self.value - half, self.value + half

    @property
    def p(self) -> float:
        """Two-sided p of a value of 0, by Student's t; 1 where nothing differs at all."""
        return float(2 * stats.t.sf(abs(self.value) / self.error, self.freedom)) if self.error else 1.0

    def detectable(self, comparisons: int) -> float:
        """The smallest true difference that is found with 80% power among so many comparisons (Bonferroni)."""
        t = stats.t(self.freedom)
        return float(t.ppf(1 - LEVEL / comparisons / 2) + t.ppf(POWER)) * self.error

    @property
    def _of_patients(self) -> float:
        return float(np.nanstd(self.replicates, ddof=1))

    @property
    def _of_seeds(self) -> float:
        return float(self.seeds.std(ddof=1) / np.sqrt(len(self.seeds)))


def measured(metric: str, probabilities: np.ndarray, shown: np.ndarray, weights: np.ndarray) -> Measured:
    """A metric of one class: ``probabilities`` (seeds, n) of images that show it or not, (n,)."""
    once = np.ones((1, len(shown)))
    seeds = [METRICS[metric](scores, shown, np.vstack([once, weights])) for scores in probabilities]
    return Measured(np.array([values[0] for values in seeds]), np.mean([values[1:] for values in seeds], 0))


def holm(p: Sequence[float]) -> list[float]:
    """The p values, corrected for their number (Holm 1979)."""
    order, corrected, most = np.argsort(p), [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        most = max(most, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = most
    return corrected


def _tied(scores: np.ndarray, shown: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images that show the class, and that do not, at each score that there is, ascending: (replicates, scores)."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    sorted_weights, sorted_shown = weights[:, order], shown[order]
    return tuple(np.add.reduceat(sorted_weights * kind, starts, axis=1) for kind in (sorted_shown, ~sorted_shown))
