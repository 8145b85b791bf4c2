"""A model's file: whole, the same bytes for the same model, and refused where it is something else."""

import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file

from scansynth import model
from scansynth.errors import ScansynthError
from scansynth.sections import Diffusion, Network

NETWORK = Network(base_channels=32, multipliers=(1,), attention=(False,), wavelet_levels=2)
KNOWN = model.Vocabulary(["Dark", "Bright"], ["PA"], ["F", "M"], [20, 80])
DESCRIPTION = {
    **{"network": NETWORK.model_dump(mode="json"), "diffusion": Diffusion().model_dump(mode="json")},
    **{"shape": [1, 64, 64], **asdict(KNOWN)},
}


@pytest.fixture
def denoiser():
    torch.manual_seed(0)
    return model.build((1, 64, 64), KNOWN, NETWORK, Diffusion())


@pytest.fixture
def last():
    return model.build((1, 64, 64), KNOWN, NETWORK, Diffusion()).network


def test_what_is_saved_is_loaded(denoiser, last, tmp_path):
    model.save(tmp_path / "a.safetensors", denoiser, DESCRIPTION, last)
    loaded, description = model.load(tmp_path / "a.safetensors")
    assert description == DESCRIPTION
    assert model.vocabulary(description) == KNOWN and len(KNOWN) == 7
    assert not loaded.training
    for name, value in denoiser.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    tensors = load_file(tmp_path / "a.safetensors")
    assert all(torch.equal(tensors[f"last.{name}"], value) for name, value in last.state_dict().items())


def test_the_order_of_the_description_changes_no_byte(denoiser, last, tmp_path):
    model.save(tmp_path / "a.safetensors", denoiser, DESCRIPTION, last)
    reordered = dict(reversed(DESCRIPTION.items()))
    model.save(tmp_path / "b.safetensors", denoiser, reordered, last)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_what_training_left_is_not_sampled_from(denoiser, tmp_path):
    file = tmp_path / "a.safetensors"
    model.save(file, denoiser, DESCRIPTION)
    with pytest.raises(ScansynthError, match=r"a\.safetensors: .* not calibrated yet"):
        model.load_calibrated(file)
    model.save(file, denoiser, DESCRIPTION | {"calibrate": {}})
    assert model.load_calibrated(file)[1] == DESCRIPTION | {"calibrate": {}}


@pytest.mark.parametrize("content", [b"no", b""])
def test_not_a_model(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ScansynthError, match="not a model"):
        model.load(tmp_path / "x.safetensors")


def test_somebody_elses_weights(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(ScansynthError, match="not a model"):
        model.load(tmp_path / "x.safetensors")


def test_a_cut_file(denoiser, last, tmp_path):
    path = tmp_path / "a.safetensors"
    model.save(path, denoiser, DESCRIPTION, last)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ScansynthError, match="not a model"):
        model.load(path)


def test_a_network_that_is_not_made_any_more(denoiser, tmp_path):
    tensors = {name: value for name, value in denoiser.state_dict().items() if name != "network.first.weight"}
    path = tmp_path / "a.safetensors"
    save_file(tensors, path, metadata={"scansynth": json.dumps(DESCRIPTION)})
    with pytest.raises(ScansynthError, match=r"(?s)another version.*network\.first\.weight"):
        model.load(path)


@pytest.mark.parametrize("missing", ["sexes", "ages"])
def test_a_model_from_before_it_was_told_sex_and_age(denoiser, last, tmp_path, missing):
    description = {key: value for key, value in DESCRIPTION.items() if key != missing}
    model.save(tmp_path / "a.safetensors", denoiser, description, last)
    with pytest.raises(ScansynthError, match=f"another version of scansynth; train it anew .*{missing}"):
        model.load(tmp_path / "a.safetensors")
