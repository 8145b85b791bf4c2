import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from scansynth.acquire import inventory
from scansynth.config import Settings
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare import patients
from scansynth.prepare.items import Listing
from scansynth.prepare.layouts.image_folder import read_listing
from scansynth.prepare.readers import raster

DATASET = {"title": "t", "layout": "image_folder", "split_by": "image", "licence": "none", "citation": "none"}
DATASET |= {"address": "none"}
KEY = b"key"


def listing(root: Path, *files: str, labels: str = "", **dataset) -> Listing:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file)
    if labels:
        (root / "labels.csv").write_text(labels)
    paths = sorted((path for path in root.rglob("*") if path.is_file()), key=lambda path: path.as_posix())
    return read_listing(root, inventory.take(root, paths), Dataset(**DATASET | dataset), KEY)


def findings(found: Listing) -> dict[str, tuple[str, ...]]:
    return {item.files[0].path: item.label.findings for item in found.items}


def test_a_folder_a_class(tmp_path):
    found = listing(tmp_path, "benign/1.png", "malignant/1.jpg", "malignant/deep/2.tif")
    assert findings(found) == {
        "benign/1.png": ("benign",),
        "malignant/1.jpg": ("malignant",),
        "malignant/deep/2.tif": ("malignant",),
    }
    assert [item.name for item in found.items] == ["benign_1", "malignant_1", "malignant_deep_2"]
    assert len({item.label.patient for item in found.items}) == 3
    assert (found.tables, found.rejected, found.identifiers) == ((), {}, frozenset())


def test_folders_of_splits_are_no_classes(tmp_path):
    found = listing(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/3.png", "test/b/4.png")
    assert list(findings(found).values()) == [("b",), ("a",), ("b",), ("a",)]
    assert [item.label.split for item in found.items] == ["test", "train", "train", "val"]
    bare = listing(tmp_path / "bare", "train/1.png", "test/2.png")
    assert [(item.label.split, item.label.findings) for item in bare.items] == [("test", ()), ("train", ())]


@pytest.mark.parametrize(
    "files, dataset, expected",
    [
        (["a/1.png", "2.png"], {}, ()),  # not all lie in folders
        (["images/1.png", "images/2.png"], {}, ()),  # one folder says nothing
        (["tumour/1.png", "tumour/2.png"], {"findings": ["tumour", "normal"]}, ("tumour",)),
        (["Jane/1.png", "John/2.png"], {"private": True}, ()),  # who, not what
        (["Jane/1.png", "John/2.png"], {"private": True, "findings": ["tumour"]}, ()),
        (["tumour/1.png", "tumour/2.png"], {"private": True, "findings": ["tumour"]}, ("tumour",)),
    ],
)
def test_when_a_folder_is_a_class(tmp_path, files, dataset, expected):
    assert set(findings(listing(tmp_path, *files, **dataset)).values()) == {expected}


def test_a_folder_that_is_not_declared_is_an_error(tmp_path):
    with pytest.raises(ScansynthError, match="'Tumor' is not among"):
        listing(tmp_path, "Tumor/1.png", "normal/2.png", findings=["tumour", "normal"])


def test_labels_of_files_and_of_folders(tmp_path):
    labels = (
        "file,patient,findings,sex,age,split\na,7,nodule,F,58,train\na/2.png,007,mass|nodule,M,,train\ngone,1,,,,\n"
    )
    found = listing(tmp_path, "a/1.png", "a/2.png", "b/1.png", labels=labels, split_by="patient")
    first, second = (item.label for item in found.items)
    assert (first.findings, first.sex, first.age, first.split) == (("nodule",), "F", "58", "train")
    assert (second.findings, second.sex) == (("mass", "nodule"), "M")
    assert first.patient == second.patient == patients.pseudonym("7", KEY)
    assert found.rejected == {"b/1.png": "no row in labels.csv"}
    assert (found.rows_without_file, found.tables) == (1, ("labels.csv",))


def test_patients_from_the_table_and_classes_from_the_folders(tmp_path):
    found = listing(tmp_path, "a/1.png", "b/2.png", labels="file,patient\na,1\nb,2\n", split_by="patient")
    assert findings(found) == {"a/1.png": ("a",), "b/2.png": ("b",)}


def test_unknown_patients_are_an_error_unless_split_by_image(tmp_path):
    with pytest.raises(ScansynthError, match=r"Write labels\.csv"):
        listing(tmp_path, "1.png", split_by="patient")
    with pytest.raises(ScansynthError, match=r"Write labels\.csv"):
        listing(tmp_path, labels="file,findings\n1.png,a\n", split_by="patient")
    with pytest.raises(ScansynthError, match="none of its 1 rows has a file"):
        listing(tmp_path, labels="file\n2.png\n")


def test_names_are_unique(tmp_path):
    found = listing(tmp_path / "two", "a/1.png", "b/1.png")
    assert [item.name for item in found.items] == ["a_1", "b_1"]
    with pytest.raises(ScansynthError, match=r"a/1\.jpg and a/1\.png would both be called a_1"):
        listing(tmp_path / "one", "a/1.png", "a/1.jpg")


def test_private_names_say_nothing(tmp_path):
    (tmp_path / "Doe Jane").mkdir()
    for name in ("scan 1.png", "copy.png"):
        (tmp_path / "Doe Jane" / name).write_text("same")
    found = listing(tmp_path, "x/b.png", private=True, findings=["scan 1"])
    hashes = [item.files[0].sha256[:12] for item in found.items]
    assert [item.name for item in found.items] == [hashes[0], f"{hashes[0]}_2", hashes[2]]
    assert found.rejected == {}
    assert found.identifiers == {"Doe Jane", "copy"}


def settings(dataset: dict, size: int) -> Settings:
    return Settings(dataset=DATASET | dataset, images={"size": size, "channels": "rgb"}, patches={})


def images(root: Path, found: Listing, size: int):
    return [image for item in found.items for image in raster.read(root, item, settings({}, size))]


def test_real_patches_in_folders_of_classes(shared_data):
    root = shared_data / "histo" / "lc25000-lung-224"
    found = read_listing(root, inventory.take(root, sorted(root.glob("*/*1.jpeg"))), Dataset(**DATASET), KEY)
    names = [finding for (finding,) in findings(found).values()]
    assert set(names) == {"lung_aca", "lung_n", "lung_scc"}
    assert {image.pixels.shape for image in images(root, found, 128)[:5]} == {(3, 128, 128)}


def test_real_patches_keep_their_bytes(shared_data, tmp_path):
    source = shared_data / "histo" / "camelyon16-96"
    rows = [line.split(",") for line in (source / "labels.csv").read_text().splitlines()[1:]][::8]
    for row in rows:
        shutil.copy(source / "images" / f"{row[0]}.png", tmp_path)
    table = "".join(f"{row[0]}.png,{row[2]},{('Normal', 'Tumour')[int(row[1])]}\n" for row in rows)
    found = listing(tmp_path, labels=f"file,patient,findings\n{table}", split_by="slide", findings=["Normal", "Tumour"])
    assert len(found.items) == len(rows)
    assert len({item.label.patient for item in found.items}) == len({row[2] for row in rows})
    for item, image in zip(found.items, images(tmp_path, found, 96), strict=True):
        original = np.asarray(Pillow.open(tmp_path / item.files[0].path).convert("RGB"))
        np.testing.assert_array_equal(image.pixels, np.moveaxis(original, -1, 0))
