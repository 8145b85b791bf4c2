"""Calibration on Gaussian fields, whose denoiser and power spectrum are known."""

import numpy as np
import pytest
import torch

from scansynth.diffusion.calibration import EVALUATIONS, MOST, Calibration
from scansynth.diffusion.solvers import dpm_solver_2m, extrapolated, levels, towards
from scansynth.diffusion.vp_sde import VPSDE, alpha, sigma
from scansynth.evaluate.anatomy.spectrum import radial_power

SIZE = 32
SDE = VPSDE(9.0, -5.0, 0.0)
MEAN = torch.linspace(-0.5, 0.5, SIZE).expand(1, SIZE, SIZE)


@pytest.fixture
def calibration():
    return Calibration(1, SIZE, SDE)


def field(calibration, n, seed):
    """Images around MEAN whose power falls with frequency, and that power by place in the plane of frequencies."""
    power = 40 / (1 + calibration.ring.float()) ** 2.5
    white = torch.randn(n, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return MEAN + torch.fft.irfft2(torch.fft.rfft2(white) * power.sqrt(), s=(SIZE, SIZE)), power


def wiener(power):
    """The denoiser of a field of that power."""

    def denoise(x, log_snr):
        y = torch.fft.rfft2(x / alpha(log_snr).to(x) - MEAN)
        return MEAN + torch.fft.irfft2(y * power / (power + torch.exp(-log_snr).to(x)), s=(SIZE, SIZE))

    return denoise


def start(calibration, n, seed):
    """Draws of the process at its lowest log-SNR."""
    low = torch.tensor(SDE.log_snr_min)
    noise = torch.randn(n, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed + 1))
    return alpha(low) * field(calibration, n, seed)[0] + sigma(low) * noise


def calibrated(calibration, denoise):
    return lambda x, log_snr: denoise(x, log_snr) + calibration(x / alpha(log_snr).to(x) - MEAN, log_snr)


def test_white_noise_has_a_power_of_one(calibration):
    power = calibration.power(torch.randn(2000, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)))
    assert power.shape == (1, SIZE // 2 + 1) and power.dtype == torch.float64
    assert (power - 1).abs().max() < 0.05
    assert (power - 1).abs()[:, 4:].max() < 0.02


def test_power_is_that_of_the_texture_which_is_reported(calibration):
    """But for the constant, which is 0 there, and rings 0 and 1, into which it leaks."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 1, SIZE, SIZE), dtype=np.uint8)
    images = torch.from_numpy(pixels).float()
    found = calibration.power(images - images.mean((2, 3), keepdim=True))
    reported = radial_power(pixels).mean(0)
    np.testing.assert_allclose(found[0, 2:-1], reported[1:-1], rtol=1e-5)


def test_power_of_two_channels_and_in_common():
    calibration = Calibration(2, SIZE, SDE)
    images = torch.randn(70, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    each = calibration.power(images * torch.tensor([1.0, 3.0])[:, None, None])
    alone = calibration.power(images)
    torch.testing.assert_close(each, alone * torch.tensor([[1.0], [9.0]], dtype=torch.float64), rtol=1e-5, atol=0)
    torch.testing.assert_close(calibration.power(images, -2 * images), -2 * alone, rtol=1e-5, atol=0)


def test_it_is_nothing_before_it_is_fitted(calibration):
    assert not calibration(torch.randn(2, 1, SIZE, SIZE), torch.tensor(1.0, dtype=torch.float64)).any()


@pytest.mark.parametrize("known", [0.5, 0.8, 1.4])
def test_samples_of_a_wrong_denoiser_get_the_right_power(calibration, known):
    """It takes the field for one of ``known`` times its power: left alone, its samples have too little, or too much."""
    images, power = field(calibration, 4000, 0)
    wrong, right = wiener(power * known), calibration.power(images - MEAN)
    calibration.fit(wrong, start(calibration, 2000, 2), right, MEAN)
    x = start(calibration, 2000, 4)
    ratios = [
        (calibration.power(dpm_solver_2m(denoise, SDE, x, 16, None) - MEAN) / right)[0, 1:9]
        for denoise in (wrong, calibrated(calibration, wrong))
    ]
    assert (ratios[0] - 1).abs().min() > 0.1
    assert (ratios[1] - 1).abs().max() < 0.1
    assert (ratios[1] - 1).abs()[1:].max() < 0.03


def test_it_leaves_a_right_denoiser_alone(calibration):
    images, power = field(calibration, 4000, 0)
    calibration.fit(wiener(power), start(calibration, 4000, 2), calibration.power(images - MEAN), MEAN)
    assert calibration.gain.abs().max() < 0.04
    assert not calibration.gain[:, :, 0].any() and not calibration.gain[-1].any()


def test_it_holds_for_other_numbers_of_evaluations(calibration):
    images, power = field(calibration, 4000, 0)
    wrong, right = wiener(power * 0.6), calibration.power(images - MEAN)
    calibration.fit(wrong, start(calibration, 2000, 2), right, MEAN)
    for steps in (12, 60):
        x = dpm_solver_2m(calibrated(calibration, wrong), SDE, start(calibration, 2000, 4), steps, None)
        assert ((calibration.power(x - MEAN) / right)[0, 1:9] - 1).abs().max() < 0.12


def test_gains_lie_between_those_of_the_levels_and_end_with_them(calibration):
    calibration.gain.copy_(torch.arange(EVALUATIONS).float()[:, None, None].expand_as(calibration.gain))
    image = torch.randn(2, 1, SIZE, SIZE)
    at = levels(SDE, EVALUATIONS)
    for log_snr, gain in ((at[3], 3.0), (at[3] + 0.25 * (at[4] - at[3]), 3.25), (at[0] - 1, 0.0), (at[-1] + 1, 15.0)):
        torch.testing.assert_close(calibration(image, log_snr), gain * image, rtol=1e-4, atol=1e-4)


def test_a_step_gains_no_more_than_it_may(calibration):
    """Of a denoiser that knows nothing nothing can be made: the pilot doesn't run off."""
    images, _ = field(calibration, 200, 0)
    clean = calibration.power(50 * images - MEAN)
    calibration.fit(lambda x, log_snr: MEAN.expand_as(x), x := start(calibration, 200, 2), clean, MEAN)
    assert calibration.gain.isfinite().all()
    at = levels(SDE, EVALUATIONS)
    share = -torch.expm1((at[0] - at[1]) / 2)
    plain, led = (
        towards(extrapolated(denoise(x, at[0]), at[0], at[1], None), x, at[0], at[1]) / alpha(at[1]).float() - MEAN
        for denoise in (lambda x, log_snr: MEAN.expand_as(x), calibrated(calibration, lambda x, _: MEAN.expand_as(x)))
    )
    assert share > 0.1
    # To first order: the square of what is added is left out.
    assert (calibration.power(led) / calibration.power(plain)).max() < (1 + MOST) ** 2 + 0.1
