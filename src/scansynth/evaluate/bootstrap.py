"""Figures with their bootstrap replicates (Efron and Tibshirani 1993)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

LEVEL = 0.95
METHOD = (
    "bootstrap over patients (over images where these are synthetic), centred: the value plus the 2.5% and 97.5% "
    "quantiles of the replicates' deviations from their own mean. It tells the spread of the value at this number of "
    "images; the bias that a small number brings is in the value and in its floor alike"
)


def multiplicities(generator: np.random.Generator, groups: np.ndarray, replicates: int) -> np.ndarray:
    """How often each of n images counts in each replicate, float64 of shape (replicates, n).

    Patients are drawn with replacement, not images: those of one patient, whom ``groups`` (n,) gives one number, are
    alike, and would feign more evidence than there is (Field and Welsh 2007, J. R. Stat. Soc. B 69).
    """
    patients, places = np.unique(groups, return_inverse=True)
    drawn = generator.multinomial(len(patients), np.full(len(patients), 1 / len(patients)), size=replicates)
    return drawn[:, places].astype(np.float64)


@dataclass(frozen=True)
class Estimate:
    """A value and its replicates, (replicates,). Those that share resampled images are subtracted pair by pair."""

    value: float
    replicates: np.ndarray

    def __sub__(self, other: "Estimate") -> "Estimate":
        """The difference of two values, and of their replicates."""
        return Estimate(self.value - other.value, self.replicates - other.replicates)

    @property
    def interval(self) -> tuple[float, float]:
        """The centred 95% interval: see ``METHOD``.

        A replicate of a distance is a biased copy of the value, so that the usual percentiles could miss the value.
        """
        deviations = self.replicates - self.replicates.mean()
        low, high = np.quantile(deviations, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return self.value + float(low), self.value + float(high)

    def as_json(self) -> dict[str, Any]:
        """The value and its interval, to 6 significant digits."""
        return {"value": rounded(self.value), "interval": [rounded(end) for end in self.interval]}


def rounded(value: float) -> float:
    """To 6 significant digits: those that follow depend on the machine's linear algebra."""
    return float(f"{value:.6g}")
