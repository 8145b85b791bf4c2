"""A Gaussian of the training images in wavelet coefficients: what a denoiser can know without a network.

The best linear denoiser of an image is that of the Gaussian with the images' mean and covariance. Where noise is high
it is nearly all there is to know (Wang and Vastola, The Unreasonable Effectiveness of Gaussian Score Approximation,
2024), so that the network is only asked for what it leaves: see ``denoiser``. What a condition says of an image is
decided there, too: the mean of the coarse image is a linear function of the condition where that is known.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from scansynth.diffusion.channels import PrincipalChannels
from scansynth.diffusion.vp_sde import Denoise, alpha
from scansynth.networks.wavelet import Packet

COARSE = 32  # rows and columns, at most, of the coarse image whose full covariance is kept
WITHIN = 2  # levels, at most, by which a band is split where its spectrum is asked for
COMPONENTS = 256  # eigenvectors of it, at most; what is left of the variance is spread evenly
SHRINKAGE = 0.1  # weight of a band's mean variance in each coefficient's own
RIDGE = 5.0  # images' worth of no effect in the regression on the condition: an effect seen in few images is small
# Images' worth of all kinds' common spread in that of one kind, whose images are fewer: on held-out phantoms less than
# this harmed where noise is low, and more gained less where it is high.
SHARED = 400.0


class GaussianPrior(nn.Module):
    """Mean and covariance of wavelet coefficients along the principal ``channels``.

    Full (low rank and a rest) for the coarse band, a variance each for all other coefficients.

    There is one for images of which nothing is told, one for those whose condition is told but not their kind, and one
    for each kind (view or contrast), whose images vary in ways of their own: numbered in this order, ``which`` (n).

    ``spread`` is the variance of the bands, each split by the packet ``within``, of all images.

    Standard normal until ``fit``. All shapes depend on the images' shape and the number of conditions alone; ``kinds``
    are the elements of the condition of which one is 1: they say of which kind an image is.
    """

    def __init__(
        self, channels: int, size: int, conditions: int = 0, wavelet: str = "symlet", kinds: range = range(0)
    ) -> None:
        super().__init__()
        self.channels = PrincipalChannels(channels)
        self.packet = Packet(wavelet, max(0, math.ceil(math.log2(size / COARSE))), size)
        bands, grid = self.packet.bands, self.packet.grid
        self.within = Packet(wavelet, min(WITHIN, (grid & -grid).bit_length() - 1), grid)
        coarse = channels * grid * grid
        self.bands, self.kinds = bands, kinds
        self.register_buffer("mean", torch.zeros(2 + len(kinds), channels * bands, grid, grid))
        self.register_buffer("variance", torch.ones(2 + len(kinds), channels * bands, grid, grid))
        self.register_buffer("spread", torch.ones(channels * bands * self.within.bands))
        self.register_buffer("centre", torch.zeros(conditions))
        self.register_buffer("effect", torch.zeros(conditions, coarse))
        self.spectra = nn.ModuleList(Spectrum(coarse) for _ in range(2 + len(kinds)))

    @torch.no_grad()
    def fit(self, images: Tensor, conditions: Tensor) -> None:
        """Estimate from ``images`` (n, channels, size, size), n > 1, and their ``conditions`` (n, conditions)."""
        z = self.packet(images).unflatten(1, (-1, self.bands))
        self.channels.fit(z[:, :, 1:] if self.bands > 1 else z)
        z = self.channels(z).flatten(1, 2)
        self.mean.copy_(z.mean(0))
        self.variance.copy_(self._variance(z))
        self.spread.copy_(self.within(z).var(0).mean((1, 2)).clamp_min(1e-8))
        coarse = self._coarse(z - self.mean[0])
        self.spectra[0].fit(covariance(coarse), len(z))
        self.centre.copy_(conditions.mean(0))
        known = (conditions - self.centre).double()
        ridge = RIDGE * torch.eye(known.shape[1], dtype=torch.float64)
        self.effect.copy_(torch.linalg.solve(known.T @ known + ridge, known.T @ coarse.double()))
        left = coarse - known.float() @ self.effect
        common = covariance(left)
        self.spectra[1].fit(common, len(z))
        for which, kind in enumerate(self.kinds, start=2):
            there = conditions[:, kind] == 1
            count = int(there.sum())
            own = covariance(left[there]) if count > 1 else common
            self.spectra[which].fit((count * own + SHARED * common) / (count + SHARED), len(z))
            if count > 1:
                self._fit_details(which, z[there], count)

    def coefficients(self, images: Tensor) -> Tensor:
        """Wavelet coefficients along the principal channels, (n, channels * bands, grid, grid)."""
        return self.packet(self.channels(images))

    def images(self, coefficients: Tensor) -> Tensor:
        """The images, (n, channels, size, size), that have these coefficients."""
        return self.channels.inverse(self.packet.inverse(coefficients))

    def _fit_details(self, which: int, z: Tensor, count: int) -> None:
        """Mean and variance of a kind's coefficients (n, ...), but for those of the coarse image."""
        coarse = self.mean[0, :: self.bands]
        self.mean[which] = (count * z.mean(0) + RIDGE * self.mean[0]) / (count + RIDGE)
        self.mean[which, :: self.bands] = coarse
        self.variance[which] = (count * self._variance(z) + SHARED * self.variance[0]) / (count + SHARED)

    def expect(self, condition: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of the coefficients given ``condition`` (n, conditions) where ``told`` (n, bool), else of all images.

        With it the number of the Gaussian of each image, (n).
        """
        which = told.long()
        for number, kind in enumerate(self.kinds, start=2):
            which = torch.where(told & (condition[:, kind] == 1), number, which)
        effect = torch.where(told[:, None], (condition - self.centre) @ self.effect, 0.0)
        mean = self.mean[which]
        mean[:, :: self.bands] += effect.view_as(mean[:, :: self.bands])
        return mean, which

    def mean_image(self) -> Tensor:
        """Mean of all images, (channels, size, size)."""
        return self.images(self.mean[:1])[0]

    def denoise(self, centred: Tensor, noise: Tensor, which: Tensor) -> Tensor:
        """Mean of the clean coefficients, less what is expected, given ``centred``: these + noise of variance (n).

        The Wiener filter: variance / (variance + noise) along each axis of the covariance.
        """
        return self._scaled(centred, noise, which, lambda s, n: s / (s + n))

    def draw(self, white: Tensor, log_snr: Tensor, condition: Tensor) -> Tensor:
        """Noisy images at ``log_snr`` of the prior's images given ``condition`` (n, conditions), from white noise.

        ``white`` is a standard normal (n, channels, size, size), each of which gives one image.
        """
        expected, which = self.expect(condition, condition.new_ones(len(condition), dtype=torch.bool))
        noise = torch.exp(-log_snr).to(white).expand(len(white))
        noisy = self._scaled(self.coefficients(white), noise, which, lambda s, n: (s + n).sqrt())
        return alpha(log_snr).to(white) * self.images(expected + noisy)

    def _scaled(self, z: Tensor, noise: Tensor, which: Tensor, gain: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Coefficients times a ``gain``, a function of the variance along each axis and of ``noise`` (n)."""
        v = noise[:, None]
        result = z * gain(self.variance[which], v[:, :, None, None])
        coarse = self._coarse(z)
        scaled = self.of_each(which, lambda spectrum: spectrum.scaled(coarse, v, gain))
        result[:, :: self.bands] = scaled.view_as(result[:, :: self.bands])
        return result

    def denoiser(self, condition: Tensor) -> Denoise:
        """The best denoiser, (x, log-SNR) -> mean of x_0, of the prior's images given ``condition`` (n, conditions)."""
        told = condition.new_ones(len(condition), dtype=torch.bool)
        expected, which = self.expect(condition, told)

        def denoise(x: Tensor, log_snr: Tensor) -> Tensor:
            centred = self.coefficients(x / alpha(log_snr)) - expected
            noise = torch.exp(-log_snr).to(x).expand(len(x))
            return self.images(expected + self.denoise(centred, noise, which))

        return denoise

    def scales(self, noise: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Standard deviations of each band, (n, channels * bands, 1, 1): clean; of ``denoise``; of what it leaves."""
        v = noise[:, None]
        variance = self.variance.flatten(2)[which]

        def each_band(function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
            value = function(variance, v[:, :, None]).mean(-1)
            value[:, :: self.bands] = self.of_each(which, lambda spectrum: spectrum.mean(function, v))
            return value.sqrt()[:, :, None, None]

        return (
            each_band(lambda s, n: s + 0 * n),
            each_band(lambda s, n: s * s / (s + n)),
            each_band(lambda s, n: s * n / (s + n)),
        )

    def of_each(self, which: Tensor, function: Callable[["Spectrum"], Tensor]) -> Tensor:
        """What ``function`` gives, (n, ...), by the spectrum of each image."""
        first, *others = (function(spectrum) for spectrum in self.spectra)
        for number, other in enumerate(others, start=1):
            first = torch.where((which == number)[:, None], other, first)
        return first

    def _variance(self, z: Tensor) -> Tensor:
        """Variance of each coefficient (n, ...), with something of its band's."""
        variance = z.var(0)
        band = variance.mean((1, 2), keepdim=True)
        return ((1 - SHRINKAGE) * variance + SHRINKAGE * band).clamp_min(1e-8)

    def _coarse(self, z: Tensor) -> Tensor:
        return z[:, :: self.bands].flatten(1)


def covariance(centred: Tensor) -> Tensor:
    """Covariance (d, d), float64, of ``centred`` (n, d)."""
    centred = centred.double()
    return centred.T @ centred / (len(centred) - 1)


class Spectrum(nn.Module):
    """A covariance by its leading principal axes; what variance they leave is spread evenly over all others."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        kept = min(COMPONENTS, dimensions)
        self.register_buffer("basis", torch.zeros(dimensions, kept))
        self.register_buffer("eigenvalues", torch.ones(kept))
        self.register_buffer("rest", torch.ones(()))

    def fit(self, covariance: Tensor, count: int) -> None:
        """Take over ``covariance`` (dimensions, dimensions), which was estimated from so many images."""
        eigenvalues, basis = torch.linalg.eigh(covariance)
        # Not more components than the images can tell apart; the others share what variance is left.
        kept = min(len(self.eigenvalues), count // 4)
        rest = eigenvalues[:-kept].mean().clamp_min(1e-8) if kept < len(eigenvalues) else eigenvalues.min()
        self.rest.copy_(rest)
        self.basis.zero_()[:, :kept] = basis[:, -kept:]
        self.eigenvalues.fill_(float(rest))[:kept] = eigenvalues[-kept:].clamp_min(float(rest))

    def scaled(self, z: Tensor, v: Tensor, gain: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """``z`` (n, dimensions) times a ``gain``, a function of each axis' variance and of ``v`` (n, 1)."""
        rest = gain(self.rest, v)
        return rest * z + ((gain(self.eigenvalues, v) - rest) * (z @ self.basis)) @ self.basis.T

    def mean(self, function: Callable[[Tensor, Tensor], Tensor], v: Tensor) -> Tensor:
        """Mean over all axes of a ``function`` of their variance and of ``v`` (n, 1); (n, 1)."""
        dimensions, kept = self.basis.shape
        axes = function(self.eigenvalues, v).sum(1, keepdim=True)
        return (axes + (dimensions - kept) * function(self.rest, v)) / dimensions
