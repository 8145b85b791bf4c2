import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from scansynth.errors import ScansynthError
from scansynth.evaluate import probe
from scansynth.evaluate.classifier import as_input, load, save
from scansynth.sections import Probe
from scansynth.store import Store

SHORT = Probe(steps=30, batch=16)


@pytest.fixture(scope="module")
def trained(toy_store):
    return probe.train(toy_store, SHORT)


def test_learns_which_side_is_bright(trained):
    _, about = trained
    assert about.task == "labels"
    assert about.classes == ("Bright, PA", "No Finding, PA")
    assert about.chance == 0.5
    assert about.val_accuracy == 1


def test_same_bytes_twice_and_the_global_generator_as_it_was(trained, toy_store, tmp_path):
    before = torch.get_rng_state()
    save(tmp_path / "first.safetensors", *trained)
    torch.rand(3)
    state = torch.get_rng_state()
    save(tmp_path / "second.safetensors", *probe.train(toy_store, SHORT))
    assert torch.equal(torch.get_rng_state(), state)
    torch.set_rng_state(before)
    assert (tmp_path / "first.safetensors").read_bytes() == (tmp_path / "second.safetensors").read_bytes()


def test_loads_as_it_was_saved(trained, toy_store, tmp_path):
    path = tmp_path / "probe.safetensors"
    save(path, *trained)
    model, about = load(path)
    assert about == trained[1]
    features = model.extract(toy_store.pixels)
    assert features.dtype == np.float32
    assert features.shape == (len(toy_store.pixels), 64)
    np.testing.assert_array_equal(features, trained[0].extract(toy_store.pixels))
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["probe"])["classes"] == list(about.classes)


def test_probabilities_are_those_of_the_network(trained, toy_store):
    model, _ = trained
    with torch.inference_mode():
        expected = model(as_input(toy_store.pixels)).softmax(1)
    found = model.classify(model.extract(toy_store.pixels))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1)


def test_without_labels_it_learns_rotations(toy_store):
    # A square at the left of every image: only its place tells the rotation.
    unlabelled = Store(
        toy_store.pixels[1::2], [{**row, "findings": "", "view": ""} for row in toy_store.table[1::2]], {}
    )
    _, about = probe.train(unlabelled, Probe(steps=40, batch=16))
    assert about.task == "rotation"
    assert about.chance == 0.25
    assert about.val_accuracy > 0.8


def test_images_are_averaged_down_to_64_pixels_at_most():
    sizes = {size: as_input(np.zeros((1, 3, size, size), np.uint8)).shape[-1] for size in (64, 96, 128, 256)}
    assert sizes == {64: 64, 96: 48, 128: 64, 256: 64}
    checks = np.indices((128, 128)).sum(0) % 2 * 255
    assert as_input(checks[None, None].astype(np.uint8)).unique().tolist() == [0.5]


def test_an_empty_training_split_is_named(toy_store):
    empty = Store(toy_store.pixels, [{**row, "split": "test"} for row in toy_store.table], toy_store.manifest)
    with pytest.raises(ScansynthError, match="training split is empty"):
        probe.train(empty, SHORT)


def test_a_missing_validation_split_gives_no_accuracy(toy_store):
    rows = [row for row in toy_store.table if row["split"] == "train"]
    _, about = probe.train(Store(toy_store.pixels[: len(rows)], rows, toy_store.manifest), Probe(steps=1))
    assert about.val_accuracy is None and about.chance is None
