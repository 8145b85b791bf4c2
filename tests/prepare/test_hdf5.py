import csv
import gzip
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from scansynth.acquire import inventory
from scansynth.config import Settings
from scansynth.prepare.decoded import Image, RejectedError, Rejection
from scansynth.prepare.items import File, Item, Label
from scansynth.prepare.readers import hdf5

COUNT = 40
DATASET = {"title": "t", "layout": "patches_hdf5", "split_by": "slide", "findings": ["Normal", "Tumour"]}
DATASET |= {"no_finding": "Normal", "licence": "none", "citation": "none", "address": "none"}
SETTINGS = Settings(dataset=DATASET, images={"size": 96, "channels": "rgb"}, patches={})


def patches(count: int = COUNT, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 96, 96, 3), dtype=np.uint8)


def write(root: Path, x: np.ndarray, split: str = "train", packed: bool = False, **storage) -> list[Path]:
    """A split as PatchCamelyon has it: every third patch with tumour, four patches a slide."""
    root.mkdir(exist_ok=True, parents=True)
    paths = [root / f"camelyonpatch_level_2_split_{split}_{kind}" for kind in ("x.h5", "y.h5", "meta.csv")]
    with h5py.File(paths[0], "w") as file:
        file.create_dataset("x", data=x, **storage)
    with h5py.File(paths[1], "w") as file:
        file.create_dataset("y", data=(np.arange(len(x)) % 3 == 0).astype(np.uint8).reshape(-1, 1, 1, 1))
    with paths[2].open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["", "coord_y", "coord_x", "tumor_patch", "center_tumor_patch", "wsi"])
        table.writerows([i, 5, 6, "False", "False", f"camelyon16_{split}_normal_{i // 4:03d}"] for i in range(len(x)))
    if packed:
        for i in (0, 1):
            unpacked, paths[i] = paths[i], paths[i].with_name(f"{paths[i].name}.gz")
            with unpacked.open("rb") as source, gzip.open(paths[i], "wb", compresslevel=1) as target:
                shutil.copyfileobj(source, target)
            unpacked.unlink()
    return paths


def item(root: Path, paths: list[Path], part: tuple[int, int]) -> Item:
    entries = inventory.take(root, paths)
    roles = (hdf5.PATCHES, hdf5.LABELS, hdf5.SLIDES)
    files = tuple(File.of(entry, role) for entry, role in zip(entries, roles, strict=False))
    return Item("train_000000", "hdf5", files, Label(patient="", split="train"), part)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("storage", [{}, {"chunks": (7, 96, 96, 3)}, {"chunks": True, "compression": "gzip"}])
def test_patches_are_stored_byte_for_byte(tmp_path, packed, storage):
    x = patches()
    whole = item(tmp_path, write(tmp_path, x, packed=packed, **storage), (0, COUNT))
    for part in ((0, 9), (9, 31), (31, COUNT), (3, 5)):  # on, to the end, and back
        images = list(hdf5.read(tmp_path, replace(whole, part=part), SETTINGS))
        assert [image.suffix for image in images] == [f"_{i:06d}" for i in range(*part)]
        for i, image in zip(range(*part), images, strict=True):
            np.testing.assert_array_equal(image.pixels, x[i].transpose(2, 0, 1))
            assert image.findings == (("Tumour",) if i % 3 == 0 else ("Normal",))
            assert not image.upscaled


def test_a_slide_has_one_pseudonym_and_others_have_others(tmp_path):
    images = list(hdf5.read(tmp_path, item(tmp_path, write(tmp_path, patches()), (2, 14)), SETTINGS))
    found = [image.patient for image in images]
    assert [found.index(patient) for patient in found] == [0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 10, 10]
    assert all(patient.startswith("p_") and "normal" not in patient for patient in found)


def test_without_labels_and_slides(tmp_path):
    only = item(tmp_path, write(tmp_path, patches())[:1], (0, COUNT))
    images = list(hdf5.read(tmp_path, only, SETTINGS))
    assert {image.findings for image in images} == {()}
    assert len({image.patient for image in images}) == COUNT


def test_a_blank_patch_is_rejected_alone(tmp_path):
    x = patches(3)
    x[1] = 255
    found = list(hdf5.read(tmp_path, item(tmp_path, write(tmp_path, x), (0, 3)), SETTINGS))
    assert [type(part) for part in found] == [Image, Rejection, Image]
    assert found[1].suffix == "_000001" and "blank" in found[1].reason


def test_damaged_and_changed_files_are_rejected(tmp_path):
    paths = write(tmp_path, patches(), packed=True)
    content = paths[0].read_bytes()
    paths[0].write_bytes(content[: len(content) // 2])
    with pytest.raises(RejectedError, match="damaged"):
        list(hdf5.read(tmp_path, item(tmp_path, paths, (COUNT - 2, COUNT)), SETTINGS))
    before = item(tmp_path, paths, (0, 2))
    paths[0].write_bytes(b"no HDF5 at all")
    with pytest.raises(RejectedError, match="size"):
        list(hdf5.read(tmp_path, before, SETTINGS))
    with pytest.raises(RejectedError, match="damaged"):
        list(hdf5.read(tmp_path, item(tmp_path, paths, (0, 2)), SETTINGS))
    paths[0].unlink()
    with pytest.raises(RejectedError, match="gone"):
        list(hdf5.read(tmp_path, before, SETTINGS))


def test_damage_in_the_middle_costs_what_is_there(tmp_path):
    x = patches()
    path, *others = write(tmp_path, x, chunks=(10, 96, 96, 3), compression="gzip")
    with h5py.File(path) as file:
        info = file["x"].id.get_chunk_info(2)
    content = bytearray(path.read_bytes())
    content[info.byte_offset : info.byte_offset + 1000] = bytes(1000)
    path.write_bytes(content)
    whole = item(tmp_path, [path, *others], (0, COUNT))
    with pytest.raises(RejectedError, match="damaged"):
        list(hdf5.read(tmp_path, replace(whole, part=(20, 30)), SETTINGS))
    for part in ((0, 20), (30, 40)):
        assert len(list(hdf5.read(tmp_path, replace(whole, part=part), SETTINGS))) == part[1] - part[0]


@pytest.mark.parametrize("packed", [False, True])
def test_memory_does_not_grow_with_the_file(tmp_path, packed):
    psutil = pytest.importorskip("psutil")
    count = 4000  # 111 MB unpacked
    x = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 96, 96, 3))
    paths = write(tmp_path, x, packed=packed)
    whole = item(tmp_path, paths, (0, count))

    def used(start: int) -> int:
        list(hdf5.read(tmp_path, replace(whole, part=(start, start + 64)), SETTINGS))
        return psutil.Process().memory_info().rss

    first = used(0)
    assert used(count - 64) - first < 25e6
