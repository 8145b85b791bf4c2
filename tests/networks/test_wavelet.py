import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scansynth.networks.wavelet import FILTERS, Packet


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(sorted(FILTERS)),
    st.integers(1, 3),
    st.integers(0, 3),
    st.sampled_from([8, 16, 24]),
    st.integers(0, 2**32 - 1),
)
def test_orthonormal(wavelet, channels, levels, size, seed):
    packet = Packet(wavelet, levels, size)
    x = torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(seed))
    z = packet(x)
    assert z.shape == (2, channels * 4**levels, size // 2**levels, size // 2**levels)
    torch.testing.assert_close(packet.inverse(z), x, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(z.square().sum((1, 2, 3)), x.square().sum((1, 2, 3)))


@pytest.mark.parametrize("levels", [1, 2])
def test_the_first_band_of_haar_is_the_coarse_image(levels):
    x = torch.rand(1, 2, 8, 8)
    coarse = torch.nn.functional.avg_pool2d(x, 2**levels) * 2**levels
    torch.testing.assert_close(Packet("haar", levels, 8)(x)[:, :: 4**levels], coarse)


@pytest.mark.parametrize("wavelet", FILTERS)
def test_levels_compose(wavelet):
    x = torch.rand(1, 1, 16, 16)
    once = Packet(wavelet, 1, 16)(x)
    torch.testing.assert_close(Packet(wavelet, 1, 8)(once), Packet(wavelet, 2, 16)(x))


def test_haar_is_the_differences_of_a_block():
    x = torch.tensor([[[[1.0, 2.0], [3.0, 7.0]]]])
    torch.testing.assert_close(Packet("haar", 1, 2)(x).flatten(), torch.tensor([13.0, -5.0, -7.0, 3.0]) / 2)


def test_a_symlet_sees_nothing_in_a_slope():
    """Four vanishing moments: away from the border, where the ramp jumps, only the coarse band has anything of it."""
    x = torch.arange(32.0).add(torch.arange(32.0)[:, None]).expand(1, 1, 32, 32)
    fine = {wavelet: Packet(wavelet, 1, 32)(x)[:, 1:, 4:-4, 4:-4].abs().max() for wavelet in FILTERS}
    assert fine["symlet"] < 1e-4
    assert fine["haar"] == pytest.approx(1, rel=1e-4)


def test_bf16_does_not_touch_it():
    x = torch.rand(1, 1, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        inside = Packet("symlet", 2, 16)(x)
    assert torch.equal(inside, Packet("symlet", 2, 16)(x))


def test_it_is_no_part_of_a_models_weights():
    assert not Packet("symlet", 2, 16).state_dict()
