"""The Frechet distance between Gaussians fitted to two sets of features."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Gaussian:
    """A mean, (d,), and a factor, (d, d), of a covariance: ``factor.T @ factor``."""

    mean: np.ndarray
    factor: np.ndarray

    @classmethod
    def fitted(cls, features: np.ndarray, weights: np.ndarray | None = None) -> "Gaussian":
        """Sample mean and covariance (divisor n - 1) of features (n, d), each counted ``weights`` (n,) times."""
        weights = np.ones(len(features)) if weights is None else weights
        total = weights.sum()
        mean = weights @ features / total
        deviations = features - mean
        values, vectors = np.linalg.eigh((weights[:, None] * deviations).T @ deviations / (total - 1))
        # Fewer images than features leave some eigenvalues at 0, or by rounding below it.
        return cls(mean, np.sqrt(np.maximum(values, 0))[:, None] * vectors.T)


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """Squared 2-Wasserstein distance between two Gaussians, at least 0, in the square of the features' unit.

    |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2)): Dowson and Landau 1982, J. Multivariate Anal. 12, eq. 16, known
    as FID where the features are those of Inception (Heusel et al. 2017, arXiv:1706.08500, eq. 6).

    With C = R^T R the last trace is the sum of the singular values of R1 R2^T, so that no root is taken of a product of
    covariances that fewer images than features have left singular.
    """
    shift = np.sum((first.mean - second.mean) ** 2)
    overlap = np.linalg.svd(first.factor @ second.factor.T, compute_uv=False).sum()
    distance = shift + np.sum(first.factor**2) + np.sum(second.factor**2) - 2 * overlap
    return max(float(distance), 0.0)
