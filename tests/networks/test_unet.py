import pytest
import torch

from scansynth.networks.unet import UNet2D


def unet(**changes):
    torch.manual_seed(0)
    settings = {"channels": 2, "out_channels": 1, "conditions": 4, "base_channels": 32, "multipliers": (1, 2)}
    settings |= {"blocks": 1, "attention": (False, True), "dropout": 0.0, "haar_levels": 1}
    return UNet2D(**settings | changes)


@pytest.mark.parametrize("haar_levels", [0, 1, 2])
@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(haar_levels, blocks, channels):
    network = unet(haar_levels=haar_levels, blocks=blocks, channels=channels, out_channels=channels)
    x = torch.randn(2, channels, 32, 32)
    assert network(x, torch.zeros(2), torch.zeros(2, 4)).shape == x.shape


def test_starts_at_zero():
    assert unet()(torch.randn(2, 2, 32, 32), torch.zeros(2), torch.zeros(2, 4)).abs().max() == 0


def test_an_image_does_not_depend_on_its_batch():
    network = unet()
    torch.nn.init.normal_(network.last[-1].weight)
    x, level, condition = torch.randn(4, 2, 32, 32), torch.linspace(-2, 2, 4), torch.eye(4)
    together = network(x, level, condition)
    torch.testing.assert_close(together[2:3], network(x[2:3], level[2:3], condition[2:3]), atol=1e-4, rtol=1e-4)


def test_every_parameter_is_used():
    network = unet()
    for _ in range(2):  # what lies behind a zero convolution gets its gradient once that is not zero any more
        known = torch.tensor([True, False])
        loss = (network(torch.randn(2, 2, 32, 32), torch.randn(2), torch.randn(2, 4), known) - 1).square().mean()
        network.zero_grad()
        loss.backward()
        for parameter in network.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.02)
    loss = (network(torch.randn(2, 2, 32, 32), torch.randn(2), torch.randn(2, 4), known) - 1).square().mean()
    network.zero_grad()
    loss.backward()
    unused = [
        name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert unused == []
