import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scansynth.networks.haar import haar


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(0, 3), st.integers(0, 2**31))
def test_orthonormal_and_its_own_inverse(channels, levels, seed):
    x = torch.randn(2, channels, 16, 16, generator=torch.Generator().manual_seed(seed))
    z = haar(x, levels)
    assert z.shape == (2, channels * 4**levels, 16 // 2**levels, 16 // 2**levels)
    torch.testing.assert_close(haar(z, -levels), x)
    torch.testing.assert_close(z.square().sum((1, 2, 3)), x.square().sum((1, 2, 3)))


@pytest.mark.parametrize("levels", [1, 2])
def test_first_band_is_the_coarse_image(levels):
    x = torch.rand(1, 2, 8, 8)
    coarse = torch.nn.functional.avg_pool2d(x, 2**levels) * 2**levels
    torch.testing.assert_close(haar(x, levels)[:, :: 4**levels], coarse)


def test_levels_compose():
    x = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(haar(haar(x, 1), 1), haar(x, 2))
