"""The Gaussian prior against the Wiener filter written out as one matrix."""

import pytest
import torch

from scansynth.diffusion import prior as module
from scansynth.diffusion.prior import GaussianPrior
from scansynth.diffusion.vp_sde import alpha


def untold(n):
    return torch.zeros(n, dtype=torch.long)


def fitted(data, conditions=None, kinds=range(0)):
    conditions = torch.zeros(len(data), 0) if conditions is None else conditions
    prior = GaussianPrior(*data.shape[1:3], conditions.shape[1], kinds=kinds)
    prior.fit(data, conditions)
    return prior


def images(n=600, channels=1, size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels * size * size, channels * size * size, generator=generator) / size
    return (torch.randn(n, channels * size * size, generator=generator) @ mixing).view(n, channels, size, size) + 0.3


@pytest.mark.parametrize("channels", [1, 3])
def test_full_covariance_is_the_wiener_filter(channels, monkeypatch):
    data = images(2000, channels, 4)
    prior = fitted(data)  # no level of the wavelet: all of the covariance is kept
    flat = data.flatten(1).double()
    covariance = torch.cov(flat.T)
    z = data[:5] + 0.5
    wiener = (z.flatten(1).double() - flat.mean(0)) @ torch.linalg.solve(
        covariance + 0.25 * torch.eye(len(covariance)), covariance
    )
    found = prior.denoise(prior.coefficients(z) - prior.mean[0], torch.full((5,), 0.25), untold(5))
    torch.testing.assert_close(prior.images(found).flatten(1).double(), wiener, atol=1e-4, rtol=1e-3)


def test_scales_are_those_of_the_errors(monkeypatch):
    """What `denoise` leaves has the spread that `scales` says, band by band, on draws from the prior itself."""
    monkeypatch.setattr(module, "COARSE", 4)
    data = images(4000, 1, 8)
    prior = fitted(data)
    assert prior.packet.levels == 1
    z, noise = prior.coefficients(data), torch.full((len(data),), 0.3)
    noisy = z + 0.3**0.5 * torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
    estimate = prior.denoise(noisy - prior.mean[0], noise, untold(len(z)))
    clean, explained, left = (scale[0, :, 0, 0] for scale in prior.scales(noise[:1], untold(1)))

    def spread(x):
        return x.square().mean((0, 2, 3)).sqrt()

    torch.testing.assert_close(spread(z - prior.mean[0]), clean, rtol=0.05, atol=0)
    torch.testing.assert_close(spread(estimate), explained, rtol=0.05, atol=0)
    torch.testing.assert_close(spread(z - prior.mean[0] - estimate), left, rtol=0.05, atol=0)


