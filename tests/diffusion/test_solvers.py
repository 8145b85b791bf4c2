"""Solvers on data whose denoiser is known: the exact answer, the order at which they come to it, and both ends."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from scansynth.diffusion import solvers
from scansynth.diffusion.denoiser import Denoiser
from scansynth.diffusion.solvers import SOLVERS, langevin, levels
from scansynth.diffusion.vp_sde import VPSDE, alpha, sigma
from scansynth.sections import Diffusion, Network

SDE = VPSDE(10.0, -10.0, 0.0)
MEAN = torch.tensor([0.4, -0.3], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.30, 0.18], [0.18, 0.20]], dtype=torch.float64)
MODES = torch.tensor([[-0.6, 0.2], [0.6, -0.4]], dtype=torch.float64)
WEIGHTS, SPREAD = torch.tensor([0.3, 0.7], dtype=torch.float64), 0.1

DETERMINISTIC = ("ddim", "dpm_solver_2m", "heun")
STOCHASTIC = ("ddpm", "euler_maruyama", "predictor_corrector")
# Largest error of the correlated Gaussian's mean and covariance after 101 evaluations: a tenth above what is measured.
TOLERANCE = {"ddim": 0.0127, "dpm_solver_2m": 5.1e-4, "heun": 2.3e-4, "ddpm": 0.0262, "euler_maruyama": 0.0076}


def gaussian(x, log_snr):
    """Mean of x_0 ~ N(MEAN, COVARIANCE) given x, (n, 2, ...)."""
    a, b = alpha(log_snr), sigma(log_snr)
    mean, covariance = MEAN.to(x), COVARIANCE.to(x)
    gain = a * covariance @ torch.linalg.inv(a**2 * covariance + b**2 * torch.eye(2).to(x))
    centred = (x - a * mean.view(1, 2, *[1] * (x.ndim - 2))).movedim(1, -1)
    return (mean + centred @ gain.T).movedim(-1, 1)


def mixture(x, log_snr):
    """Mean of x_0, which is of one of two MODES with WEIGHTS, spread SPREAD around it, given x, (n, 2, ...)."""
    a, b = alpha(log_snr), sigma(log_snr)
    variance = a**2 * SPREAD**2 + b**2
    off = x.movedim(1, -1)[..., None, :] - a * MODES.to(x)
    share = (WEIGHTS.to(x).log() - off.square().sum(-1) / (2 * variance)).softmax(-1)
    each = MODES.to(x) + a * SPREAD**2 / variance * off
    return (share[..., None] * each).sum(-2).movedim(-1, 1)


class Exact(nn.Module):
    """What a network has to say for the denoiser to be an exact one: with a standard normal prior it is shown x."""

    def __init__(self, exact, prediction):
        super().__init__()
        self.exact, self.prediction = exact, prediction

    def forward(self, seen, log_snr, condition, known, augment):
        x, level = seen[:, :2], log_snr[0].double()
        a, b, x_0 = alpha(level), sigma(level), self.exact(x, level)
        return {"v": (a * x - x_0) / b, "epsilon": (x - a * x_0) / b, "x0": x_0}[self.prediction]


@cache
def denoiser(exact, prediction, size=1):
    """The project's own denoiser, of images of ``size`` whose pixels are independent draws in two channels."""
    network = Network(base_channels=32, multipliers=(1,), attention=(False,), wavelet_levels=0)
    made = Denoiser(2, size, 0, network, Diffusion(prediction=prediction))
    made.network = Exact(exact, prediction)
    return lambda x, log_snr: made(x, log_snr.to(x).expand(len(x)))


