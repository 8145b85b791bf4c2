"""Solvers on data whose denoiser is known: the exact answer, and the order at which they come to it."""

import numpy as np
import pytest
import torch

from scansynth.diffusion.solvers import SOLVERS, dpm_solver_2m, euler_maruyama
from scansynth.diffusion.vp_sde import VPSDE, alpha, sigma

SDE = VPSDE(10.0, -10.0, 0.0)
MEAN, SD = 0.4, 0.5


def gaussian(x, log_snr):
    """Mean of x_0 ~ N(MEAN, SD^2) given x."""
    a, b = alpha(log_snr), sigma(log_snr)
    return MEAN + a * SD**2 / (a**2 * SD**2 + b**2) * (x - a * MEAN)


def mixture(x, log_snr):
    """Mean of x_0, which is -1 or 1 with spread 0.1, given x."""
    a, b = alpha(log_snr), sigma(log_snr)
    variance = a**2 * 0.01 + b**2
    weight = torch.sigmoid(2 * a * x / variance)
    each = [c + a * 0.01 / variance * (x - a * c) for c in (-1.0, 1.0)]
    return (1 - weight) * each[0] + weight * each[1]


def draws(n=20_000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(n, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize(("steps", "tolerance"), [(200, 0.02)])
def test_gaussian_mean_and_spread(name, steps, tolerance):
    noise = draws()
    x = SOLVERS[name](gaussian, SDE, noise(), steps, noise)
    assert float(x.mean()) == pytest.approx(MEAN, abs=tolerance)
    assert float(x.std()) == pytest.approx(SD, abs=tolerance)


@pytest.mark.parametrize("name", SOLVERS)
def test_mixture_keeps_both_modes(name):
    noise = draws()
    x = SOLVERS[name](mixture, SDE, noise(), 200, noise)
    assert float((x > 0).double().mean()) == pytest.approx(0.5, abs=0.02)
    assert float((x.abs() - 1).std()) == pytest.approx(0.1, abs=0.02)


def exact(x):
    """The probability-flow map of the Gaussian, from t = 1 to the last log-SNR, then denoised."""
    start, end = SDE.grid(2)

    def spread(level):
        return torch.sqrt(alpha(level) ** 2 * SD**2 + sigma(level) ** 2)

    return gaussian(alpha(end) * MEAN + spread(end) / spread(start) * (x - alpha(start) * MEAN), end)


def test_dpm_solver_is_of_second_order():
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)
    errors = [float((dpm_solver_2m(gaussian, SDE, x, n + 1, None) - exact(x)).abs().max()) for n in (20, 40, 80, 160)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (orders[1:] > 1.8).all(), (errors, orders)


def test_euler_maruyama_error_of_the_spread_falls_with_the_steps():
    """The linear equation's spread is followed exactly, step by step, by its own recursion: no sampling error."""
    errors = []
    for steps in (50, 100, 200, 400):
        # An affine map of a Gaussian: run it on -1, 0 and 1 with no noise, and on 0 with the noise of one step each.
        variance = torch.tensor(1.0, dtype=torch.float64)
        grid, times = SDE.grid(steps), SDE.time(SDE.grid(steps))
        for now, t, after in zip(grid[:-1], times[:-1], times[1:], strict=True):
            h, beta = t - after, SDE.beta(t)
            slope = 1 + beta * h * (0.5 - 1 / (alpha(now) ** 2 * SD**2 + sigma(now) ** 2))
            variance = slope**2 * variance + beta * h
        errors.append(abs(float(variance.sqrt()) - SD))
        noise = draws(50_000)
        x = euler_maruyama(gaussian, SDE, noise(), steps, noise)
        assert float(x.std()) == pytest.approx(float(variance.sqrt()), abs=0.01)
    assert errors[-1] < errors[0] / 4, errors


@pytest.mark.parametrize("name", SOLVERS)
def test_as_many_evaluations_as_steps(name):
    seen = []

    def counted(x, log_snr):
        seen.append(float(log_snr))
        return gaussian(x, log_snr)

    noise = draws(4)
    SOLVERS[name](counted, SDE, noise(), 25, noise)
    assert len(seen) == 25
    assert seen == sorted(seen)


@pytest.mark.parametrize("name", SOLVERS)
def test_precision_of_the_images_is_kept(name):
    x = torch.zeros(2, 1, 4, 4)
    assert SOLVERS[name](gaussian, SDE, x, 5, lambda: x).dtype == torch.float32
