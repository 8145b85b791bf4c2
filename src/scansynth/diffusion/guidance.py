"""Denoisers that are led away from a worse one, for sampling."""

import math

import torch
from torch import Tensor

from scansynth.diffusion.denoiser import Denoiser
from scansynth.diffusion.vp_sde import Denoise


def guided(
    denoiser: Denoiser, condition: Tensor, guidance: float, autoguidance: float, guidance_from: float = -math.inf
) -> Denoise:
    """The denoiser for ``condition`` (n, conditions), guided by scales of which 1 is none.

    ``guidance`` is classifier-free: away from what the denoiser says without a condition (Ho and Salimans, 2022), and
    only at a log-SNR, before the shift, of ``guidance_from`` and above. Where noise is higher it would make all images
    of a condition alike (Kynkaanniemi et al., Applying Guidance in a Limited Interval, 2024).
    ``autoguidance`` is away from a worse denoiser (Karras et al., Guiding a Diffusion Model with a Bad Version of
    Itself, 2024), for which the prior's linear one is at hand: what a short training has found of texture is too faint.
    """
    prior, told = denoiser.prior.denoiser(condition), condition.new_ones(len(condition), dtype=torch.bool)

    def asked(x: Tensor, log_snr: Tensor) -> Tensor:
        if guidance == 1 or log_snr - denoiser.sde.shift < guidance_from:
            return denoiser(x, log_snr.to(x).expand(len(x)), condition, told)
        twice, known = torch.cat([condition, condition]), torch.cat([told, ~told])
        with_it, without = denoiser(torch.cat([x, x]), log_snr.to(x).expand(2 * len(x)), twice, known).chunk(2)
        return without + guidance * (with_it - without)

    def denoise(x: Tensor, log_snr: Tensor) -> Tensor:
        found = asked(x, log_snr)
        return found if autoguidance == 1 else torch.lerp(prior(x, log_snr), found, autoguidance)

    return denoise
