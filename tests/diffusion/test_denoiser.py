"""The denoiser: each prediction against its definition, the loss against its formula."""

import itertools

import pytest
import torch

from scansynth.diffusion.denoiser import Denoiser, octave_weights
from scansynth.diffusion.vp_sde import alpha, sigma
from scansynth.networks.wavelet import Packet
from scansynth.sections import Diffusion, Network

SMALL = Network(base_channels=32, multipliers=(1,), attention=(False,), wavelet_levels=1)


def small(**diffusion):
    torch.manual_seed(0)
    denoiser = Denoiser(1, 64, 3, SMALL, Diffusion(**diffusion)).eval()
    # The last convolution starts at zero: give it something to say.
    torch.nn.init.normal_(denoiser.network.last[-1].weight, std=0.1)
    return denoiser


def batch(n=3):
    generator = torch.Generator().manual_seed(1)
    x_0, epsilon = torch.randn(2, n, 1, 64, 64, generator=generator)
    condition = torch.eye(3)[:n]
    return x_0, epsilon, torch.tensor([-2.0, 0.0, 3.0])[:n], condition, torch.ones(n, dtype=torch.bool)


def spied(denoiser):
    """The network's outputs, as they are made."""
    seen = []
    denoiser.network.register_forward_hook(lambda module, inputs, output: seen.append(output))
    return seen


@torch.no_grad()
@pytest.mark.parametrize("prediction", ["v", "epsilon", "x0"])
def test_predictions_mean_what_they_say(prediction):
    """With a standard normal prior they are the textbook's."""
    denoiser = small(prediction=prediction)
    x_0, epsilon, log_snr, condition, known = batch()
    a, s = (f(log_snr)[:, None, None, None] for f in (alpha, sigma))
    x = a * x_0 + s * epsilon
    seen = spied(denoiser)
    denoised = denoiser(x, log_snr, condition, known)
    output = seen[0]
    expected = {"v": a * x - s * output, "epsilon": (x - s * output) / a, "x0": output}[prediction]
    torch.testing.assert_close(denoised, expected, atol=1e-4, rtol=1e-4)


def band_squares(error):
    """Mean squares (n, 64) of the bands of a packet of three levels."""
    return Packet("symlet", 3, error.shape[-1])(error).square().mean((2, 3))


def octave_mean(squares):
    """Mean over bands: of one level's, the details count as much as the coarse image, and its octaves a third each."""
    coarse = (squares[:, 0] + squares[:, 1:4].mean(1) + squares[:, 4:16].mean(1)) / 3
    return (coarse + squares[:, 16:].mean(1)) / 2


def test_octave_weights():
    for levels, within in itertools.product(range(4), range(3)):
        weights, finest = octave_weights(levels, within), levels + within
        assert float(weights.mean()) == pytest.approx(1)
        sums = [float(part.sum()) for part in weights.split([1] + [3 * 4**level for level in range(finest)])]
        shares = [1 / (within + 1)] * (within + 1) + [1] * levels
        assert sums == pytest.approx([4**finest / (levels + 1) * share for share in shares])


