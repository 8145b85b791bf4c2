"""Solvers of the reverse process. They know a denoiser (x, log-SNR) -> mean of x_0, and nothing of networks.

A solver of n steps evaluates the denoiser n times, the last time at the largest log-SNR: that is its result, an
estimate of x_0. ``x`` (n, ...) is a draw of the process at t = 1, and ``noise`` gives a fresh standard normal tensor
like it at each call; the deterministic solvers do not ask for any. ``levels`` says which log-SNRs are visited.
"""

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from scansynth.diffusion.vp_sde import VPSDE, Denoise, alpha, score, sigma

Noise = Callable[[], Tensor]

LANGEVIN_SNR = 0.16  # signal-to-noise ratio of the corrector's steps: the default of Song et al. (2021)
CENTRE, WIDTH = -1.0, 4.0  # log-SNR, before the shift, where levels are closest, and the distance at which they part


def levels(sde: VPSDE, points: int) -> Tensor:
    """``points`` values of log-SNR from noise to data, float64: even steps of asinh((log-SNR - centre) / width).

    They are closest where images take shape. At both ends the probability flow is nearly straight, as the data is a
    Gaussian to the one and a point to the other. Images stay in their own precision.
    """
    centre = CENTRE + sde.shift
    noise, data = torch.asinh((sde.grid(2) - centre) / WIDTH)
    return centre + WIDTH * torch.sinh(torch.linspace(noise, data, points, dtype=torch.float64))


def ddim(denoise: Denoise, sde: VPSDE, x: Tensor, steps: int, noise: Noise) -> Tensor:
    """DDIM with eta 0, deterministic, of first order (Song, Meng and Ermon, DDIM, 2021, eq. 12)."""
    grid = levels(sde, steps)
    for now, after in itertools.pairwise(grid):
        x = towards(denoise(x, now), x, now, after)
    return denoise(x, grid[-1])


def dpm_solver_2m(denoise: Denoise, sde: VPSDE, x: Tensor, steps: int, noise: Noise) -> Tensor:
    """DPM-Solver++(2M), deterministic, of second order (Lu et al., DPM-Solver++, 2022, algorithm 2)."""
    grid = levels(sde, steps)
    history = None
    for now, after in itertools.pairwise(grid):
        denoised = denoise(x, now)
        x = towards(extrapolated(denoised, now, after, history), x, now, after)
        history = denoised, now
    return denoise(x, grid[-1])


def extrapolated(denoised: Tensor, now: Tensor, after: Tensor, history: tuple[Tensor, Tensor] | None) -> Tensor:
    """DPM-Solver++(2M)'s estimate over a step, from the denoised image at its start and, if any, the last one's."""
    return denoised + ahead(now, after, history) * (denoised - history[0]) if history else denoised


def ahead(now: Tensor, after: Tensor, history: tuple[Tensor, Tensor] | None) -> float:
    """How far ``extrapolated`` goes beyond the newest denoised image, in units of its distance from the last one."""
    return float((after - now) / (now - history[1]) / 2) if history else 0.0


