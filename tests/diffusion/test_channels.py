"""Principal channels on details whose covariance is known."""

import pytest
import torch

from scansynth.diffusion.channels import PrincipalChannels
from scansynth.diffusion.prior import GaussianPrior

AXES = torch.linalg.qr(torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]]).T)[0].T
DEVIATIONS = torch.tensor([1.0, 0.2, 0.05])


def details(count=4000, size=4):
    """Images whose channels are uncorrelated along AXES, with DEVIATIONS, about a mean of one half."""
    along = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * DEVIATIONS[:, None, None]
    return torch.einsum("ac,nahw->nchw", AXES, along) + 0.5


def fitted(x):
    channels = PrincipalChannels(x.shape[1])
    channels.fit(x)
    return channels


def test_axes_and_weights_are_found():
    channels = fitted(details())
    torch.testing.assert_close((channels.axes @ AXES.T).abs(), torch.eye(3), atol=0.01, rtol=0)
    assert (channels.axes.gather(1, channels.axes.abs().argmax(1, keepdim=True)) > 0).all()
    torch.testing.assert_close(channels.weights, DEVIATIONS / DEVIATIONS.mean(), rtol=0.02, atol=0)


def test_along_the_axes_details_are_uncorrelated():
    x = details()
    along = fitted(x)(x).transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.corrcoef(along), torch.eye(3), atol=1e-3, rtol=0)


def test_the_way_back_and_white_noise():
    channels, x = fitted(details()), torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(channels.inverse(channels(x)), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(channels(x).square().sum(1), x.square().sum(1))


def test_one_channel_is_left_as_it_is():
    x = torch.randn(5, 1, 4, 4)
    channels = fitted(x)
    assert channels(x) is x and channels.inverse(x) is x
    assert channels.weights.tolist() == [1.0]


def test_gray_images_in_three_channels():
    """Two of the axes show nothing: nothing is to be learnt of them, and nothing is divided by their variance."""
    channels = fitted(torch.randn(200, 1, 8, 8).expand(-1, 3, -1, -1))
    torch.testing.assert_close(channels.axes[0].abs(), torch.full((3,), 3**-0.5))
    torch.testing.assert_close(channels.weights, torch.tensor([3.0, 0, 0]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("noise", [0.1, 1.0, 10.0])
def test_the_prior_denoises_details_that_channels_share_by_all_of_them(noise, monkeypatch):
    """Of the same white image in three channels the best estimate is by their mean, with a third of the noise."""
    monkeypatch.setattr("scansynth.diffusion.prior.COARSE", 4)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 1, 8, 8, generator=generator).expand(-1, 3, -1, -1)
    prior = GaussianPrior(3, 8)
    prior.fit(x, torch.zeros(len(x), 0))
    noisy = x + noise**0.5 * torch.randn(x.shape, generator=generator)
    z, which = prior.coefficients(noisy) - prior.mean[0], torch.zeros(len(x), dtype=torch.long)
    found = prior.images(prior.denoise(z, torch.full((len(x),), noise), which) + prior.mean[0])
    assert float((found - x).square().mean()) == pytest.approx(noise / (3 + noise), rel=0.03)
