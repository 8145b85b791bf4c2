"""The kernel distance: unbiased squared maximum mean discrepancy with a cubic kernel (KID)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Kernels:
    """Kernel values within and between two sets of n and m images: (n, n), (n, m) and (m, m)."""

    within_first: np.ndarray
    between: np.ndarray
    within_second: np.ndarray

    @classmethod
    def of(cls, first: np.ndarray, second: np.ndarray) -> "Kernels":
        """The cubic kernel (x.y / d + 1)^3 of features (n, d) and (m, d): arXiv:1801.01401, eq. 3."""
        return cls(_cubic(first, first), _cubic(first, second), _cubic(second, second))


def squared_mmd(kernels: Kernels, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Squared maximum mean discrepancy (...), where images count ``first`` (..., n) and ``second`` (..., m) times.

    With all counts 1 it is the unbiased estimate of arXiv:1801.01401, eq. 4, at times negative where the sets are
    alike; with counts 0 and 1 that of subsets, and with those of a bootstrap a replicate. Pairs of an image with itself
    are left out even where it was drawn twice: they would make every replicate larger than the estimate.
    """
    between = ((first @ kernels.between) * second).sum(-1) / (first.sum(-1) * second.sum(-1))
    return _pairs(kernels.within_first, first) + _pairs(kernels.within_second, second) - 2 * between


def subsets(generator: np.random.Generator, n: int, size: int, count: int) -> np.ndarray:
    """Counts, (count, n), that choose ``size`` of n images without replacement, ``count`` times."""
    chosen = np.tile(np.arange(n) < size, (count, 1))
    return generator.permuted(chosen, axis=1).astype(np.float64)


def _cubic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first @ second.T / first.shape[1] + 1) ** 3


def _pairs(kernel: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean of the kernel over pairs of different images."""
    squares = counts**2
    total = ((counts @ kernel) * counts).sum(-1) - squares @ np.diag(kernel)
    return total / (counts.sum(-1) ** 2 - squares.sum(-1))
