"""The kernel distance: unbiased squared maximum mean discrepancy with a cubic kernel (KID).

Features are float32 or float64 arrays of shape (n, d). The kernel is computed some rows at a time and never held whole.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from scansynth.evaluate.bootstrap import Estimate

ROWS = 256  # of the kernel in memory at once


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared maximum mean discrepancy of features (n, d) and (m, d), unbiased, hence at times below 0; no unit.

    Binkowski et al. 2018, arXiv:1801.01401, eq. 4, with the cubic kernel of eq. 3.
    """
    of_first, of_second = np.ones((1, len(first))), np.ones((1, len(second)))
    within = _within(first, of_first) + _within(second, of_second)
    return float((within - 2 * _between(first, second, of_first, of_second))[0])


def kernel_estimates(
    features: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray], size: int, count: int, seed: int
) -> tuple[dict[str, Estimate], dict[str, np.ndarray]]:
    """Kernel distance of each set of features from that named ``reference``: with replicates, and of subsets.

    A replicate leaves out the pairs of an image with itself even where it was drawn twice: they would make every
    replicate larger than the distance. The distance is over all images: what the mean over subsets, which KID reports,
    approaches with their number.

    Args:
        features: (n, d) by the name of a set; each set but the reference is asked for once, one after another.
        drawn: (replicates, n) by the same names, how often each image counts. Replicate i of all sets has the same
            draw of the reference, so that replicates may be subtracted pair by pair.
        size: images of each subset, no more than any set has.
        count: number of subsets.
        seed: of the choice of the subsets.

    Returns:
        The distances, and those of the subsets, (count,), by the name of the set.
    """

    def counted(name: str, n: int) -> np.ndarray:
        chosen = subsets(np.random.default_rng(seed), n, size, count)
        return np.concatenate([np.ones((1, n)), drawn[name], chosen])

    reference = features["reference"]
    of_reference = counted("reference", len(reference))
    within_reference = _within(reference, of_reference)
    estimates, over_subsets = {}, {}
    for name in features:
        if name == "reference":
            continue
        values = features[name]
        of_values = counted(name, len(values))
        within = within_reference + _within(values, of_values)
        distances = within - 2 * _between(reference, values, of_reference, of_values)
        estimates[name] = Estimate(float(distances[0]), distances[1:-count])
        over_subsets[name] = distances[-count:]
    return estimates, over_subsets


def subsets(generator: np.random.Generator, n: int, size: int, count: int) -> np.ndarray:
    """Counts, (count, n), that choose ``size`` of n images without replacement, ``count`` times."""
    chosen = np.tile(np.arange(n) < size, (count, 1))
    return generator.permuted(chosen, axis=1).astype(np.float64)


def _within(features: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean of the kernel over pairs of different images, (rows,), where they count ``counts`` (rows, n) times."""
    total = np.zeros(len(counts))
    for rows in _rows(features):
        rest = slice(rows.start, None)  # the kernel is symmetric: a pair is taken once
        kernel = np.triu(_cubic(features[rows], features[rest]), 1)
        total += ((counts[:, rows] @ kernel) * counts[:, rest]).sum(1)
    return 2 * total / (counts.sum(1) ** 2 - (counts**2).sum(1))


def _between(first: np.ndarray, second: np.ndarray, of_first: np.ndarray, of_second: np.ndarray) -> np.ndarray:
    """Mean of the kernel over pairs of an image of each set, (rows,), counted (rows, n) and (rows, m) times."""
    total = np.zeros(of_second.shape)
    for rows in _rows(first):
        total += of_first[:, rows] @ _cubic(first[rows], second)
    return (total * of_second).sum(1) / (of_first.sum(1) * of_second.sum(1))


def _cubic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The kernel (x.y / d + 1)^3, float64: arXiv:1801.01401, eq. 3.

    Products are taken in the features' own precision. In float32 each is off by some 1e-7 of itself at random, which
    the means over many pairs take down to 1e-9; the means themselves are taken in float64.
    """
    kernel = (first @ second.T).astype(np.float64) / first.shape[1] + 1
    return kernel * kernel * kernel


def _rows(features: np.ndarray) -> Iterator[slice]:
    return (slice(i, i + ROWS) for i in range(0, len(features), ROWS))