def normal(shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(shape, generator=generator, dtype=dtype)


def root(covariance):
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ values.sqrt().diag() @ vectors.T


def marginal(log_snr):
    """Mean, and the covariance's symmetric root, of the process at a log-SNR."""
    covariance = alpha(log_snr) ** 2 * COVARIANCE + sigma(log_snr) ** 2 * torch.eye(2, dtype=torch.float64)
    return alpha(log_snr) * MEAN, root(covariance)


def truth():
    """Mean and covariance of the exact result: the marginal at the largest log-SNR, denoised."""
    end = SDE.grid(2)[-1]
    mean, spread = marginal(end)
    gain = gaussian(torch.eye(2, dtype=torch.float64), end) - gaussian(torch.zeros(2, 2, dtype=torch.float64), end)
    return gaussian(mean[None], end)[0], gain.T @ spread @ spread @ gain


def moments(name, steps, denoise=gaussian, dtype=torch.float64, trailing=()):
    """Mean and covariance of a solver's results, exactly: with a linear denoiser it is an affine map of its noise.

    Started from the exact marginal at t = 1; every standard normal number that the solver asks for is 1 in one row, and
    0 in all the others.
    """
    mean, spread = marginal(SDE.grid(2)[0])
    rows = 3 + 4 * steps
    x = mean.repeat(rows, 1)
    x[1:3] += spread
    asked = []

    def unit_noise():
        noise = torch.zeros(rows, 2, dtype=torch.float64)
        noise[3 + 2 * len(asked) :][:2] = torch.eye(2)
        asked.append(noise)
        return noise.to(dtype).view(rows, 2, *trailing)

    found = SOLVERS[name](denoise, SDE, x.to(dtype).view(rows, 2, *trailing), steps, unit_noise).view(rows, 2).double()
    effects = found[1:] - found[0]
    return found[0], effects.T @ effects


def error(found):
    return max(float((one - other).abs().max()) for one, other in zip(found, truth(), strict=True))


def orders(errors):
    return np.log2(np.array(errors[:-1]) / errors[1:])


@pytest.mark.parametrize("prediction", ["v", "epsilon", "x0"])
@pytest.mark.parametrize("name", TOLERANCE)
def test_gaussian_of_every_prediction(name, prediction):
    assert error(moments(name, 101, denoiser(gaussian, prediction), torch.float32, (1, 1))) < TOLERANCE[name]


def test_gaussian_by_predictor_corrector():
    """Its step depends on its own noise, so that this takes draws: 16,384 of them."""
    noise = normal((4, 2, 64, 64))
    x = SOLVERS["predictor_corrector"](gaussian, SDE, noise(), 201, noise)
    drawn = x.movedim(1, 0).flatten(1).double()
    torch.testing.assert_close(drawn.mean(1), MEAN, atol=0.015, rtol=0)
    torch.testing.assert_close(drawn.cov(), COVARIANCE, atol=0.015, rtol=0)


@pytest.mark.parametrize("exact", [gaussian, mixture])
@pytest.mark.parametrize("prediction", ["v", "epsilon", "x0"])
@pytest.mark.parametrize("name", SOLVERS)
def test_what_the_network_predicts_makes_no_difference(name, prediction, exact):
    found = []
    for denoise, dtype in ((denoiser(exact, prediction, 8), torch.float32), (exact, torch.float64)):
        noise = normal((2, 2, 8, 8))
        found.append(SOLVERS[name](denoise, SDE, noise().to(dtype), 31, lambda n=noise, d=dtype: n().to(d)).double())
    torch.testing.assert_close(*found, atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", SOLVERS)
def test_mixture_keeps_the_weights_and_spreads_of_its_modes(name):
    noise = normal((2, 2, 64, 64), seed=1)
    x = SOLVERS[name](mixture, SDE, noise(), 101, noise)
    drawn = x.movedim(1, -1).reshape(-1, 2).double()
    nearest = torch.cdist(drawn, MODES).argmin(1)
    for mode in (0, 1):
        own = drawn[nearest == mode]
        assert len(own) / len(drawn) == pytest.approx(float(WEIGHTS[mode]), abs=0.025)
        torch.testing.assert_close(own.mean(0), MODES[mode], atol=0.012, rtol=0)
        torch.testing.assert_close(own.std(0), torch.full((2,), SPREAD).double(), atol=0.008, rtol=0)


@pytest.mark.parametrize("shift", [-1.4, 0.0])
def test_levels_lead_from_noise_to_data_and_are_closest_where_images_take_shape(shift):
    sde = VPSDE(12.0, -10.0, shift)
    grid = levels(sde, 16)
    torch.testing.assert_close(grid[[0, -1]], sde.grid(2))
    steps = grid.diff()
    closest = int(steps.argmin())
    assert (steps > 0).all()
    assert grid[closest] <= solvers.CENTRE + shift <= grid[closest + 1]
    assert (steps[:closest].diff() < 0).all()
    assert (steps[closest:].diff() > 0).all()


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("heun", 2), ("dpm_solver_2m", 2)])
def test_order_at_which_the_probability_flow_is_followed(name, order):
    start, end = SDE.grid(2)
    x = 2 * normal((50, 2), dtype=torch.float64)()
    (first, wide), (last, narrow) = marginal(start), marginal(end)
    exact = gaussian(last + (x - first) @ torch.linalg.inv(wide) @ narrow, end)
    counts = np.array([40, 80, 160]) + 1
    errors = [float((SOLVERS[name](gaussian, SDE, x, n, None) - exact).abs().max()) for n in counts]
    assert orders(errors) == pytest.approx(order, abs=0.25), errors


