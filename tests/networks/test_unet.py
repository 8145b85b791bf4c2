import pytest
import torch

from scansynth.networks.embedding import Noise
from scansynth.networks.unet import Attention, Block, UNet2D, head_width
from scansynth.sections import Network


@pytest.mark.parametrize("width", [32, 64, 96, 160, 224, 320])
def test_heads_share_the_channels_evenly(width):
    x = torch.randn(2, width, 4, 4)
    assert width % head_width(width) == 0
    torch.testing.assert_close(Attention(width)(x), x)  # it adds nothing at first


def test_attention_moves_with_the_positions():
    """It knows no places: a permutation of the positions permutes the output."""
    torch.manual_seed(0)
    attention = Attention(64)
    torch.nn.init.normal_(attention.out.weight, std=0.1)
    x, order = torch.randn(1, 64, 4, 4), torch.randperm(16)
    moved = attention(x.flatten(2)[..., order].reshape(x.shape))
    torch.testing.assert_close(moved.flatten(2), attention(x).flatten(2)[..., order], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("attention", [True, False])
def test_channels_stay_the_fastest_axis(attention):
    block = Block(96, 64, 128, dropout=0.0, attention=attention).to(memory_format=torch.channels_last)
    maps = [torch.randn(2, width, 4, 4).to(memory_format=torch.channels_last) for width in (32, 64)]
    assert block(torch.randn(2, 128), *maps).is_contiguous(memory_format=torch.channels_last)


def test_an_untrained_block_adds_nothing():
    x = torch.randn(2, 32, 4, 4)
    assert torch.equal(Block(32, 32, 128, dropout=0.0, attention=True)(torch.randn(2, 128), x), x)


def test_near_noise_levels_are_told_apart_and_far_ones_too():
    levels = torch.arange(-12, 12, 0.25)
    angles = levels[:, None] * Noise(32, 128).frequencies
    features = torch.cat([angles.sin(), angles.cos()], dim=1)
    distances = torch.cdist(features, features) + 10 * torch.eye(len(levels))
    assert distances.min() > 1
    assert distances.diagonal(1).max() < 3  # of at most 2 sqrt(16) = 8: neighbours are alike


def test_one_graph():
    """Nothing in the network keeps torch.compile from seeing all of it."""
    network = UNet2D(2, 1, 4, 8, Network(base_channels=32, multipliers=(1,), attention=(True,), wavelet_levels=1))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x, level, condition, known = torch.randn(2, 2, 8, 8), torch.zeros(2), torch.randn(2, 4), torch.tensor([True, False])
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, level, condition, known), network(x, level, condition, known))
