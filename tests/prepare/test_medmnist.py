from pathlib import Path

import numpy as np
import pytest

from scansynth.acquire import inventory
from scansynth.config import load_dataset
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare.items import Listing
from scansynth.prepare.layouts.medmnist import read_listing

REGISTRY = Path(__file__).parents[2] / "config" / "datasets"


def write(root: Path, name: str, columns: int, most: int = 1, counts=(300, 4, 5), **changed) -> None:
    arrays = {}
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        arrays[f"{split}_images"] = np.zeros((count, 4, 4), np.uint8)
        arrays[f"{split}_labels"] = np.full((count, columns), most, np.uint8)
    np.savez_compressed(root / name, **arrays | changed)


def listing(root: Path, dataset: Dataset) -> Listing:
    return read_listing(root, inventory.take(root, sorted(root.iterdir())), dataset, b"key")


@pytest.mark.parametrize("name, columns, most", [("chestmnist", 14, 1), ("pathmnist", 1, 8), ("pneumoniamnist", 1, 1)])
def test_runs_of_all_splits_of_the_registered_sets(tmp_path, name, columns, most):
    write(tmp_path, f"{name}_64.npz", columns, most)
    found = listing(tmp_path, load_dataset(REGISTRY / f"{name}.yaml"))
    assert [(item.name, item.label.split, item.part, item.files[0].role) for item in found.items] == [
        ("train_000000", "train", (0, 256), "train"),
        ("train_000256", "train", (256, 300), "train"),
        ("val_000000", "val", (0, 4), "val"),
        ("test_000000", "test", (0, 5), "test"),
    ]
    assert "cannot be shown" in found.notes[0]
    assert found.tables == (f"{name}_64.npz",)


def test_what_is_refused(tmp_path):
    dataset = load_dataset(REGISTRY / "pneumoniamnist.yaml")
    write(tmp_path, "pneumoniamnist.npz", 1, most=2)
    with pytest.raises(ScansynthError, match=r"for 3 findings, and .* declares 2"):
        listing(tmp_path, dataset)
    write(tmp_path, "pneumoniamnist.npz", 1, val_labels=np.zeros((3, 1), np.uint8))
    with pytest.raises(ScansynthError, match="val has 4 images and 3 labels"):
        listing(tmp_path, dataset)
    (tmp_path / "pneumoniamnist.npz").write_bytes(b"text")
    with pytest.raises(ScansynthError, match=r"pneumoniamnist\.npz: damaged.*Acquire it again"):
        listing(tmp_path, dataset)
    write(tmp_path, "pneumoniamnist_64.npz", 1)
    with pytest.raises(ScansynthError, match=r"2 files \(pneumoniamnist\.npz, pneumoniamnist_64\.npz\): keep the one"):
        listing(tmp_path, dataset)
