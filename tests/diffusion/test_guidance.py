"""Guidance: each against its definition."""

import pytest
import torch

from scansynth.diffusion.denoiser import Denoiser
from scansynth.diffusion.guidance import guided
from scansynth.diffusion.vp_sde import alpha
from scansynth.sections import Diffusion, Network

LEVEL = torch.tensor(0.7, dtype=torch.float64)


@pytest.fixture
def made():
    """A denoiser with something to say and a prior of its own, an image a condition, and the conditions.

    It is not led away from its prior.
    """
    torch.manual_seed(0)
    network = Network(base_channels=32, multipliers=(1,), attention=(False,), wavelet_levels=1)
    denoiser = Denoiser(2, 64, 3, network, Diffusion()).eval()
    for layer in (denoiser.network.last[-1], denoiser.network.down[0].conv2):
        torch.nn.init.normal_(layer.weight, std=0.1)
    kinds = torch.eye(3).repeat(10, 1)
    images = torch.rand(30, 2, 64, 64) + torch.rand(30, 1, 64, 64) + kinds[:, :1, None, None]
    denoiser.prior.fit(images, kinds)
    return denoiser.requires_grad_(False), torch.randn(3, 2, 64, 64), torch.eye(3)


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_classifier_free_guidance_extrapolates_from_the_null(made, scale):
    denoiser, x, condition = made
    told, untold = (denoiser(x, LEVEL.float().expand(3), condition, torch.full((3,), known)) for known in (True, False))
    assert (told - untold).abs().max() > 1e-3
    found = guided(denoiser, condition, scale)(x, LEVEL)
    torch.testing.assert_close(found, untold + scale * (told - untold), atol=1e-4, rtol=1e-3)


def test_classifier_free_guidance_extrapolates_from_another_condition(made):
    """Row by row: the last one's is the null token, as it is zero."""
    denoiser, x, condition = made
    away = torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]])
    level = LEVEL.float().expand(3)
    toward, others = denoiser(x, level, condition), denoiser(x, level, away, torch.tensor([True, True, False]))
    assert ((toward - others).abs().amax((1, 2, 3)) > 1e-3).all()
    found = guided(denoiser, condition, 3.0, away=away)(x, LEVEL)
    torch.testing.assert_close(found, others + 3 * (toward - others), atol=1e-4, rtol=1e-3)


def test_guidance_away_from_what_is_asked_for_is_none(made):
    denoiser, x, condition = made
    plain, led = (guided(denoiser, condition, scale, away=condition)(x, LEVEL) for scale in (1.0, 3.0))
    torch.testing.assert_close(plain, led, atol=1e-5, rtol=1e-4)


def test_classifier_free_guidance_acts_in_its_range(made):
    denoiser, x, condition = made
    level = float(LEVEL - denoiser.sde.shift)
    plain, led = (guided(denoiser, condition, scale)(x, LEVEL) for scale in (1.0, 3.0))
    for low, high, expected in ((-0.1, 0.1, led), (-2, -0.1, plain), (0.1, 2, plain)):
        found = guided(denoiser, condition, 3.0, (level + low, level + high))(x, LEVEL)
        assert torch.equal(found, expected)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1.3])
def test_autoguidance_extrapolates_from_the_prior(made, scale):
    denoiser, x, condition = made
    linear, found = denoiser.prior.denoiser(condition)(x, LEVEL), denoiser(x, LEVEL.float().expand(3), condition)
    assert (found - linear).abs().max() > 1e-3
    denoiser.calibration.autoguidance.fill_(scale)
    led = guided(denoiser, condition)(x, LEVEL)
    torch.testing.assert_close(led, linear + scale * (found - linear), atol=1e-4, rtol=1e-3)


def test_autoguidance_is_nothing_where_the_prior_is_all(made):
    """Of a Gaussian's images the linear denoiser is the best one: there is nothing to be led away from."""
    denoiser, x, condition = made
    torch.nn.init.zeros_(denoiser.network.last[-1].weight)
    plain = guided(denoiser, condition)(x, LEVEL)
    denoiser.calibration.autoguidance.fill_(1.5)
    torch.testing.assert_close(guided(denoiser, condition)(x, LEVEL), plain, atol=1e-5, rtol=1e-4)


def test_what_samples_lack_is_added(made):
    denoiser, x, condition = made
    plain = guided(denoiser, condition)(x, LEVEL)
    denoiser.calibration.gain[:, 0] = 0.1  # along the first of the principal channels
    deviation = x / alpha(LEVEL).float() - denoiser.prior.images(denoiser.prior.mean[:1])
    common = denoiser.prior.channels.axes[0][:, None, None]
    lack = 0.1 * common * (common * deviation).sum(1, keepdim=True)
    torch.testing.assert_close(guided(denoiser, condition)(x, LEVEL), plain + lack, atol=1e-4, rtol=1e-3)
