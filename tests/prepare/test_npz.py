import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scansynth.acquire import inventory
from scansynth.config import Settings
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare.decoded import RejectedError
from scansynth.prepare.items import File, Item, Label
from scansynth.prepare.readers import npz

DATASET = {"title": "t", "layout": "medmnist", "split_by": "image", "findings": ["none", "a", "b", "c"]}
DATASET |= {"no_finding": "none", "licence": "none", "citation": "none", "address": "none"}


def settings(channels: str = "gray", **dataset) -> Settings:
    return Settings(dataset=DATASET | dataset, images={"size": 64, "channels": channels})


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def item(path: Path, split: str, part: tuple[int, int]) -> Item:
    file = File.of(inventory.take(path.parent, [path])[0], split)
    return Item(f"{split}_000000", "npz", (file,), Label(patient="", split=split), part)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_ranges_forwards_and_backwards(tmp_path, save):
    path = tmp_path / "chestmnist_64.npz"
    images = random(50, 64, 64)
    labels = (np.arange(50)[:, None] >> np.arange(3) & 1).astype(np.uint8)
    save(path, val_images=images[:3], val_labels=labels[:3], train_images=images, train_labels=labels)
    whole = item(path, "train", (0, 50))
    for part in ((0, 20), (20, 21), (33, 50), (5, 7)):
        found = list(npz.read(tmp_path, replace(whole, part=part), settings()))
        assert [image.suffix for image in found] == [f"_{i:06d}" for i in range(*part)]
        for i, image in zip(range(*part), found, strict=True):
            np.testing.assert_array_equal(image.pixels, images[i][None])
            present = tuple(name for k, name in enumerate("abc") if i >> k & 1)
            assert image.findings == (present or ("none",))


def test_colour_classes_and_patients(tmp_path):
    path = tmp_path / "pathmnist_64.npz"
    images, labels = random(6, 64, 64, 3), np.array([[2], [0], [1], [3], [0], [0]], np.uint8)
    np.savez(path, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    patients = set()
    for split in ("train", "test"):
        found = list(npz.read(tmp_path, item(path, split, (0, 6)), settings("rgb")))
        np.testing.assert_array_equal([image.pixels for image in found], images.transpose(0, 3, 1, 2))
        names = ["b", "none", "a", "c", "none", "none"]
        assert [image.findings for image in found] == [(name,) for name in names]
        patients |= {image.patient for image in found}
    assert len(patients) == 12


def test_findings_have_to_be_as_many_as_declared():
    dataset = Dataset(**DATASET)
    assert npz.findings(np.array([[0], [3]]), dataset) == [("none",), ("c",)]
    with pytest.raises(ScansynthError, match=r"for 5 findings, and .* declares 4"):
        npz.findings(np.array([[4]]), dataset)
    with pytest.raises(ScansynthError, match=r"for 4 findings, and .* declares 3"):
        npz.findings(np.zeros((1, 4)), dataset)
    unnamed = Dataset(**DATASET | {"findings": ["a", "b"], "no_finding": ""})
    assert npz.findings(np.array([[0, 0], [0, 1]]), unnamed) == [(), ("b",)]


@pytest.mark.parametrize(
    "images, reason",
    [
        (np.zeros((2, 4, 4), np.float32), "8 bits"),
        (np.zeros((2, 4, 4, 4), np.uint8), "8 bits"),
        (np.asfortranarray(random(2, 4, 4)), "8 bits"),
        (np.array([{"pickled": 1}, None]), "8 bits"),
    ],
)
def test_other_arrays_are_rejected(tmp_path, images, reason):
    path = tmp_path / "x.npz"
    np.savez(path, train_images=images, train_labels=np.zeros((2, 3), np.uint8))
    with pytest.raises(RejectedError, match=reason):
        npz.stream(tmp_path, item(path, "train", (0, 2)).files[0])


def test_pickles_are_never_loaded(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, train_images=random(1, 4, 4), train_labels=np.array([{"pickled": 1}]))
    with pytest.raises(RejectedError, match="damaged"):
        npz.labels(tmp_path, item(path, "train", (0, 1)).files[0])


def test_damaged_files_are_rejected(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, train_images=random(40, 64, 64), train_labels=np.zeros((40, 3), np.uint8))
    content = bytearray(path.read_bytes())
    content[60_000:61_000] = bytes(1000)
    path.write_bytes(content)
    whole = item(path, "train", (0, 40))
    assert len(list(npz.read(tmp_path, replace(whole, part=(0, 5)), settings()))) == 5
    with pytest.raises(RejectedError, match="damaged"):
        list(npz.read(tmp_path, replace(whole, part=(30, 40)), settings()))
    assert len(list(npz.read(tmp_path, replace(whole, part=(0, 5)), settings()))) == 5
    path.write_bytes(bytes(len(content)))
    with pytest.raises(RejectedError, match="damaged"):
        list(npz.read(tmp_path, item(path, "train", (0, 40)), settings()))
    path.write_bytes(b"short")
    with pytest.raises(RejectedError, match="size"):
        list(npz.read(tmp_path, whole, settings()))


def test_an_array_that_ends_early_is_rejected(tmp_path):
    path, header = tmp_path / "x.npz", io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": (9, 64, 64)}
    np.lib.format.write_array_header_1_0(header, fields)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_images.npy", header.getvalue() + bytes(100))
    with pytest.raises(RejectedError, match="damaged"):
        list(npz.read(tmp_path, item(path, "train", (0, 9)), settings()))
