"""The reader learns from training images what each shows, and keeps no more than it needs."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from scansynth.errors import ScansynthError
from scansynth.evaluate import reader
from scansynth.evaluate.fidelity import aurocs, view_accuracy
from scansynth.files import sha256
from scansynth.sections import Reader as Options
from scansynth.store import Store


def with_rows(store, rows, channels=1):
    """The toy store with other labels: ``rows`` gives (findings, view) of image i."""
    table = [row | dict(zip(("findings", "view"), rows(i), strict=True)) for i, row in enumerate(store.table)]
    return Store(np.repeat(store.pixels, channels, 1), table, store.manifest)


@pytest.fixture(scope="module")
def labelled(toy_store):
    """Bright squares at the left (odd images) are "Left", and of every third image it is said that it is "Third"."""
    return with_rows(toy_store, lambda i: ("|".join(["Left"] * (i % 2) + ["Third"] * (i % 3 == 0)) or "None", "PA"))


@pytest.fixture(scope="module")
def trained(labelled):
    return reader.train(labelled, Options(steps=60, batch=16))


def test_what_can_be_seen_is_read_and_what_cannot_is_not(trained, labelled):
    test = labelled.indices("test")
    rows = [labelled.table[i] for i in test]
    found = aurocs(trained.probabilities(labelled.pixels[test]), rows, trained)
    assert found["Left"] > 0.99
    assert 0.1 < found["Third"] < 0.9
    assert trained.about.val_aurocs["Left"] > 0.99


def test_a_small_spot_is_read_wherever_it_lies(toy_store):
    generator = np.random.default_rng(0)
    pixels = generator.normal(90, 6, (320, 1, 64, 64))
    for image in pixels[1::2, 0]:
        y, x = generator.integers(0, 60, 2)
        image[y : y + 4, x : x + 4] += 60
    splits = ["train"] * 200 + ["val"] * 40 + ["test"] * 80
    rows = [{**toy_store.table[0], "split": s, "findings": ("None", "Spot")[i % 2]} for i, s in enumerate(splits)]
    store = Store(np.clip(pixels, 0, 255).astype(np.uint8), rows, toy_store.manifest)
    found = reader.train(store, Options(steps=200, batch=16))
    test = store.indices("test")
    assert aurocs(found.probabilities(store.pixels[test]), [rows[i] for i in test], found)["Spot"] > 0.95


def test_labels_that_all_images_have_are_no_classes(trained):
    assert trained.findings == ["Left", "None", "Third"]
    assert trained.views == []  # all are PA
    assert view_accuracy(np.ones((2, 3)), [{"view": "PA"}] * 2, trained) is None


def test_views_are_read_and_add_up_to_one(toy_store):
    store = with_rows(toy_store, lambda i: ("", ("PA", "AP")[i % 2]), channels=3)
    found = reader.train(store, Options(steps=60, batch=16))
    test = store.indices("test")
    probabilities = found.probabilities(store.pixels[test])
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-9)
    assert (found.findings, found.views) == ([], ["AP", "PA"])
    assert view_accuracy(probabilities, [store.table[i] for i in test], found) > 0.95


def test_the_same_seed_gives_the_same_bytes(labelled, tmp_path):
    state = torch.get_rng_state()
    for name in ("first", "second"):
        reader.save(tmp_path / name, reader.train(labelled, Options(steps=6, batch=8)))
    assert sha256(tmp_path / "first") == sha256(tmp_path / "second")
    assert torch.equal(state, torch.get_rng_state())


def test_a_saved_reader_reads_alike(trained, labelled, tmp_path):
    reader.save(tmp_path / "reader.safetensors", trained)
    loaded = reader.load(tmp_path / "reader.safetensors")
    assert loaded.about == trained.about
    pixels = labelled.pixels[:70]
    np.testing.assert_array_equal(loaded.probabilities(pixels), trained.probabilities(pixels))
    np.testing.assert_allclose(loaded.probabilities(pixels[3:4]), trained.probabilities(pixels)[3:4], atol=1e-6)


def test_the_only_view_that_is_known_is_no_class(toy_store):
    store = with_rows(toy_store, lambda i: (("None", "Left")[i % 2], ("PA", "")[i % 4 > 1]))
    assert reader.train(store, Options(steps=2)).views == []


ABOUT = {"channels": 1, "findings": ["a", "b"], "views": [], "no_finding": "", "val_aurocs": {}, "reason": None}


@pytest.mark.parametrize(
    "metadata",
    [None, {"reader": "{}"}, {"reader": '{"findings": [], "views": []}'}, {"reader": json.dumps(ABOUT)}],
)
def test_a_file_that_is_no_reader_of_this_version_is_named(tmp_path, metadata):
    save_file({"weight": torch.zeros(1)}, tmp_path / "old.safetensors", metadata=metadata)
    with pytest.raises(ScansynthError, match=r"old\.safetensors: not a reader"):
        reader.load(tmp_path / "old.safetensors")


def test_without_labels_there_is_nothing_to_read_and_a_reason(toy_store, tmp_path):
    store = with_rows(toy_store, lambda i: ("", ""))
    reader.save(tmp_path / "reader.safetensors", reader.train(store, Options(steps=3)))
    found = reader.load(tmp_path / "reader.safetensors")
    assert "the same labels" in found.about.reason
    assert found.probabilities(store.pixels[:3]).shape == (3, 0)


def test_an_empty_training_split_is_an_error(toy_store):
    table = [row | {"split": "test"} for row in toy_store.table]
    with pytest.raises(ScansynthError, match="training split is empty"):
        reader.train(Store(toy_store.pixels, table, {}), Options())