def test_spread_is_that_of_each_band():
    """All of a stripe pattern's variance is in the finest bands across it, the more of it the stronger it is."""
    data = 0.1 * torch.randn(200, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    stripes = torch.randn(200, 1, 1, 1, generator=torch.Generator().manual_seed(1)) * (-1.0) ** torch.arange(64)
    spread = fitted(data + 0.5 * stripes).spread
    finest = int(spread.argmax())
    assert float(spread[finest]) == pytest.approx(0.01 + 0.25 * 64, rel=0.2)
    assert spread[torch.arange(64) != finest].tolist() == pytest.approx([0.01] * 63, rel=0.1)


def test_unfitted_is_standard_normal():
    prior = GaussianPrior(1, 64)
    z, noise = torch.randn(2, 4, 32, 32), torch.tensor([0.5, 3.0])
    told = torch.tensor([1, 0])
    torch.testing.assert_close(prior.denoise(z, noise, told), z / (1 + noise)[:, None, None, None])
    variances = (1 + 0 * noise, 1 / (1 + noise), noise / (1 + noise))
    for scale, expected in zip(prior.scales(noise, told), variances, strict=True):
        torch.testing.assert_close(scale, expected.sqrt()[:, None, None, None].expand(2, 4, 1, 1))


@pytest.mark.parametrize("kinds", [range(0), range(3)])
def test_few_images_leave_no_direction_without_variance(kinds):
    """Not even of a kind that one image is of, or none."""
    conditions = torch.zeros(9, 3)
    conditions[:, 0], conditions[0] = 1, torch.tensor([0, 1, 0])
    prior = fitted(torch.rand(9, 1, 64, 64) * 2 - 1, conditions, kinds)
    assert float(prior.variance.min()) > 0
    for spectrum in prior.spectra:
        assert float(spectrum.rest) > 0 and float(spectrum.eigenvalues.min()) > 0


def of_two_kinds(n=2000):
    """Images (n, 1, 4, 4) of two kinds whose means are known, and which kind each is of, (n, 1)."""
    kind = (torch.arange(n) % 2).float()[:, None]
    return images(n, 1, 4) + 2 * kind[:, :, None, None] * torch.linspace(0, 1, 4), kind


def test_a_condition_moves_the_mean():
    data, kind = of_two_kinds()
    prior = fitted(data, kind)
    told = torch.tensor([True, True, False])
    means, _ = prior.expect(torch.tensor([[0.0], [1.0], [1.0]]), told)
    for found, expected in zip(means, (data[kind[:, 0] == 0], data[kind[:, 0] == 1], data), strict=True):
        torch.testing.assert_close(found, expected.mean(0), atol=0.02, rtol=0)


def test_told_images_vary_as_those_of_one_kind_do():
    data, kind = of_two_kinds()
    prior = fitted(data, kind)
    within = torch.cat([data[kind[:, 0] == k] - data[kind[:, 0] == k].mean(0) for k in (0, 1)])
    spread = prior.scales(torch.ones(2), torch.tensor([1, 0]))[0][:, 0, 0, 0]
    expected = torch.stack([within.square().mean(), (data - data.mean(0)).square().mean()]).sqrt()
    torch.testing.assert_close(spread, expected, atol=0, rtol=0.01)


def test_an_effect_seen_in_few_images_is_small():
    data, _ = of_two_kinds()
    rare = torch.zeros(len(data), 1)
    rare[0] = 1
    assert fitted(data, rare).effect.abs().max() < 0.25 * (data[0] - data.mean(0)).abs().max()


def test_each_kind_varies_in_a_way_of_its_own(monkeypatch):
    """Bright spots lie elsewhere in the other kind: each is denoised by what is known of its own images."""
    monkeypatch.setattr(module, "SHARED", 0.0)
    monkeypatch.setattr(module, "COARSE", 4)
    generator = torch.Generator().manual_seed(2)
    kind = torch.arange(4000) % 2
    data = 0.1 * torch.randn(4000, 1, 8, 8, generator=generator)
    strength = torch.randn(4000, generator=generator)
    data[kind == 0, 0, :4, :4] += strength[kind == 0, None, None]
    data[kind == 1, 0, 4:, 4:] += strength[kind == 1, None, None]
    conditions = torch.stack([torch.ones(4000), kind == 0, kind == 1], 1).float()
    prior = fitted(data, conditions, range(1, 3))
    told = torch.tensor([True, True, True, False])
    asked = torch.tensor([[1.0, 1, 0], [1, 0, 1], [1, 0, 0], [1, 1, 0]])
    assert prior.expect(asked, told)[1].tolist() == [2, 3, 1, 0]
    for own, other in ((0, 1), (1, 0)):
        z = prior.coefficients(data[own:400:2]) - prior.mean[0]
        right, wrong = (
            prior.denoise(z, torch.full((200,), 0.25), torch.full((200,), 2 + which)) - z for which in (own, other)
        )
        assert right.square().mean() < 0.5 * wrong.square().mean()


@pytest.mark.parametrize("asked", [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
def test_draws_have_the_mean_and_covariance_of_noisy_images(asked, monkeypatch):
    """The map from white noise to images, written out as a matrix, of a kind's Gaussian and of all others'."""
    monkeypatch.setattr(module, "COARSE", 4)
    monkeypatch.setattr(module, "COMPONENTS", 5)
    conditions = torch.eye(3)[torch.arange(400) % 3]
    prior = fitted(images(400, 1, 8), conditions, range(1, 3))
    log_snr, identity = torch.tensor(-0.7), torch.eye(64).view(64, 1, 8, 8)
    condition = torch.tensor(asked).expand(65, 3)
    drawn = prior.draw(torch.cat([torch.zeros(1, 1, 8, 8), identity]), log_snr, condition).flatten(1).double()
    a, noise = alpha(log_snr), torch.exp(-log_snr)
    expected, which = prior.expect(condition[1:], torch.ones(64, dtype=torch.bool))
    torch.testing.assert_close(drawn[0], (a * prior.images(expected[:1])).flatten().double())
    matrix = drawn[1:] - drawn[0]
    # By the Wiener filter W = C / (C + noise) of the same Gaussian, C + noise = noise / (1 - W).
    filtered = prior.images(prior.denoise(prior.coefficients(identity), noise.expand(64), which)).flatten(1).double()
    noisy = float(noise) * torch.linalg.inv(torch.eye(64, dtype=torch.float64) - filtered)
    torch.testing.assert_close(matrix.T @ matrix, float(a) ** 2 * noisy, atol=1e-5, rtol=1e-4)
