"""A network made a denoiser: noisy image in, mean of the clean image out, whatever the network predicts."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scansynth import networks
from scansynth.diffusion.calibration import Calibration
from scansynth.diffusion.prior import GaussianPrior
from scansynth.diffusion.vp_sde import VPSDE, Denoise, alpha, sigma
from scansynth.sections import Diffusion, Network


class Denoiser(nn.Module):
    """D(x, log-SNR) = base + scale * network, band by band of the prior's coefficients.

    ``calibration`` is what samples are drawn with beside it: see ``guidance``.

    With y = x / alpha = x_0 + noise:

    - ``v``: base is the best linear denoiser, and -scale the error that it leaves. With a standard normal prior that is
      v-prediction (Salimans and Ho, Progressive Distillation, 2022); with the prior of the data it is the same in the
      coordinates in which the data is white, or the preconditioning of Karras et al. (EDM, 2022, table 1) for a full
      covariance. The network has an error of unit size to predict at every noise level and in every band.
    - ``epsilon``: base is y, and -scale the noise's standard deviation.
    - ``x0``: base is the mean of the data, and scale its standard deviation.
    """

    def __init__(
        self, channels: int, size: int, conditions: int, network: Network, diffusion: Diffusion, kinds: range = range(0)
    ) -> None:
        super().__init__()
        self.prediction, self.weighting, self.gamma = diffusion.prediction, diffusion.weighting, diffusion.min_snr_gamma
        self.sde = VPSDE.for_size(
            size,
            log_snr_max=diffusion.log_snr_max,
            log_snr_min=diffusion.log_snr_min,
            shift_from=diffusion.shift_from,
        )
        self.shape = (channels, size, size)
        self.bf16 = False
        self.prior = GaussianPrior(channels, size, conditions, network.wavelet, kinds)
        octaves = octave_weights(self.prior.packet.levels, self.prior.within.levels)
        self.register_buffer("octaves", octaves, persistent=False)
        self.calibration = Calibration(channels, size, self.sde)
        self.network = networks.make(2 * channels, channels, conditions, size, network)

    def forward(
        self,
        x: Tensor,
        log_snr: Tensor,
        condition: Tensor | None = None,
        known: Tensor | None = None,
        augment: Tensor | None = None,
    ) -> Tensor:
        """Mean of x_0 given ``x`` (n, channels, size, size) at ``log_snr`` (n), float32, about [-1, 1]."""
        base, scale, output = self._parts(x, log_snr, condition, known, augment)
        return self.prior.images(base + scale * output)

    def given(self, condition: Tensor) -> Denoise:
        """The denoiser of images of ``condition`` (n, conditions) at one noise level: (x, log-SNR) -> mean of x_0."""
        return lambda x, log_snr: self(x, log_snr.to(x).expand(len(x)), condition)

    def loss(
        self,
        x_0: Tensor,
        epsilon: Tensor,
        log_snr: Tensor,
        condition: Tensor,
        known: Tensor,
        augment: Tensor | None = None,
    ) -> Tensor:
        """Denoising score matching, (n): weighted squared error of what the network predicts, mean over coefficients.

        Weights are those of Hang et al., Efficient Diffusion Training via Min-SNR Weighting (2023): min(SNR, gamma) on
        the error of x_0, with the SNR of each band, split as the prior splits it: in the coarse image, too, fine detail
        emerges where noise is lower than where its outlines do. Every octave counts the same: without that, the finest
        one, with 3/4 of the coefficients and none of the anatomy, would be most of what is learnt. Principal channels
        have the weights that ``channels`` gives them.
        """
        level = log_snr[:, None, None, None]
        x = alpha(level) * x_0 + sigma(level) * epsilon
        base, scale, output = self._parts(x, log_snr, condition, known, augment)
        error = output - (self.prior.coefficients(x_0) - base) / scale
        weight = torch.outer(self.prior.channels.weights, self.octaves).flatten()
        if self.weighting == "min_snr":
            snr = self.prior.spread * torch.exp(log_snr)[:, None]
            error, weight = error * scale, weight * snr.clamp(max=self.gamma) / self.prior.spread
        return (weight * self.prior.within(error).square().mean((2, 3))).mean(1)

    def _parts(
        self, x: Tensor, log_snr: Tensor, condition: Tensor | None, known: Tensor | None, augment: Tensor | None
    ) -> Sequence[Tensor]:
        """Base, scale and the network's output, as the prior's coefficients."""
        noise = torch.exp(-log_snr)
        packet = self.prior.packet
        y = self.prior.coefficients(x / alpha(log_snr)[:, None, None, None])
        told = x.new_zeros(len(x), dtype=torch.bool) if condition is None else known
        if told is None:
            told = x.new_ones(len(x), dtype=torch.bool)
        given = x.new_zeros(len(x), len(self.prior.centre)) if condition is None else condition
        expected, which = self.prior.expect(given, told)
        linear = self.prior.denoise(y - expected, noise, which)
        clean, explained, left = self.prior.scales(noise, which)
        noisy = (y - expected) / (clean.square() + noise[:, None, None, None]).sqrt()
        seen = torch.cat([packet.inverse(noisy), packet.inverse(linear / explained)], dim=1)
        # The network alone computes in bf16: its rounding is small beside its error, that of the image would be seen.
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            output = self.network(seen, log_snr, condition, known, augment)
        output = packet(output)
        if self.prediction == "epsilon":
            return y, -noise.sqrt()[:, None, None, None].expand_as(clean), output
        if self.prediction == "x0":
            return expected, clean, output
        return expected + linear, -left, output


def octave_weights(levels: int, within: int) -> Tensor:
    """Weights of the bands of a packet of ``levels``, each split by ``within`` more, (4**(levels + within)), mean 1.

    The coarse image is the first octave; at level k from the coarse end there are 3 * 4**k bands. Octaves have the same
    sum, and so have those of the coarse image among them.
    """
    counts = torch.tensor([1] + [3 * 4**level for level in range(levels + within)])
    sums = torch.ones(levels + within + 1)
    sums[: within + 1] /= within + 1
    return (sums / counts).repeat_interleave(counts) * (4 ** (levels + within) / (levels + 1))