@pytest.mark.parametrize(
    ("name", "order"),
    [("ddim", 1), ("heun", 2), ("dpm_solver_2m", 2), ("ddpm", 1), ("euler_maruyama", 1), ("predictor_corrector", 1)],
)
def test_order_at_which_mean_and_covariance_are_approached(name, order, monkeypatch):
    monkeypatch.setattr(solvers, "LANGEVIN_SNR", 0.0)  # the predictor alone: the corrector has no order
    errors = [error(moments(name, n + 1)) for n in (40, 80, 160)]
    assert orders(errors)[-1] == pytest.approx(order, abs=0.25), errors


def test_ancestral_steps_to_a_known_image_keep_to_the_marginals():
    """If x_0 is known, q(x_s | x_t, x_0) takes the marginal at t, alpha x_0 + sigma z, to that at s."""
    noise, known, seen = normal((1, 4, 128, 128)), 0.5, []

    def told(x, log_snr):
        seen.append((log_snr, x))
        return torch.full_like(x, known)

    first = SDE.grid(6)[0]
    SOLVERS["ddpm"](told, SDE, alpha(first) * known + sigma(first) * noise(), 6, noise)
    for level, x in seen:
        assert float(x.mean()) == pytest.approx(float(alpha(level)) * known, abs=0.015 * float(sigma(level)))
        assert float(x.std()) == pytest.approx(float(sigma(level)), rel=0.015)


@pytest.mark.parametrize("variance", [0.5, 1.0, 4.0])
def test_langevin_moves_the_variance_as_its_steps_size_says(variance):
    """Towards white noise, x becomes (1 - size) x + sqrt(2 size) z, where size is 2 kept SNR^2 |z|^2 / |x|^2."""
    noise, kept = normal((1, 4, 256, 256)), torch.tensor(0.9)
    x = variance**0.5 * noise()
    for _ in range(5):
        size = 2 * 0.9 * solvers.LANGEVIN_SNR**2 / variance
        variance = (1 - size) ** 2 * variance + 2 * size
        x = langevin(x, -x, kept, noise())
        assert float(x.var()) == pytest.approx(variance, rel=0.01)


def test_langevin_at_the_top_of_the_density_makes_a_finite_step():
    x, noise = torch.zeros(1, 2, 8, 8), torch.ones(1, 2, 8, 8)
    size = 2 * (solvers.LANGEVIN_SNR / 0.5) ** 2
    torch.testing.assert_close(langevin(x, -x, torch.tensor(1.0), noise), (2 * size) ** 0.5 * noise)


def test_corrector_of_an_image_does_not_depend_on_its_batch():
    exact, noise = denoiser(mixture, "v", 8), normal((5, 2, 8, 8))
    drawn = [noise() for _ in range(40)]
    drawn[0][1:3] *= 3  # neighbours whose norms are others

    def run(rows):
        each = iter(drawn)
        return SOLVERS["predictor_corrector"](exact, SDE, next(each)[rows], 9, lambda: next(each)[rows])

    together = run(slice(None))
    for i in range(5):
        torch.testing.assert_close(run(slice(i, i + 1))[0], together[i], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 24, 25])
def test_as_many_evaluations_as_steps(name, steps):
    seen = []

    def counted(x, log_snr):
        seen.append(float(log_snr))
        return gaussian(x, log_snr)

    noise = normal((4, 2), dtype=torch.float64)
    SOLVERS[name](counted, SDE, noise(), steps, noise)
    assert len(seen) == steps
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (-10, 10 if steps > 1 else -10)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_solvers_ask_for_no_noise(name):
    SOLVERS[name](gaussian, SDE, torch.zeros(1, 2), 5, None)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_stochastic_solvers_end_without_noise(name):
    """The result is a mean: no noise is left on an image that is known."""
    noise = normal((100, 2))
    x = SOLVERS[name](lambda x, log_snr: torch.full_like(x, 0.3), SDE, noise(), 20, noise)
    torch.testing.assert_close(x, torch.full_like(x, 0.3))


@pytest.mark.parametrize("name", SOLVERS)
def test_precision_of_the_images_is_kept(name):
    x = torch.zeros(2, 2, 4, 4)
    assert SOLVERS[name](gaussian, SDE, x, 5, lambda: x).dtype == torch.float32


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("steps", [2, 3, 25])
@pytest.mark.parametrize("end", [1.0, 10.0, 30.0])
def test_finite_at_both_ends(name, steps, end):
    """From a short range of levels to one at whose ends single precision holds 1 - sigma^2 for 1, or for 0."""
    noise = normal((4, 2, 8, 8))
    for exact in (gaussian, mixture):
        x = SOLVERS[name](exact, VPSDE(end, -end, -1.4), noise(), steps, noise)
        assert torch.isfinite(x).all()
