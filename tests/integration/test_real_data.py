"""Every folder of real images goes in through the layout that it has, by the real stages; a table says what it gave."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from scansynth.acquire.__main__ import main as acquire
from scansynth.config import load_dataset
from scansynth.files import read_json
from scansynth.prepare.__main__ import main as prepare
from scansynth.prepare.listing import main as listing
from scansynth.prepare.shard import main as shard
from scansynth.store import open_store

REPO = Path(__file__).resolve().parents[2]
RGB = {"channels": "rgb", "size": 96}
MIDDLE = {"foreground": 0.5, "every_mm": 6}


def labels(root: Path, rows: list[dict[str, str]]) -> None:
    """Write the user's table."""
    with (root / "labels.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, ("file", "patient", "findings"))
        writer.writeheader()
        writer.writerows(rows)


def linked(root: Path, folder: Path) -> Path:
    """A folder that a table can be put into, with a link to the real one."""
    root.mkdir()
    (root / folder.name).symlink_to(folder)
    return root


def nih_small(root: Path, shared: Path) -> None:
    root.mkdir()
    (root / "images").symlink_to(shared / "nih-cxr/images_64")
    (root / "Data_Entry_2017_v2020.csv").symlink_to(shared / "nih-cxr/Data_Entry_2017_v2020.csv")


def brats(root: Path, shared: Path) -> None:
    case = root / "BraTS2021_00000"
    case.mkdir(parents=True)
    for name in ("t1", "t1ce", "t2", "flair", "seg"):
        found = shared / f"nifti-brain/tcga-lgg/TCGA-DU-7294/brats-space/TCGA-DU-7294_{name}.nii.gz"
        (case / f"BraTS2021_00000_{name}.nii.gz").symlink_to(found)


def one_patient(folder: str):
    def make(root: Path, shared: Path) -> None:
        found = shared / folder
        labels(linked(root, found), [{"file": found.name, "patient": "1"}])

    return make


def camelyon_patches(root: Path, shared: Path) -> None:
    found = shared / "histo/camelyon16-256"
    linked(root, found)
    rows = list(csv.DictReader((found / "patches.csv").open()))
    labels(
        root,
        [
            {"file": f"{found.name}/{row['class']}/{row['file']}", "patient": row["slide"], "findings": row["class"]}
            for row in rows
        ],
    )


def camelyon_crops(root: Path, shared: Path) -> None:
    found = shared / "histo/camelyon16-96"
    linked(root, found / "images")
    rows = list(csv.DictReader((found / "labels.csv").open()))
    labels(root, [{"file": f"images/{row['id']}.png", "patient": row["slide"]} for row in rows])


def lung(root: Path, shared: Path) -> None:
    found = shared / "histo/lc25000-lung-224"
    linked(root, found)
    rows = list(csv.DictReader((found / "labels.csv").open()))
    labels(
        root,
        [
            {
                "file": f"{found.name}/{row['class']}/{row['file']}",
                "patient": row["origin_group"],
                "findings": row["class"],
            }
            for row in rows
        ],
    )


def itself(folder: str):
    def make(root: Path, shared: Path) -> None:
        root.symlink_to(shared / folder)

    return make


# What a user would say of them in the data set's file: test files do not say who is on them, folders are findings.
ABOUT = {
    "dicom": {"split_by": "study"},
    "camelyon16-256": {"findings": ["tumor", "normal"]},
    "lc25000-lung-224": {"findings": ["lung_aca", "lung_n", "lung_scc"]},
}
FOLDERS = {
    "nih-cxr": ("nih_cxr14", itself("nih-cxr"), {}, 800, 0),
    "nih-cxr images_64": ("nih_cxr14", nih_small, {"size": 64}, 1000, 0),
    "dicom": ("dicom_folder", itself("dicom"), {"channels": "rgb"}, None, 2),
    "ixi-t1-2mm": ("ixi", itself("nifti-brain/ixi-t1-2mm"), {"channels": ["t1"]}, None, 0),
    "brats-space": ("brats", brats, {"channels": ["t1", "t2", "flair"]}, None, 0),
    "rorden": ("nifti_folder", one_patient("nifti-brain/rorden"), {}, None, 0),
    "native": ("nifti_folder", one_patient("nifti-brain/tcga-lgg/TCGA-DU-7294/native"), {}, None, 0),
    "camelyon16-256": ("image_folder", camelyon_patches, RGB, 57, 0),
    "camelyon16-96": ("image_folder", camelyon_crops, RGB, 228, 0),
    "lc25000-lung-224": ("image_folder", lung, RGB, 750, 0),
    "wsi": ("slides", itself("histo/wsi"), RGB, None, 0),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_of_real_images_goes_in(name, shared_data, tmp_path, monkeypatch, capsys):
    registered, make, images, count, quarantined = FOLDERS[name]
    make(tmp_path / "supplied", shared_data)
    monkeypatch.chdir(tmp_path)
    dataset = load_dataset(REPO / "config" / "datasets" / f"{registered}.yaml").model_dump(mode="json") | ABOUT.get(
        name, {}
    )
    raw = {"source": "raw/source.json", "inventory": "raw/inventory.csv", "listing": "raw/listing.json"}

    def given(*names: str) -> list[str]:
        return [word for key in names for word in (f"--{key}", raw[key])]

    data = {"dataset": registered, "root": str(tmp_path / "supplied")}
    acquire(["--settings", json.dumps({"dataset": dataset, "data": data}), *given("source")])
    listing(["--settings", json.dumps({"dataset": dataset}), *given("source", "inventory", "listing")])
    sections = {"dataset": dataset, "images": images | {"max_quarantined": 1}, "slices": MIDDLE, "patches": {}}
    settings = ["--settings", json.dumps(sections)]
    made = ["--pixels", "shard.npy", "--masks", "shard.masks.npy", "--table", "shard.json"]
    shard([*settings, "--shard", "1-of-1", *given("source", "listing"), *made])
    store = ["--pixels", "x.npy", "--masks", "x_masks.npy", "--table", "x.csv", "--manifest", "x.json"]
    prepare([*settings, *given("source", "inventory", "listing"), "--shards", "shard.json", *store])

    opened, about = open_store(Path("x.npy")), read_json(Path("x.json"))
    with capsys.disabled():
        reasons = {}
        for entry in about["quarantined"]:
            reasons[entry["reason"]] = reasons.get(entry["reason"], 0) + 1
        print(f"\n{name}: {about['images']} images, {about['patients']} patients, masks {about['masks']}, "
              f"upscaled {about['upscaled']}, duplicates {len(about['duplicates'])}, quarantined {reasons}, "
              f"flags {about['flags']}, mm {about['pixel_mm']}")  # fmt: skip
    assert len(opened.pixels) == about["images"] > 0
    assert count in (None, about["images"]) and quarantined in (None, about["quarantined_count"])
    assert all(np.ptp(image) > 20 for image in opened.pixels)
    assert all(row["patient"].startswith("p_") for row in opened.table)
