"""The variance-preserving diffusion in continuous time, with the cosine schedule.

x_t = alpha x_0 + sigma epsilon, alpha^2 + sigma^2 = 1 (Song et al., Score-Based Generative Modeling through Stochastic
Differential Equations, 2021, eq. 11), described by log-SNR = ln(alpha^2 / sigma^2) (Kingma et al., Variational
Diffusion Models, 2021). Time runs from t = 0 (data) to t = 1 (noise).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]  # (x, log-SNR) -> mean of x_0


@dataclass(frozen=True)
class VPSDE:
    """The process. ``log_snr_max`` and ``log_snr_min`` hold at t = 0 and t = 1, before ``shift`` is added.

    Both ends are finite, so that neither alpha nor sigma is ever 0.
    """

    log_snr_max: float
    log_snr_min: float
    shift: float

    @classmethod
    def for_size(cls, size: int, *, log_snr_max: float, log_snr_min: float, shift_from: int) -> "VPSDE":
        """The schedule shifted for images of ``size`` pixels: log-SNR += 2 ln(shift_from / size).

        Averaging over blocks makes more pixels less noisy; the shift undoes it (Hoogeboom et al., simple diffusion,
        2023, eq. 6).
        """
        return cls(log_snr_max, log_snr_min, 2 * math.log(shift_from / size))

    @property
    def _angles(self) -> tuple[float, float]:
        """The cosine's angles pi t / 2 at which the truncated schedule starts and ends."""
        return math.atan(math.exp(-0.5 * self.log_snr_max)), math.atan(math.exp(-0.5 * self.log_snr_min))

    def log_snr(self, t: Tensor) -> Tensor:
        """Log-SNR at time ``t`` in [0, 1]: -2 ln tan(pi t / 2), the cosine schedule, truncated and shifted."""
        start, end = self._angles
        return self.shift - 2 * torch.log(torch.tan(start + t * (end - start)))

    def time(self, log_snr: Tensor) -> Tensor:
        """Inverse of ``log_snr``."""
        start, end = self._angles
        return (torch.atan(torch.exp(0.5 * (self.shift - log_snr))) - start) / (end - start)

    def beta(self, t: Tensor) -> Tensor:
        """Rate of dx = -beta/2 x dt + sqrt(beta) dw: beta = -d ln(alpha^2)/dt = -sigma^2 dlogSNR/dt."""
        start, end = self._angles
        slope = -2 * (end - start) / (torch.sin(2 * (start + t * (end - start))) / 2)
        return -torch.sigmoid(-self.log_snr(t)) * slope

    def grid(self, points: int) -> Tensor:
        """``points`` values of log-SNR from noise to data, evenly spaced, float64."""
        low, high = self.log_snr_min + self.shift, self.log_snr_max + self.shift
        return torch.linspace(low, high, points, dtype=torch.float64)


def alpha(log_snr: Tensor) -> Tensor:
    """Scale of the signal, in (0, 1)."""
    return torch.sigmoid(log_snr).sqrt()


def sigma(log_snr: Tensor) -> Tensor:
    """Scale of the noise, in (0, 1)."""
    return torch.sigmoid(-log_snr).sqrt()


def score(x: Tensor, denoised: Tensor, log_snr: Tensor) -> Tensor:
    """Gradient of the log-density at ``x``, from the mean of x_0 given x (Tweedie): (alpha x_0 - x) / sigma^2."""
    return (alpha(log_snr) * denoised - x) / sigma(log_snr).square()
