"""What calibration adds to a denoised image."""

import pytest
import torch

from scansynth.diffusion.calibration import LEVELS, Calibration
from scansynth.diffusion.solvers import levels
from scansynth.diffusion.vp_sde import VPSDE

SIZE = 32
SDE = VPSDE(9.0, -5.0, 0.0)


@pytest.fixture
def calibration():
    return Calibration(1, SIZE, SDE)


def test_it_is_nothing_before_it_is_fitted(calibration):
    assert not calibration(torch.randn(2, 1, SIZE, SIZE), torch.tensor(1.0, dtype=torch.float64)).any()


def test_gains_lie_between_those_of_the_levels_and_end_with_them(calibration):
    calibration.gain.copy_(torch.arange(LEVELS).float()[:, None, None].expand_as(calibration.gain))
    image = torch.randn(2, 1, SIZE, SIZE)
    at = levels(SDE, LEVELS)
    calibration.log_snr.copy_(at)
    for log_snr, gain in ((at[3], 3.0), (at[3] + 0.25 * (at[4] - at[3]), 3.25), (at[0] - 1, 0.0), (at[-1] + 1, 15.0)):
        torch.testing.assert_close(calibration(image, log_snr), gain * image, rtol=1e-4, atol=1e-4)
