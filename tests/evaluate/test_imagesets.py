"""Which images are compared with which."""

import numpy as np
import pytest

from scansynth.errors import ScansynthError
from scansynth.evaluate.imagesets import open_sets, real_set, split_set, synthetic_set
from scansynth.store import Store


def saved(folder, name, pixels, rows=None):
    np.save(folder / f"{name}.npy", pixels)
    lines = ["Bright,PA\n"] * (len(pixels) if rows is None else rows)
    (folder / f"{name}.csv").write_text("findings,view\n" + "".join(lines), encoding="utf-8")
    return folder / f"{name}.npy", folder / f"{name}.csv"


def test_the_reference_is_the_test_split_and_the_floor_is_of_training(toy_store, tmp_path):
    names = [("samples", "conditions"), ("pca", "pca_conditions"), ("untrained", "untrained_conditions")]
    inputs = {}
    for pixels, conditions in names:
        inputs[pixels], inputs[conditions] = saved(tmp_path, pixels, np.zeros((40, 1, 64, 64), np.uint8))
    sets = open_sets(toy_store, inputs)
    assert list(sets) == ["reference", "samples", "floor", "pca_gaussian", "untrained_network"]
    np.testing.assert_array_equal(sets["reference"].pixels, toy_store.pixels[toy_store.indices("test")])
    train = {image.tobytes() for image in toy_store.pixels[toy_store.indices("train")]}
    assert len({image.tobytes() for image in sets["floor"].pixels} & train) == len(sets["samples"]) == 40


def test_images_of_a_patient_are_one_group(toy_store):
    table = [row | {"patient": row["patient"][0]} for row in toy_store.table]
    found = real_set(Store(toy_store.pixels, table, {}), np.array([10, 11, 2, 19]))
    np.testing.assert_array_equal(found.groups, [0, 0, 1, 0])
    assert [row["id"] for row in found.rows] == ["10", "11", "2", "19"]


def test_batches_are_the_images_in_order(toy_store):
    found = split_set(toy_store, "test")
    batches = list(found.batches(10))
    assert [len(batch) for batch in batches] == [10, 10, 4]
    np.testing.assert_array_equal(np.concatenate(batches), found.pixels)


def test_too_few_images_are_an_error(toy_store):
    with pytest.raises(ScansynthError, match="test split has 1 image"):
        split_set(toy_store, "test", 1)


@pytest.mark.parametrize("shape", [(40, 1, 32, 32), (40, 3, 64, 64), (1, 1, 64, 64)])
def test_synthetic_images_of_another_kind_are_refused(shape, toy_store, tmp_path):
    with pytest.raises(ScansynthError, match=r"samples\.npy"):
        synthetic_set(*saved(tmp_path, "samples", np.zeros(shape, np.uint8)), toy_store)


def test_a_table_of_other_images_is_refused(toy_store, tmp_path):
    files = saved(tmp_path, "samples", np.zeros((4, 1, 64, 64), np.uint8), rows=3)
    with pytest.raises(ScansynthError, match=r"4 images, but 3 rows in .*samples\.csv"):
        synthetic_set(*files, toy_store)
