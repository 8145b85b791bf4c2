"""The process against its formulas."""

import math

import pytest
import torch

from scansynth.diffusion.vp_sde import VPSDE, alpha, score, sigma

SDE = VPSDE.for_size(128, log_snr_max=10.0, log_snr_min=-10.0, shift_from=64)
TIMES = torch.linspace(0, 1, 101, dtype=torch.float64)


def test_variance_is_preserved():
    level = SDE.log_snr(TIMES)
    torch.testing.assert_close(alpha(level) ** 2 + sigma(level) ** 2, torch.ones_like(level))


def test_untruncated_unshifted_schedule_is_the_cosine():
    sde = VPSDE(200.0, -200.0, 0.0)
    inner = TIMES[1:-1]
    torch.testing.assert_close(alpha(sde.log_snr(inner)), torch.cos(math.pi * inner / 2))


def test_both_ends_are_finite_and_as_configured():
    ends = SDE.log_snr(torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(ends, torch.tensor([10.0, -10.0], dtype=torch.float64) + 2 * math.log(0.5))
    for value in (alpha(ends), sigma(ends), SDE.beta(TIMES)):
        assert torch.isfinite(value).all() and (value > 0).all()


@pytest.mark.parametrize("end", [0.5, 10.0, 30.0])
@pytest.mark.parametrize("shift", [-4.0, 0.0, 4.0])
def test_both_ends_are_finite_and_inverted_however_far_they_are(end, shift):
    sde = VPSDE(end, -end, shift)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    level = sde.log_snr(ends)
    torch.testing.assert_close(level, torch.tensor([end, -end], dtype=torch.float64) + shift)
    torch.testing.assert_close(sde.time(level), ends)
    torch.testing.assert_close(sde.grid(7)[[-1, 0]], level)
    for value in (alpha(level), sigma(level), alpha(level.float()), sigma(level.float()), sde.beta(ends)):
        assert torch.isfinite(value).all() and (value > 0).all()


def test_score_of_a_denoised_image_is_finite_at_both_ends_in_single_precision():
    x = torch.linspace(-2, 2, 9)
    for level in SDE.log_snr(torch.tensor([0.0, 1.0], dtype=torch.float64)):
        assert torch.isfinite(score(x, torch.zeros(9), level)).all()


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_shift_with_resolution(size):
    sde = VPSDE.for_size(size, log_snr_max=10.0, log_snr_min=-10.0, shift_from=64)
    half = torch.tensor(0.5, dtype=torch.float64)
    assert float(sde.log_snr(half)) == pytest.approx(2 * math.log(64 / size))


def test_time_inverts_log_snr():
    torch.testing.assert_close(SDE.time(SDE.log_snr(TIMES)), TIMES)


def test_beta_is_the_rate_at_which_the_signal_decays():
    t = TIMES[5:-5].clone().requires_grad_()
    log_alpha_squared = torch.nn.functional.logsigmoid(SDE.log_snr(t))
    (slope,) = torch.autograd.grad(log_alpha_squared.sum(), t)
    torch.testing.assert_close(SDE.beta(t.detach()), -slope)


def test_score_of_a_gaussian():
    """x_0 ~ N(m, s^2): p(x_t) = N(alpha m, alpha^2 s^2 + sigma^2), whose score is known."""
    m, s, level, x = 0.3, 0.7, torch.tensor(0.4), torch.linspace(-2, 2, 9)
    a, b = alpha(level), sigma(level)
    variance = a**2 * s**2 + b**2
    denoised = m + a * s**2 / variance * (x - a * m)
    torch.testing.assert_close(score(x, denoised, level), (a * m - x) / variance)