@torch.no_grad()
@pytest.mark.parametrize("prediction", ["v", "epsilon", "x0"])
def test_min_snr_weight_is_min_snr_on_the_error_of_x0(prediction):
    denoiser = small(prediction=prediction, min_snr_gamma=5.0)
    denoiser.prior.spread.copy_(torch.linspace(0.5, 2, 64))  # of the images, in each band
    x_0, epsilon, log_snr, condition, known = batch()
    a, s = (f(log_snr)[:, None, None, None] for f in (alpha, sigma))
    squares = band_squares(denoiser(a * x_0 + s * epsilon, log_snr, condition, known) - x_0)
    snr = denoiser.prior.spread * torch.exp(log_snr)[:, None]
    expected = octave_mean(snr.clamp(max=5) * squares / denoiser.prior.spread)
    torch.testing.assert_close(denoiser.loss(x_0, epsilon, log_snr, condition, known), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("prediction", ["v", "epsilon", "x0"])
def test_uniform_weight_is_the_error_of_the_prediction(prediction):
    denoiser = small(prediction=prediction, weighting="uniform")
    x_0, epsilon, log_snr, condition, known = batch()
    a, s = (f(log_snr)[:, None, None, None] for f in (alpha, sigma))
    target = {"v": a * epsilon - s * x_0, "epsilon": epsilon, "x0": x_0}[prediction]
    seen = spied(denoiser)
    loss = denoiser.loss(x_0, epsilon, log_snr, condition, known)
    torch.testing.assert_close(loss, octave_mean(band_squares(seen[0] - target)), atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("weighting", ["uniform", "min_snr"])
def test_errors_along_principal_channels_have_their_weights(weighting):
    torch.manual_seed(0)
    denoiser = Denoiser(2, 64, 3, SMALL, Diffusion(weighting=weighting)).eval()
    torch.nn.init.normal_(denoiser.network.last[-1].weight, std=0.1)
    channels = denoiser.prior.channels
    channels.axes.copy_(torch.tensor([[0.6, 0.8], [-0.8, 0.6]]))
    channels.weights.copy_(torch.tensor([1.6, 0.4]))
    _, _, log_snr, condition, known = batch()
    x_0, epsilon = torch.randn(2, 3, 2, 64, 64, generator=torch.Generator().manual_seed(1))
    a, s = (f(log_snr)[:, None, None, None] for f in (alpha, sigma))
    spread = torch.linspace(0.5, 2, 128)  # 64 bands along the one, 64 along the other
    denoiser.prior.spread.copy_(spread)
    seen = spied(denoiser)
    loss = denoiser.loss(x_0, epsilon, log_snr, condition, known)
    error = seen[0] - channels(a * epsilon - s * x_0)
    squares = torch.stack([band_squares(error[:, [channel]]) for channel in range(2)])
    if weighting == "min_snr":  # on the error of x_0, which is that of v times sigma
        snr = spread.view(2, 1, 64) * torch.exp(log_snr)[:, None]
        squares = squares * s[:, :, 0, 0] ** 2 * snr.clamp(max=5) / spread.view(2, 1, 64)
    first, second = map(octave_mean, squares)
    torch.testing.assert_close(loss, (1.6 * first + 0.4 * second) / 2, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_finite_at_both_ends():
    for prediction in ("v", "x0"):
        denoiser = small(prediction=prediction)
        ends = denoiser.sde.log_snr(torch.tensor([0.0, 1.0])).float()
        x_0, epsilon, _, condition, known = batch(2)
        assert torch.isfinite(denoiser(epsilon, ends, condition, known)).all()
        assert torch.isfinite(denoiser.loss(x_0, epsilon, ends, condition, known)).all()


@torch.no_grad()
def test_null_token_hides_the_condition():
    denoiser = small()
    torch.nn.init.normal_(denoiser.network.down[0].conv2.weight, std=0.1)
    x, _, log_snr, condition, known = batch()
    told = denoiser(x, log_snr, condition, known)
    untold = denoiser(x, log_snr, condition, ~known)
    torch.testing.assert_close(untold, denoiser(x, log_snr))
    assert (told - untold).abs().max() > 1e-4


@torch.no_grad()
def test_a_condition_is_heeded_before_anything_is_learnt():
    """At high noise the untrained network's image of a condition is the mean of the images that have it."""
    denoiser = Denoiser(1, 64, 2, SMALL, Diffusion()).eval()
    generator = torch.Generator().manual_seed(2)
    kind = torch.eye(2).repeat(100, 1)
    pattern = torch.sin(torch.arange(64) * torch.pi / 32).expand(1, 64, 64) / 2  # it wraps around, as wavelets do
    data = kind[:, 0, None, None, None] * pattern + 0.1 * torch.randn(200, 1, 64, 64, generator=generator)
    denoiser.prior.fit(data, kind)
    x = torch.randn(2, 1, 64, 64, generator=generator)
    told, other = denoiser(x, torch.full((2,), -10.0), torch.eye(2))
    torch.testing.assert_close((told - other).mean(1), pattern.mean(1), atol=0.1, rtol=0)
