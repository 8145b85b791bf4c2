from pathlib import Path

import h5py
import numpy as np
import pytest

from scansynth.acquire import inventory
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare.items import Listing
from scansynth.prepare.layouts.patches_hdf5 import read_listing

DATASET = {"title": "t", "layout": "patches_hdf5", "split_by": "slide", "findings": ["Normal", "Tumour"]}
DATASET |= {"no_finding": "Normal", "licence": "none", "citation": "none", "address": "none"}


def write(root: Path, split: str, count: int, prefix: str = "pcam", label: int = 1, labels: int | None = None) -> None:
    with h5py.File(root / f"{prefix}_{split}_x.h5", "w") as file:
        file["x"] = np.zeros((count, 4, 4, 3), np.uint8)
    with h5py.File(root / f"{prefix}_{split}_y.h5", "w") as file:
        file["y"] = np.full((labels or count, 1, 1, 1), label, np.uint8)
    rows = "".join(f"{i},slide_{i // 5}\n" for i in range(count))
    (root / f"{prefix}_{split}_meta.csv").write_text(",wsi\n" + rows)


def listing(root: Path, **dataset) -> Listing:
    entries = inventory.take(root, sorted(root.iterdir()))
    return read_listing(root, entries, Dataset(**DATASET | dataset), b"key")


def test_runs_of_all_splits_in_order(tmp_path):
    for split, count in (("train", 600), ("valid", 256), ("test", 3)):
        write(tmp_path, split, count)
    found = listing(tmp_path)
    assert [(item.name, item.label.split, item.part) for item in found.items] == [
        ("train_000000", "train", (0, 256)),
        ("train_000256", "train", (256, 512)),
        ("train_000512", "train", (512, 600)),
        ("val_000000", "val", (0, 256)),
        ("test_000000", "test", (0, 3)),
    ]
    assert [(file.path, file.role) for file in found.items[-1].files] == [
        ("pcam_test_x.h5", "patches"),
        ("pcam_test_y.h5", "labels"),
        ("pcam_test_meta.csv", "slides"),
    ]
    assert found.rejected == {} and found.notes == ()
    assert len(found.tables) == 6 and not any("_x" in path for path in found.tables)


def test_without_slides_the_listing_says_so(tmp_path):
    write(tmp_path, "train", 3)
    write(tmp_path, "test", 3)
    (tmp_path / "pcam_test_meta.csv").unlink()
    assert [note[:5] for note in listing(tmp_path).notes] == ["test:"]


def test_labels_without_patches_are_left_out(tmp_path):
    write(tmp_path, "train", 3)
    write(tmp_path, "test", 3)
    (tmp_path / "pcam_test_x.h5").unlink()
    assert sorted(listing(tmp_path).rejected) == ["pcam_test_meta.csv", "pcam_test_y.h5"]
    (tmp_path / "pcam_train_x.h5").unlink()
    with pytest.raises(ScansynthError, match="no file of patches"):
        listing(tmp_path)


def test_labels_for_other_patches(tmp_path):
    write(tmp_path, "train", 7, labels=6)
    with pytest.raises(ScansynthError, match=r"_y\.h5: it is for 6 patches, and .*_x\.h5 has 7"):
        listing(tmp_path)


def test_slides_of_other_patches(tmp_path):
    write(tmp_path, "train", 7)
    (tmp_path / "pcam_train_meta.csv").write_text(",wsi\n0,a\n")
    with pytest.raises(ScansynthError, match=r"_meta\.csv: it is for 1 patches"):
        listing(tmp_path)


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("pcam_train_x.h5", b"text", "damaged, or not an HDF5 file with the key x"),
        ("pcam_train_meta.csv", b"index,slide\n0,a\n", "column wsi"),
        ("pcam_train_meta.csv", b",wsi\n0,\n", "empty"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, reason):
    write(tmp_path, "train", 1)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ScansynthError, match=f"{name}: .*{reason}.*Acquire it again"):
        listing(tmp_path)


def test_other_labels_are_refused(tmp_path):
    write(tmp_path, "train", 3, label=2)
    with pytest.raises(ScansynthError, match="labels other than 0 and 1"):
        listing(tmp_path)


def test_other_arrays_are_refused(tmp_path):
    write(tmp_path, "train", 3)
    with h5py.File(tmp_path / "pcam_train_x.h5", "w") as file:
        file["x"] = np.zeros((3, 4, 4, 3), np.float32)
    with pytest.raises(ScansynthError, match="8 bits"):
        listing(tmp_path)


def test_two_files_of_a_kind(tmp_path):
    write(tmp_path, "train", 3)
    write(tmp_path, "train", 3, prefix="other")
    with pytest.raises(ScansynthError, match=r"are both labels: keep one|are both slides: keep one"):
        listing(tmp_path)


@pytest.mark.parametrize(
    "findings, no_finding", [([], ""), (["Normal"], "Normal"), (["A", "B"], ""), (["A", "B"], "C")]
)
def test_two_findings_have_to_be_declared(tmp_path, findings, no_finding):
    write(tmp_path, "train", 3)
    with pytest.raises(ScansynthError, match="Declare two findings"):
        listing(tmp_path, findings=findings, no_finding=no_finding)
