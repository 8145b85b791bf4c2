"""Log-likelihood by the probability flow: an image is followed to noise, and the change of volume on the way counted.

Song et al., Score-Based Generative Modeling through Stochastic Differential Equations (2021), section 4.3 and appendix
D.2, over log-SNR. It is the density of the images that the probability flow makes of draws at t = 1.

The two ends:

- At the largest log-SNR, t = 0, images still have noise of standard deviation s = exp(-log-SNR / 2) (0.0067 at 10).
  The density is of images with that noise, at the clean image: a proper density, but a blurred one. Where images vary
  by less than s it says so of s, so that only models with the same s are to be compared.
- At t = 1 the density is that of what sampling starts from: a standard normal distribution, unless another is given.
  The data's own marginal, alpha x_0 + sigma noise, differs from that: for images in [-1, 1] their divergence is below
  alpha^2 / 2 + alpha^4 / 2 nats a dimension (2.3e-5 at log-SNR -10, 3.4e-3 at -5), and no perfect denoiser's images are
  less likely than they are by more, on average. A Gaussian with the data's mean and covariance is nearer.
"""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from scansynth.diffusion.solvers import flow, towards
from scansynth.diffusion.vp_sde import VPSDE, Denoise, alpha


def standard_normal(x: Tensor) -> Tensor:
    """Log-density of white noise at ``x`` (n, ...), in nats, (n)."""
    return -0.5 * (x.square() + math.log(2 * math.pi)).flatten(1).sum(1)


def log_likelihood(
    denoise: Denoise,
    sde: VPSDE,
    x_0: Tensor,
    steps: int,
    probes: Tensor,
    start: Callable[[Tensor], Tensor] = standard_normal,
) -> Tensor:
    """Log-density at clean images, in nats, (n): see the module for what it is a density of.

    Heun's method (see ``solvers.heun``), in ``steps`` steps of two evaluations of the denoiser and of its derivative.
    Its error is of second order: with 24 steps 0.034 nats a dimension at most, of Gaussians of any width from 0 to 2,
    at one standard deviation from their mean.

    Args:
        denoise: (x, log-SNR) -> mean of x_0; differentiable with respect to x.
        sde: the process.
        x_0: (n, ...), clean images in about [-1, 1].
        steps: intervals, evenly spaced in log-SNR.
        probes: (k, n, ...), independent numbers of mean 0 and variance 1, kept the whole way. The divergence is the
            mean of k estimates v . (J v) (Hutchinson 1990); numbers of -1 and 1 (Rademacher) have the least variance.
            With ``axes`` it is exact.
        start: log-density of what sampling starts from, x (n, ...) at t = 1 -> (n).
    """
    grid = sde.grid(steps + 1).flip(0)
    x, gained = alpha(grid[0]) * x_0, x_0.new_zeros(len(x_0))
    for now, after in itertools.pairwise(grid):
        denoised, slope, divergence = _flow(denoise, x, now, probes)
        ahead = towards(denoised, x, now, after)
        _, slope_ahead, divergence_ahead = _flow(denoise, ahead, after, probes)
        x = x + (now - after) / 2 * (slope + slope_ahead) / 2
        gained = gained + (now - after) / 2 * (divergence + divergence_ahead) / 2
    return start(x) + gained + x_0[0].numel() * alpha(grid[0]).log()


def axes(x: Tensor) -> Tensor:
    """The probes that make the divergence exact, (d, n, ...), for ``x`` (n, ...) of d dimensions: d may be few only."""
    dimensions = x[0].numel()
    basis = dimensions**0.5 * torch.eye(dimensions, dtype=x.dtype, device=x.device)
    return basis.view(dimensions, 1, *x.shape[1:]).expand(-1, len(x), *x.shape[1:])


def bits_per_dimension(log_density: Tensor, dimensions: int, width: float) -> Tensor:
    """Bits for each of an image's ``dimensions`` values, given its log-density in nats.

    ``width`` is the distance of two neighbouring values that the image may have. With values to which uniform noise of
    that width is added, the expectation is an upper bound of the bits for the discrete values themselves (Theis, van
    den Oord and Bethge, A note on the evaluation of generative models, 2016, section 3.1).
    """
    return -(log_density / dimensions + math.log(width)) / math.log(2)


def _flow(denoise: Denoise, x: Tensor, log_snr: Tensor, probes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The denoised image, the flow (n, ...), and its divergence (n)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        denoised = denoise(x, log_snr)
        slope = flow(denoised, x, log_snr)
        pulled = [torch.autograd.grad(slope, x, probe, retain_graph=True)[0] for probe in probes]
    divergence = torch.stack([(pull * probe).flatten(1).sum(1) for pull, probe in zip(pulled, probes, strict=True)])
    return denoised.detach(), slope.detach(), divergence.mean(0)
