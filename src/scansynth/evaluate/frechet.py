"""The Frechet distance between Gaussians fitted to two sets of features, and what each image adds to it.

Features are float32 or float64 arrays of shape (n, d), memory-mapped if they are large: they are read some rows at a
time, and all is computed in float64.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from scansynth.evaluate.bootstrap import Estimate

ROWS = 4096  # of features in memory at once, as float64


@dataclass(frozen=True)
class Gaussian:
    """A mean, (d,), and a factor, (r, d) with r its rank, of a covariance: ``factor.T @ factor``."""

    mean: np.ndarray
    factor: np.ndarray

    @classmethod
    def fitted(cls, features: np.ndarray) -> "Gaussian":
        """Sample mean and covariance (divisor n - 1) of features (n, d).

        The sums are of deviations, which loses no digits where the mean is far from 0. The factor is that of Cholesky
        with complete pivoting, which ends at the rank: fewer images than features have a singular covariance (Higham
        1990, in Reliable Numerical Computation, Oxford; LAPACK's dpstrf).
        """
        n, d = features.shape
        mean = sum(block.sum(0) for block in _blocks(features)) / n
        covariance = np.zeros((d, d))
        for block in _blocks(features):
            deviations = block - mean
            covariance += deviations.T @ deviations / (n - 1)
        upper, pivots, rank, _ = lapack.dpstrf(covariance)
        factor = np.empty((rank, d))
        factor[:, pivots - 1] = np.triu(upper)[:rank]
        return cls(mean, factor)


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """Squared 2-Wasserstein distance between two Gaussians, at least 0, in the square of the features' unit.

    |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2)): Dowson and Landau 1982, J. Multivariate Anal. 12, eq. 16, known
    as FID where the features are those of Inception (Heusel et al. 2017, arXiv:1706.08500, eq. 6).

    With C = R^T R the last trace is the sum of the singular values of R1 R2^T, so that no root is taken of a product of
    covariances that fewer images than features have left singular.
    """
    return _distance(first, second, np.linalg.svd(first.factor @ second.factor.T, compute_uv=False))


def frechet_estimates(features: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray]) -> dict[str, Estimate]:
    """Frechet distance of each set of features from that named ``reference``, with bootstrap replicates.

    Refitting a Gaussian for each replicate would take hours for thousands of features, and draws of images that repeat
    have a distance of their own from the reference. Replicates are linear in the shares that images have instead: the
    distance plus the mean influence of the images drawn (the infinitesimal jackknife: Efron 1982, The Jackknife, the
    Bootstrap and Other Resampling Plans, chapter 6). Where the sets differ, their spread is that of the distance among
    samples of this size; where they are alike it is up to 1.5 times that, as a jackknife's is too large rather than too
    small (Efron and Stein 1981, Ann. Stat. 9), and that of refitted replicates 2 times.

    Args:
        features: (n, d) by the name of a set; each set but the reference is asked for once, one after another.
        drawn: (replicates, n) by the same names, how often each image counts. Replicate i of all sets has the same
            draw of the reference, so that replicates may be subtracted pair by pair.
    """
    reference = features["reference"]
    real = Gaussian.fitted(reference)
    found = {}
    for name in features:
        if name == "reference":
            continue
        values = features[name]
        fitted = Gaussian.fitted(values)
        left, overlaps, right = np.linalg.svd(real.factor @ fitted.factor.T, full_matrices=False)
        kept = overlaps > overlaps.max(initial=0) * real.mean.size * np.finfo(np.float64).eps
        roots = np.sqrt(overlaps[kept])[:, None]
        of_real = _influence(reference, real, fitted, right[kept] @ fitted.factor / roots)
        of_fitted = _influence(values, fitted, real, left.T[kept] @ real.factor / roots)
        distance = _distance(real, fitted, overlaps)
        changes = _shares(drawn["reference"]) @ of_real + _shares(drawn[name]) @ of_fitted
        found[name] = Estimate(distance, distance + changes)
    return found


def _distance(first: Gaussian, second: Gaussian, overlaps: np.ndarray) -> float:
    """The distance, of the singular values of ``first.factor @ second.factor.T``."""
    shift = np.sum((first.mean - second.mean) ** 2)
    distance = shift + np.sum(first.factor**2) + np.sum(second.factor**2) - 2 * overlaps.sum()
    return max(float(distance), 0.0)


def _influence(features: np.ndarray, own: Gaussian, other: Gaussian, root: np.ndarray) -> np.ndarray:
    """Derivative of the distance by the share that each image has in its own set, (n,); their mean is 0.

    By the covariance C1 it is I - T, where T takes the one Gaussian to the other (Olkin and Pukelsheim 1982, Linear
    Algebra Appl. 48): with U S V^T = R1 R2^T it is T = root^T root for root = S^(-1/2) V^T R2, (k, d).
    """
    n = len(features)
    found = []
    for block in _blocks(features):
        deviations = block - own.mean
        spread = (deviations**2).sum(1) - ((deviations @ root.T) ** 2).sum(1)
        found.append(2 * deviations @ (own.mean - other.mean) + spread * n / (n - 1))
    influence = np.concatenate(found)
    return influence - influence.mean()


def _shares(drawn: np.ndarray) -> np.ndarray:
    return drawn / drawn.sum(1, keepdims=True)


def _blocks(features: np.ndarray) -> Iterator[np.ndarray]:
    return (features[i : i + ROWS].astype(np.float64) for i in range(0, len(features), ROWS))
