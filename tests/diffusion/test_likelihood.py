"""The likelihood against densities that are known, and both of its ends."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from scansynth.diffusion.likelihood import axes, bits_per_dimension, log_likelihood
from scansynth.diffusion.vp_sde import VPSDE, alpha, sigma

SDE = VPSDE(10.0, -10.0, 0.0)
NOISE = math.exp(-SDE.log_snr_max)  # its variance at the largest log-SNR


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def signs(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).choice([-1.0, 1.0], shape))


class Mixture:
    """A mixture of Gaussians with one covariance: its denoiser, and its density with the noise of t = 0."""

    def __init__(self, weights, means, covariance):
        self.weights, self.means = (torch.tensor(each, dtype=torch.float64) for each in (weights, means))
        self.covariance = torch.as_tensor(covariance, dtype=torch.float64)

    def at(self, scale, noise):
        white = noise * torch.eye(len(self.covariance), dtype=torch.float64)
        return MultivariateNormal(scale * self.means, scale**2 * self.covariance + white, validate_args=False)

    def denoise(self, x, log_snr):
        each = self.at(alpha(log_snr), sigma(log_snr) ** 2)
        share = (self.weights.log() + each.log_prob(x[:, None])).softmax(1)
        gain = alpha(log_snr) * self.covariance @ torch.linalg.inv(each.covariance_matrix[0])
        means = self.means + (x[:, None] - alpha(log_snr) * self.means) @ gain.T
        return (share[..., None] * means).sum(1)

    def blurred(self):
        return MixtureSameFamily(Categorical(self.weights), self.at(1.0, NOISE))

    def draw(self, n):
        random = np.random.default_rng(0)
        chosen = random.choice(len(self.weights), n, p=self.weights.numpy())
        spread = self.at(1.0, NOISE).scale_tril[0]
        return self.means[chosen] + torch.from_numpy(random.standard_normal((n, 2))) @ spread.T


GAUSSIAN = Mixture([1.0], [[0.4, -0.3]], [[0.30, 0.18], [0.18, 0.20]])
# The second one's smaller axis varies by less than the noise of t = 0.
THIN = Mixture([1.0], [[0.1, 0.2]], [[0.1, 0.0], [0.0, 1e-5]])
BIMODAL = Mixture([0.3, 0.7], [[-0.6, 0.2], [0.6, -0.4]], 0.1**2 * np.eye(2))


@pytest.mark.parametrize(
    ("density", "steps", "worst", "mean"),
    [(GAUSSIAN, 24, 0.07, 0.01), (THIN, 24, 0.5, 0.05), (BIMODAL, 100, 0.04, 0.005)],
)
def test_exact_divergence_gives_the_density(density, steps, worst, mean):
    x_0 = density.draw(200)
    error = log_likelihood(density.denoise, SDE, x_0, steps, axes(x_0)) - density.blurred().log_prob(x_0)
    assert float(error.abs().max()) < worst
    assert abs(float(error.mean())) < mean


@pytest.mark.parametrize("variance", [0.0, 1e-7, 1e-5, 1e-4, 1e-2, 0.3, 1.0, 4.0])
def test_error_with_24_steps_is_as_small_as_is_said(variance):
    spread = (variance + NOISE) ** 0.5
    x_0 = torch.tensor([[-spread], [0.0], [spread]], dtype=torch.float64)

    def denoise(x, level):
        return alpha(level) * variance / (alpha(level) ** 2 * variance + sigma(level) ** 2) * x

    exact = torch.distributions.Normal(0.0, spread).log_prob(x_0)[:, 0]
    torch.testing.assert_close(log_likelihood(denoise, SDE, x_0, 24, axes(x_0)), exact, atol=0.034, rtol=0)


def test_points_off_the_data_are_as_improbable_as_they_are():
    x_0 = torch.tensor([[1.5, -1.2], [0.4, -0.3], [-0.9, 0.8]], dtype=torch.float64)
    found = log_likelihood(GAUSSIAN.denoise, SDE, x_0, 100, axes(x_0))
    torch.testing.assert_close(found, GAUSSIAN.blurred().log_prob(x_0), atol=0.01, rtol=2e-3)


@pytest.mark.parametrize("density", [GAUSSIAN, BIMODAL])
def test_the_error_is_of_second_order(density):
    x_0, sde = density.draw(10), VPSDE(10.0, -20.0, 0.0)  # starts so far out that what is left is the steps' error
    exact = density.blurred().log_prob(x_0)
    errors = [
        float((log_likelihood(density.denoise, sde, x_0, n, axes(x_0)) - exact).abs().mean()) for n in (60, 120, 240)
    ]
    assert np.log2(np.array(errors[:-1]) / errors[1:]) == pytest.approx(2, abs=0.4), errors


def test_hutchinsons_estimate_has_the_right_mean_and_fewer_probes_only_add_spread():
    x_0 = GAUSSIAN.draw(1).expand(400, 2)
    exact = float(log_likelihood(GAUSSIAN.denoise, SDE, x_0[:1], 24, axes(x_0[:1])))
    one, four = (log_likelihood(GAUSSIAN.denoise, SDE, x_0, 24, signs(k, 400, 2)) for k in (1, 4))
    assert float(one.std()) > 1.5 * float(four.std()) > 0
    for found in (one, four):
        assert float(found.mean()) == pytest.approx(exact, abs=4 * float(found.std()) / 20)


def test_of_independent_dimensions_one_rademacher_probe_is_exact():
    x_0 = THIN.draw(20)
    found = log_likelihood(THIN.denoise, SDE, x_0, 24, signs(1, 20, 2))
    torch.testing.assert_close(found, log_likelihood(THIN.denoise, SDE, x_0, 24, axes(x_0)))


def test_divergence_of_a_rotation_is_nil():
    """A flow that only turns keeps the volume: v . (J v) is 0 for the antisymmetric part, whatever the probe."""
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    x_0 = normal(20, 2)

    def turning(x, log_snr):
        return alpha(log_snr) * x + 0.1 * x @ turn

    found = log_likelihood(turning, SDE, x_0, 200, axes(x_0))
    noisy = alpha(SDE.grid(2)[1])
    expected = (
        MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double()).log_prob(noisy * x_0) + 2 * noisy.log()
    )
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_shapes_of_images_and_precision():
    x_0 = normal(3, 1, 4, 4).float()

    def shrunk(x, log_snr):
        return alpha(log_snr) * x

    for probes in (axes(x_0), signs(2, 3, 1, 4, 4).float()):
        found = log_likelihood(shrunk, SDE, x_0, 5, probes)
        assert found.dtype == torch.float32
        exact = torch.distributions.Normal(0, (1 + NOISE) ** 0.5).log_prob(x_0).sum((1, 2, 3))
        torch.testing.assert_close(found, exact, atol=1e-3, rtol=0)


def test_weights_need_no_gradient_and_the_caller_may_have_switched_them_off():
    scale = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
    x_0 = normal(4, 2)
    with torch.no_grad():
        found = log_likelihood(lambda x, level: scale * alpha(level) * x, SDE, x_0, 3, axes(x_0))
    assert not found.requires_grad
    assert scale.grad is None


def test_start_of_the_flow_is_standard_normal_to_the_bound_that_is_said():
    """Divergence of N(alpha m, alpha^2 C + sigma^2) from N(0, 1), for images as far from 0 as they may be."""
    a2 = math.exp(-10) / (1 + math.exp(-10))
    for mean, variance in ((1.0, 0.0), (0.0, 1.0), (0.5, 0.75)):
        spread = a2 * variance + 1 - a2
        divergence = 0.5 * (a2 * mean**2 + spread - 1 - math.log(spread))
        assert divergence <= a2 / 2 + a2**2 / 2 < 2.3e-5


@pytest.mark.parametrize("end", [1.0, 20.0])
def test_finite_at_both_ends(end):
    x_0 = BIMODAL.draw(10)
    found = log_likelihood(BIMODAL.denoise, VPSDE(end, -end, -1.4), x_0, 50, axes(x_0))
    assert torch.isfinite(found).all()


def test_bits_of_uniform_bytes_are_eight():
    """Bytes of which all values are as likely: the density is 1 / 256 a byte, the same at any scale of the values."""
    for width in (1.0, 1 / 127.5):
        log_density = torch.tensor([-10 * math.log(256 * width)])
        assert float(bits_per_dimension(log_density, 10, width)) == pytest.approx(8)


def test_bits_of_a_gaussian_on_a_grid_are_its_entropy():
    """A broad Gaussian's discrete values have the bits of its differential entropy over the width."""
    spread, width = 0.2, 1 / 127.5
    x_0 = spread * normal(20_000, 1)
    log_density = torch.distributions.Normal(0.0, spread).log_prob(x_0)[:, 0]
    entropy = 0.5 * math.log2(2 * math.pi * math.e * spread**2) - math.log2(width)
    assert float(bits_per_dimension(log_density, 1, width).mean()) == pytest.approx(entropy, abs=0.02)
