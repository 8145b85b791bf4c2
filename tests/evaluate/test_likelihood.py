"""Bits per dimension of real images: the parts against known answers, and the stage on a toy model."""

import json
import math

import numpy as np
import pytest
import torch

from scansynth import model
from scansynth.diffusion import prior as prior_module
from scansynth.diffusion.likelihood import axes, log_likelihood
from scansynth.diffusion.prior import GaussianPrior
from scansynth.diffusion.vp_sde import VPSDE
from scansynth.evaluate import likelihood
from scansynth.evaluate.bootstrap import Estimate
from scansynth.evaluate.imagesets import real_set
from scansynth.files import read_json, sha256
from scansynth.sections import Diffusion, Evaluate, Likelihood, Network
from scansynth.store import open_store

NETWORK = Network(base_channels=32, multipliers=(1,), attention=(False,), wavelet_levels=2)
NOISE = 1e-3


def images(n, channels=1, size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels * size**2, channels * size**2, generator=generator) / size / 3
    return (torch.randn(n, channels * size**2, generator=generator) @ mixing).view(n, channels, size, size) + 0.2


@pytest.fixture(params=[range(0), range(1, 3)])
def fitted(request, monkeypatch):
    """A prior of 8 x 8 images with one level, whose coarse image has 5 principal axes, without kinds and with two."""
    monkeypatch.setattr(prior_module, "COARSE", 4)
    monkeypatch.setattr(prior_module, "COMPONENTS", 5)
    prior = GaussianPrior(2, 8, 3, kinds=request.param)
    prior.fit(images(400, 2), torch.eye(3)[torch.arange(400) % 3])
    return prior


def covariance(prior, which):
    """The covariance of one of the prior's Gaussians in wavelet coefficients, written out."""
    variance, spectrum = prior.variance[which], prior.spectra[which]
    full = variance.double().flatten().diag()
    coarse = torch.zeros_like(variance, dtype=torch.bool)
    coarse[:: prior.bands] = True
    places = coarse.flatten().nonzero()[:, 0]
    basis, rest = spectrum.basis.double(), spectrum.rest.double()
    of_coarse = rest * torch.eye(len(basis)) + basis @ (spectrum.eigenvalues.double() - rest).diag() @ basis.T
    full[places[:, None], places] = of_coarse
    return full


def test_density_of_the_prior_is_that_of_its_gaussian(fitted):
    x_0, condition = images(6, 2, seed=1), torch.eye(3)[[0, 1, 2, 0, 1, 2]]
    told = torch.ones(6, dtype=torch.bool)
    expected, kinds = fitted.expect(condition, told)
    mean = expected.flatten(1).double()
    white = NOISE * torch.eye(mean.shape[1], dtype=torch.float64)
    each = torch.stack([covariance(fitted, which) for which in kinds])
    gaussian = torch.distributions.MultivariateNormal(mean, each + white)
    expected = gaussian.log_prob(fitted.coefficients(x_0).flatten(1).double())
    torch.testing.assert_close(
        likelihood.prior_log_density(fitted, x_0, condition, NOISE), expected, rtol=1e-5, atol=1e-3
    )


def test_flow_of_the_prior_leads_to_its_density(fitted):
    """The likelihood by the flow, with its exact divergence, and the formula are two ways to one number."""
    data, condition = images(401, 2)[400:], torch.eye(3)[:1]
    sde = VPSDE(10.0, -10.0, 0.0)
    found = log_likelihood(fitted.denoiser(condition), sde, data, 24, axes(data))
    expected = likelihood.prior_log_density(fitted, data, condition, likelihood.least_noise(sde) ** 2)
    torch.testing.assert_close(found.double() / 128, expected / 128, atol=0.03, rtol=0)


def test_dequantised_bytes_stay_in_their_levels_and_depend_on_seed_and_index_alone():
    image = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    x_0, probe = likelihood.dequantised(image, 3, 5)
    assert x_0.dtype == probe.dtype == np.float32
    np.testing.assert_array_equal(np.round((x_0.astype(float) + 1) * 127.5), image)
    assert np.ptp((x_0.astype(float) + 1) * 127.5 - image) > 0.9
    assert set(np.unique(probe)) == {-1.0, 1.0}
    for other in ((3, 6), (4, 5)):
        assert (likelihood.dequantised(image, *other)[0] != x_0).any()
    np.testing.assert_array_equal(likelihood.dequantised(image, 3, 5)[1], probe)


def test_estimates_are_means_over_patients():
    values = {"model": np.array([1.0, 1.0, 4.0]), "prior": np.array([2.0, 2.0, 5.0])}
    values["prior_exact"] = np.array([1.5, 1.5, 4.5])
    found = likelihood.estimates(values, np.array([0, 0, 1]), Evaluate(bootstrap=200))
    assert found["model"].value == 2
    # Two patients: both, the first twice, or the second twice.
    assert set(np.round(found["model"].replicates, 6)) == {1.0, 2.0, 4.0}
    assert found["prior_minus_model"].interval == (1.0, 1.0)
    assert found["error"].interval == (0.5, 0.5)


