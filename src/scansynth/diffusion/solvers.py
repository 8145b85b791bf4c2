"""Solvers of the reverse process. They know a denoiser (x, log-SNR) -> mean of x_0, and nothing of networks.

A solver of n steps evaluates the denoiser n times. Time steps are float64, images stay in their own precision.
"""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from scansynth.diffusion.vp_sde import VPSDE, alpha, score, sigma

Denoise = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[], Tensor]


def dpm_solver_2m(denoise: Denoise, sde: VPSDE, x: Tensor, steps: int, noise: Noise) -> Tensor:
    """DPM-Solver++(2M), deterministic (Lu et al., DPM-Solver++, 2022, algorithm 2), evenly spaced in log-SNR.

    ``x`` is a draw of the process at t = 1; the result estimates x_0. The last evaluation, at the largest log-SNR, is
    the result itself. ``noise`` is not asked.
    """
    grid = sde.grid(steps)
    previous, previous_h = None, None
    for now, after in itertools.pairwise(grid):
        denoised = denoise(x, now)
        h = (after - now) / 2
        if previous is None:
            direction = denoised
        else:
            r = previous_h / h
            direction = ((1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * previous).to(x)
        x = ((sigma(after) / sigma(now)) * x - alpha(after) * torch.expm1(-h) * direction).to(x)
        previous, previous_h = denoised, h
    return denoise(x, grid[-1])


def euler_maruyama(denoise: Denoise, sde: VPSDE, x: Tensor, steps: int, noise: Noise) -> Tensor:
    """Euler-Maruyama on the reverse stochastic equation dx = -beta (x/2 + score) dt + sqrt(beta) dw.

    Song et al. (2021), eq. 6. Evenly spaced in log-SNR; ``noise`` gives a fresh standard normal tensor like ``x`` at
    each call.
    """
    grid = sde.grid(steps)
    times = sde.time(grid)
    for now, t, after in zip(grid[:-1], times[:-1], times[1:], strict=True):
        step = t - after
        beta = sde.beta(t)
        drift = x / 2 + score(x, denoise(x, now), now)
        x = (x + beta * step * drift + (beta * step).sqrt() * noise()).to(x)
    return denoise(x, grid[-1])


SOLVERS = {"dpm_solver_2m": dpm_solver_2m, "euler_maruyama": euler_maruyama}
