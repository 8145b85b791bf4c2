"""What calibration adds to a denoiser: power, by noise level and frequency, that its samples would lack."""

import torch
from torch import Tensor, nn

from scansynth.diffusion.vp_sde import VPSDE

LEVELS = 16  # of noise, at which gains are known; between them they are interpolated
AXES = 8  # cycles an image, from which on frequencies along rows and along columns are bands of their own


class Calibration(nn.Module):
    """How samples are drawn with a trained denoiser: see ``guidance.guided``; ``calibrate`` finds the values.

    A call is what is added to a denoised image: gain(log-SNR, frequency) * (x / alpha - mean of the images). A denoised
    image D draws y = x / alpha along by dy = (D - y) / 2 dlogSNR; so the gain is twice the rate at which an amplitude
    grows with log-SNR beside what the denoiser makes of it. Frequencies are told apart by their ``bands``; the channels
    are the principal ones.

    Until values are set, the scale of autoguidance is 1, which is none, and all gains are 0.
    """

    def __init__(self, channels: int, size: int, sde: VPSDE) -> None:
        super().__init__()
        band = bands(size)
        self.size = size
        self.register_buffer("band", band, persistent=False)
        self.register_buffer("autoguidance", torch.ones(()))
        self.register_buffer("log_snr", sde.grid(LEVELS).float())
        self.register_buffer("gain", torch.zeros(LEVELS, channels, int(band.max()) + 1))

    def forward(self, deviation: Tensor, log_snr: Tensor) -> Tensor:
        """The correction of a denoised image, given x / alpha less the images' mean, both (n, channels, size, size)."""
        after = torch.searchsorted(self.log_snr, log_snr.to(self.log_snr)).clamp(1, LEVELS - 1)
        low, high = self.log_snr[after - 1], self.log_snr[after]
        share = ((log_snr.to(low) - low) / (high - low)).clamp(0, 1)
        gain = torch.lerp(self.gain[after - 1], self.gain[after], share)
        return torch.fft.irfft2(torch.fft.rfft2(deviation) * gain[:, self.band], s=(self.size, self.size))


def bands(size: int) -> Tensor:
    """The number of the band of each frequency of a real two-dimensional spectrum, (size, size // 2 + 1).

    Bands 0 to size // 2 are rings, a cycle an image wide, the last one with all that is beyond. In those from ``AXES``
    on, what is within a cycle of an axis is apart, in the bands that follow: filters that are products of one along
    rows and one along columns, as a wavelet front end's, leave lines there.
    """
    rows, columns = size * torch.fft.fftfreq(size)[:, None], size * torch.fft.rfftfreq(size)
    ring = torch.hypot(rows, columns).round().long().clamp(max=size // 2)
    axis = torch.where(rows.abs() < 1.5, 1, torch.where(columns.abs() < 1.5, 2, 0))
    return ring + (ring >= AXES) * axis * (size // 2 + 1 - AXES)
