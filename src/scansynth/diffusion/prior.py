"""A Gaussian of the training images in Haar coefficients: what a denoiser can know without a network.

The best linear denoiser of an image is that of the Gaussian with the images' mean and covariance. Where noise is high
it is nearly all there is to know (Wang and Vastola, The Unreasonable Effectiveness of Gaussian Score Approximation,
2024), so that the network is only asked for what it leaves: see ``denoiser``.
"""

import math

import torch
from torch import Tensor, nn

from scansynth.networks.haar import haar

COARSE = 32  # rows and columns, at most, of the coarse image whose full covariance is kept
COMPONENTS = 256  # eigenvectors of it, at most; what is left of the variance is spread evenly
SHRINKAGE = 0.1  # weight of a band's mean variance in each coefficient's own


class GaussianPrior(nn.Module):
    """Mean and covariance: full (low rank and a rest) for the coarse band, a variance each for all other coefficients.

    Standard normal until ``fit``. All shapes depend on the images' shape alone.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.levels = max(0, math.ceil(math.log2(size / COARSE)))
        bands, grid = 4**self.levels, size // 2**self.levels
        coarse = channels * grid * grid
        self.channels, self.bands = channels, bands
        self.register_buffer("mean", torch.zeros(channels * bands, grid, grid))
        self.register_buffer("variance", torch.ones(channels * bands, grid, grid))
        self.register_buffer("basis", torch.zeros(coarse, min(COMPONENTS, coarse)))
        self.register_buffer("eigenvalues", torch.ones(min(COMPONENTS, coarse)))
        self.register_buffer("rest", torch.ones(()))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Estimate from ``images`` (n, channels, size, size), n > 1."""
        z = haar(images, self.levels)
        self.mean.copy_(z.mean(0))
        variance = z.var(0)
        band = variance.mean((1, 2), keepdim=True)
        self.variance.copy_(((1 - SHRINKAGE) * variance + SHRINKAGE * band).clamp_min(1e-8))
        coarse = (z - self.mean)[:, :: self.bands].flatten(1).double()
        eigenvalues, basis = torch.linalg.eigh(coarse.T @ coarse / (len(z) - 1))
        # Not more components than the images can tell apart; the others share what variance is left.
        kept = min(len(self.eigenvalues), len(z) // 4)
        rest = eigenvalues[:-kept].mean().clamp_min(1e-8) if kept < len(eigenvalues) else eigenvalues.min()
        self.rest.copy_(rest)
        self.basis.zero_()[:, :kept] = basis[:, -kept:]
        self.eigenvalues.fill_(float(rest))[:kept] = eigenvalues[-kept:].clamp_min(float(rest))

    def denoise(self, z: Tensor, noise: Tensor) -> Tensor:
        """Mean of the clean coefficients given ``z`` = clean + white noise of variance ``noise`` (n), less ``mean``.

        The Wiener filter: variance / (variance + noise) along each principal axis.
        """
        v = noise[:, None]
        centred = z - self.mean
        result = centred * (self.variance / (self.variance + v[:, :, None, None]))
        coarse = centred[:, :: self.bands].flatten(1)
        rest = self.rest / (self.rest + v)
        gain = self.eigenvalues / (self.eigenvalues + v) - rest
        filtered = rest * coarse + (gain * (coarse @ self.basis)) @ self.basis.T
        result[:, :: self.bands] = filtered.view_as(result[:, :: self.bands])
        return result

    def scales(self, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Standard deviations of each band, (n, channels * bands, 1, 1): clean; of ``denoise``; of what it leaves."""
        v = noise[:, None]
        axes = torch.cat([self.eigenvalues, self.rest[None]])
        count = self.basis.shape[0] - len(self.eigenvalues)
        weight = torch.cat([torch.ones_like(self.eigenvalues), torch.full_like(axes[:1], float(count))]) / len(
            self.basis
        )
        variance = self.variance.flatten(1)[None]

        def each_band(function) -> Tensor:
            value = function(variance, v[:, :, None]).mean(-1)
            value[:, :: self.bands] = (function(axes, v) * weight).sum(-1, keepdim=True)
            return value.sqrt()[:, :, None, None]

        return (
            each_band(lambda s, n: s + 0 * n),
            each_band(lambda s, n: s * s / (s + n)),
            each_band(lambda s, n: s * n / (s + n)),
        )
