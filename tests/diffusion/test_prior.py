"""The Gaussian prior against the Wiener filter written out as one matrix."""

import pytest
import torch

from scansynth.diffusion import prior as module
from scansynth.diffusion.prior import GaussianPrior
from scansynth.networks.haar import haar


def images(n=600, channels=1, size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels * size * size, channels * size * size, generator=generator) / size
    return (torch.randn(n, channels * size * size, generator=generator) @ mixing).view(n, channels, size, size) + 0.3


@pytest.mark.parametrize("channels", [1, 3])
def test_full_covariance_is_the_wiener_filter(channels, monkeypatch):
    data = images(2000, channels, 4)
    prior = GaussianPrior(channels, 4)  # no Haar level: all of the covariance is kept
    prior.fit(data)
    flat = data.flatten(1).double()
    covariance = torch.cov(flat.T)
    z = data[:5] + 0.5
    wiener = (z.flatten(1).double() - flat.mean(0)) @ torch.linalg.solve(
        covariance + 0.25 * torch.eye(len(covariance)), covariance
    )
    found = prior.denoise(z, torch.full((5,), 0.25)).flatten(1).double()
    torch.testing.assert_close(found, wiener, atol=1e-4, rtol=1e-3)


def test_scales_are_those_of_the_errors(monkeypatch):
    """What `denoise` leaves has the spread that `scales` says, band by band, on draws from the prior itself."""
    monkeypatch.setattr(module, "COARSE", 4)
    data = images(4000, 1, 8)
    prior = GaussianPrior(1, 8)
    prior.fit(data)
    assert prior.levels == 1
    z, noise = haar(data, 1), torch.full((len(data),), 0.3)
    estimate = prior.denoise(z + 0.3**0.5 * torch.randn(z.shape, generator=torch.Generator().manual_seed(1)), noise)
    clean, explained, left = (scale[0, :, 0, 0] for scale in prior.scales(noise[:1]))

    def spread(x):
        return x.square().mean((0, 2, 3)).sqrt()

    torch.testing.assert_close(spread(z - prior.mean), clean, rtol=0.05, atol=0)
    torch.testing.assert_close(spread(estimate), explained, rtol=0.05, atol=0)
    torch.testing.assert_close(spread(z - prior.mean - estimate), left, rtol=0.05, atol=0)


def test_unfitted_is_standard_normal():
    prior = GaussianPrior(1, 64)
    z, noise = torch.randn(2, 4, 32, 32), torch.tensor([0.5, 3.0])
    torch.testing.assert_close(prior.denoise(z, noise), z / (1 + noise)[:, None, None, None])
    for scale, expected in zip(prior.scales(noise), (1 + 0 * noise, 1 / (1 + noise), noise / (1 + noise)), strict=True):
        torch.testing.assert_close(scale, expected.sqrt()[:, None, None, None].expand(2, 4, 1, 1))


def test_few_images_leave_no_direction_without_variance():
    prior = GaussianPrior(1, 64)
    prior.fit(torch.rand(9, 1, 64, 64) * 2 - 1)
    assert float(prior.rest) > 0 and float(prior.variance.min()) > 0 and float(prior.eigenvalues.min()) > 0