def heun(denoise: Denoise, sde: VPSDE, x: Tensor, steps: int, noise: Noise) -> Tensor:
    """Heun's method, deterministic, of second order (Karras et al., EDM, 2022, algorithm 1).

    The paper's Euler step is DDIM's; its correction, the mean of the slopes at both ends of the step, is taken of x
    over log-SNR, where they are bounded. An uncorrected first step takes the evaluation that an even number leaves.
    """
    grid = levels(sde, 1 + steps // 2)
    for now, after, corrected in _intervals(grid, steps):
        denoised = denoise(x, now)
        ahead = towards(denoised, x, now, after)
        if corrected:
            ahead = x + (now - after) / 2 * (flow(denoised, x, now) + flow(denoise(ahead, after), ahead, after)) / 2
        x = ahead
    return denoise(x, grid[-1])


def ddpm(denoise: Denoise, sde: VPSDE, x: Tensor, steps: int, noise: Noise) -> Tensor:
    """Ancestral sampling with the variance of the posterior q(x_s | x_t, x_0), at any two levels.

    Ho et al., DDPM (2020), eq. 6 and 7, in continuous time: Kingma et al., Variational Diffusion Models (2021),
    appendix A.2.
    """
    grid = levels(sde, steps)
    for now, after in itertools.pairwise(grid):
        lost = -torch.expm1(now - after)  # sigma_{t|s}^2 / sigma_t^2
        mean = alpha(after) * ((1 - lost) / alpha(now) * x + lost * denoise(x, now))
        x = mean + lost.sqrt() * sigma(after) * noise()
    return denoise(x, grid[-1])


def euler_maruyama(denoise: Denoise, sde: VPSDE, x: Tensor, steps: int, noise: Noise) -> Tensor:
    """Euler-Maruyama on the reverse stochastic equation dx = -beta (x/2 + score) dt + sqrt(beta) dw.

    Song et al., Score-Based Generative Modeling through Stochastic Differential Equations (2021), eq. 6.
    """
    grid = levels(sde, steps)
    times = sde.time(grid)
    for now, t, after in zip(grid[:-1], times[:-1], times[1:], strict=True):
        step = t - after
        beta = sde.beta(t)
        drift = x / 2 + score(x, denoise(x, now), now)
        x = x + beta * step * drift + (beta * step).sqrt() * noise()
    return denoise(x, grid[-1])


def predictor_corrector(denoise: Denoise, sde: VPSDE, x: Tensor, steps: int, noise: Noise) -> Tensor:
    """Reverse-diffusion predictor and Langevin corrector (Song et al., 2021, algorithms 1 and 3).

    The paper's 1 - beta_i is the share of the variance that the process keeps from one level to the next. Made for many
    steps, hundreds at least. An even number of evaluations leaves the first prediction without its correction.
    """
    grid = levels(sde, 1 + steps // 2)
    for now, after, corrected in _intervals(grid, steps):
        kept = (alpha(now) / alpha(after)).square()
        slope = score(x, denoise(x, now), now)
        x = (2 - kept.sqrt()) * x + (1 - kept) * slope + (1 - kept).sqrt() * noise()
        if corrected:
            x = langevin(x, score(x, denoise(x, after), after), kept, noise())
    return denoise(x, grid[-1])


def langevin(x: Tensor, slope: Tensor, kept: Tensor, noise: Tensor) -> Tensor:
    """A step of Langevin's dynamics along the score ``slope`` (Song et al., 2021, algorithm 5).

    Its size is from the norms of each image's own score and noise (n, ...), where the paper takes the batch's mean. By
    the bound of Cramer and Rao no score is shorter than white noise on average, as x has unit variance at most: half of
    that is taken for the least, so that an image at the very top of the density makes no endless step.
    """
    dimensions = tuple(range(1, x.ndim))
    length, noisy = (torch.linalg.vector_norm(y, dim=dimensions, keepdim=True) for y in (slope, noise))
    size = 2 * kept * (LANGEVIN_SNR * noisy / length.clamp_min(0.5 * x[0].numel() ** 0.5)).square()
    return x + size * slope + (2 * size).sqrt() * noise


def towards(denoised: Tensor, x: Tensor, now: Tensor, after: Tensor) -> Tensor:
    """The probability flow from log-SNR ``now`` to ``after``, exact for a ``denoised`` image that stays the same."""
    return (sigma(after) / sigma(now)) * x - alpha(after) * torch.expm1((now - after) / 2) * denoised


def flow(denoised: Tensor, x: Tensor, log_snr: Tensor) -> Tensor:
    """The probability flow's dx / d(-log_snr / 2): Song et al. (2021), eq. 13, with the score of ``denoised``."""
    return alpha(log_snr) * (alpha(log_snr) * x - denoised)


def _intervals(grid: Tensor, steps: int) -> Iterator[tuple[Tensor, Tensor, bool]]:
    """Each interval of the ``grid`` of 1 + steps // 2 levels, and whether its second evaluation is to be made.

    All are but the first one's where ``steps`` is even: with the last evaluation of all, that makes ``steps``.
    """
    for i, (now, after) in enumerate(itertools.pairwise(grid)):
        yield now, after, i > 0 or steps % 2 == 1


SOLVERS = {
    "dpm_solver_2m": dpm_solver_2m,
    "heun": heun,
    "ddim": ddim,
    "ddpm": ddpm,
    "euler_maruyama": euler_maruyama,
    "predictor_corrector": predictor_corrector,
}