def surely(value):
    return Estimate(value, np.array([value - 0.001, value + 0.001]))


@pytest.mark.parametrize(
    ("model_bits", "training", "better", "memorised"),
    [(2.0, 2.0, "predicts them better", "no sign of"), (4.0, 2.0, "predicts them worse", "is what memorising looks")],
)
def test_verdicts_say_what_the_figures_say(model_bits, training, better, memorised):
    found = {
        name: {
            "model": surely(bits),
            "prior": surely(3.0),
            "prior_minus_model": surely(3.0 - bits),
            "error": surely(0.1),
        }
        for name, bits in (("held_out", model_bits), ("training", training))
    }
    said = likelihood.verdicts(found, likelihood.gaps(found))
    assert better in said[0]
    assert memorised in said[2]


@pytest.fixture
def toy(tiny_store, tmp_path, monkeypatch):
    """A store, and a model of its training images whose network says nothing: a Gaussian fitted to 36 images."""
    monkeypatch.chdir(tmp_path)
    store = open_store(tiny_store)
    torch.manual_seed(0)
    known, sections = model.vocabulary(store.manifest), {"network": NETWORK, "diffusion": Diffusion()}
    denoiser = model.build(store.pixels.shape[1:], known, *sections.values())
    train = store.indices("train")
    denoiser.prior.fit(
        torch.from_numpy(store.pixels[train]).float() / 127.5 - 1, torch.from_numpy(store.conditions[train])
    )
    described = {name: section.model_dump(mode="json") for name, section in sections.items()}
    described |= {name: store.manifest[name] for name in ("findings", "views", "sexes", "ages")}
    described |= {"shape": store.pixels.shape[1:]}
    model.save(tmp_path / "model.safetensors", denoiser, described)
    return tiny_store


def run(path, name):
    settings = {"evaluate": {"bootstrap": 50}, "likelihood": {"count": 10, "steps": 12}}
    store = [
        "--pixels",
        str(path),
        "--table",
        str(path.with_suffix(".csv")),
        "--manifest",
        str(path.with_suffix(".json")),
    ]
    inputs = ["--model", "model.safetensors", *store]
    likelihood.main(["--settings", json.dumps(settings), *inputs, "--likelihood", f"{name}.json"])
    return read_json(path.parents[2] / f"{name}.json")


def test_a_device_without_double_precision_is_not_used(toy, monkeypatch):
    expected = run(toy, "likelihood_toy")
    monkeypatch.setattr(likelihood, "best_device", lambda: torch.device("mps"))
    assert run(toy, "likelihood_toy") == expected


def test_stage_writes_figures_with_their_intervals_and_meaning(toy, tmp_path):
    found = run(toy, "likelihood_toy")
    assert {name: each["images"] for name, each in found["sets"].items()} == {"held_out": 10, "training": 10}
    assert found["method"]["noise_in_levels"] == pytest.approx(127.5 * math.exp(-5.75), abs=1e-4)
    for figures in found["bits_per_dimension"].values():
        for name in ("model", "prior", "prior_exact"):
            low, high = figures[name]["interval"]
            assert 0 < low < figures[name]["value"] < high
        # The network says nothing yet: both ways lead to the Gaussian, and so does its formula, but for the few steps.
        assert figures["model"]["value"] == pytest.approx(figures["prior"]["value"], abs=1e-3)
        assert figures["prior_exact"]["value"] == pytest.approx(figures["prior"]["value"], rel=0.1)
        assert figures["error"]["value"] == pytest.approx(
            figures["prior"]["value"] - figures["prior_exact"]["value"], abs=1e-4
        )
    gap = found["held_out_minus_training"]
    values = {name: figures["model"]["value"] for name, figures in found["bits_per_dimension"].items()}
    assert gap["model"]["value"] == pytest.approx(values["held_out"] - values["training"], abs=1e-4)
    assert gap["prior"]["value"] > 0  # it was fitted to 36 images only
    assert len(found["verdicts"]) == 4
    run(toy, "again")
    assert sha256(tmp_path / "likelihood_toy.json") == sha256(tmp_path / "again.json")


def test_bits_of_an_image_do_not_depend_on_the_others(toy):
    store = open_store(toy)
    denoiser, _ = model.load(toy.parents[2] / "model.safetensors")
    options, chosen = Likelihood(steps=2), store.indices("train")[:11]
    alone, together = (
        likelihood.bits(denoiser, real_set(store, part), store.conditions[part], options)
        for part in (chosen[9:], chosen)
    )
    for name in ("model", "prior"):
        np.testing.assert_allclose(alone[name], together[name][9:], rtol=1e-6)
