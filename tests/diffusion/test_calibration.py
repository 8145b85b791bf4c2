"""What calibration adds to a denoised image."""

import pytest
import torch

from scansynth.diffusion.calibration import AXES, LEVELS, Calibration, bands
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


@pytest.mark.parametrize("size", [8, 16, 32, 96, 128])
def test_bands_are_rings_and_parts_of_them_along_the_axes(size):
    band = bands(size)
    assert band.shape == (size, size // 2 + 1)
    assert torch.bincount(band.flatten()).all()  # no number is left out
    rings = size // 2 + 1
    for row, column, ring in ((0, 0, 0), (1, 1, 1), (-3, 2, 4), (2, 3, 4), (-size // 2, size // 2, rings - 1)):
        assert band[row, column] == ring
    for ring in range(AXES, rings):
        along_columns, along_rows = band[ring, 0], band[0, ring]
        assert band[ring, 2] < rings > band[2, ring]  # two cycles from an axis: a ring
        assert along_columns != along_rows and min(along_columns, along_rows) >= rings
        assert band[-ring, 0] == band[ring, 0] == band[ring, 1] and band[0, ring] == band[-1, ring] == band[1, ring]
