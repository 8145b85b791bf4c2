"""Denoisers that are led away from a worse one, for sampling."""

import math

import torch
from torch import Tensor

from scansynth.diffusion.denoiser import Denoiser
from scansynth.diffusion.vp_sde import Denoise, alpha


def guided(
    denoiser: Denoiser,
    condition: Tensor,
    guidance: float = 1.0,
    acts: tuple[float, float] = (-math.inf, math.inf),
    away: Tensor | None = None,
) -> Denoise:
    """What samples for ``condition`` (n, conditions) are drawn by: the denoiser, guided and calibrated.

    ``guidance``, of which 1 is none, is classifier-free (Ho and Salimans, 2022): away from what the denoiser says for
    the condition ``away`` (n, conditions), or without any where a row of that is zero, as all are by default; and only
    where the log-SNR, before the shift, is in the range ``acts``. Where noise is higher it would make all images of a
    condition alike, and where it is lower it changes nothing that is to be seen (Kynkaanniemi et al., Applying Guidance
    in a Limited Interval, 2024).

    Autoguidance (``calibrate.autoguidance``) is away from a worse denoiser (Karras et al., Guiding a Diffusion Model
    with a Bad Version of Itself, 2024), for which the prior's linear one is at hand: what a short training has found of
    texture is too faint. What power is then still amiss, ``calibration`` adds.
    """
    plain, prior, mean = denoiser.given(condition), denoiser.prior.denoiser(condition), denoiser.prior.mean_image()
    channels, calibration = denoiser.prior.channels, denoiser.calibration
    away = torch.zeros_like(condition) if away is None else away
    twice = torch.cat([condition, away])
    known = torch.cat([condition.new_ones(len(condition), dtype=torch.bool), away.any(1)])

    def asked(x: Tensor, log_snr: Tensor) -> Tensor:
        if guidance == 1 or not acts[0] <= log_snr - denoiser.sde.shift <= acts[1]:
            return plain(x, log_snr)
        toward, other = denoiser(torch.cat([x, x]), log_snr.to(x).expand(2 * len(x)), twice, known).chunk(2)
        return other + guidance * (toward - other)

    def denoise(x: Tensor, log_snr: Tensor) -> Tensor:
        led = torch.lerp(prior(x, log_snr), asked(x, log_snr), calibration.autoguidance)
        return led + channels.inverse(calibration(channels(x / alpha(log_snr).to(x) - mean), log_snr))

    return denoise
