from pathlib import Path

import numpy as np
import pytest

from scansynth.acquire import inventory
from scansynth.acquire.layout import find_files
from scansynth.config import Settings
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare.decoded import RejectedError
from scansynth.prepare.items import Listing
from scansynth.prepare.layouts.brats import read_listing
from scansynth.prepare.readers import nifti
from scansynth.sections import Images, Slices

REGISTERED = {"title": "BraTS", "layout": "brats", "licence": "", "citation": "", "address": ""}
REGISTERED |= {"findings": ("No Tumour", "Tumour"), "no_finding": "No Tumour"}


def listing(root: Path, **dataset) -> Listing:
    entries = inventory.take(root, find_files(root, "brats"))
    return read_listing(root, entries, Dataset(**REGISTERED | dataset), b"key")


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


@pytest.mark.parametrize(
    "case, separator, contrasts, suffix",
    [
        ("BraTS20_Training_001", "_", ("t1", "t1ce", "t2", "flair", "seg"), ".nii"),
        ("BraTS20_Validation_001", "_", ("t1", "t1ce", "t2", "flair"), ".nii.gz"),
        ("BraTS2021_00000", "_", ("t1", "t1ce", "t2", "flair", "seg"), ".nii.gz"),
        ("BraTS-GLI-00000-000", "-", ("t1n", "t1c", "t2w", "t2f", "seg"), ".nii.gz"),
        ("BraTS-MET-00002-000", "-", ("t1n", "t1c", "t2w", "t2f"), ".nii.gz"),
    ],
)
def test_names_of_each_year(tmp_path, case, separator, contrasts, suffix):
    write(tmp_path, *(f"Training/{case}/{case}{separator}{contrast}{suffix}" for contrast in contrasts))
    made = listing(tmp_path)
    (item,) = made.items
    assert item.name == case
    roles = ["flair", "t1", "t1ce", "t2"] + (["mask"] if "seg" in contrasts else [])
    assert [file.role for file in item.files] == roles
    by_role = {file.role: Path(file.path).name for file in item.files}
    assert by_role["t1ce"] == f"{case}{separator}{contrasts[1]}{suffix}"
    assert by_role["flair"] == f"{case}{separator}{contrasts[3]}{suffix}"
    assert not made.rejected


def test_time_points_of_a_patient_share_the_pseudonym(tmp_path):
    cases = ("BraTS-GLI-00005-000", "BraTS-GLI-00005-001", "BraTS-GLI-00006-000")
    write(tmp_path, *(f"{case}/{case}-t1n.nii.gz" for case in cases))
    first, second, other = listing(tmp_path).items
    assert [first.name, second.name, other.name] == list(cases)
    assert first.label.patient == second.label.patient != other.label.patient


def test_unknown_and_repeated_files_are_rejected(tmp_path):
    case = "BraTS20_Training_355"
    write(tmp_path, f"{case}/{case}_t1.nii", f"{case}/W39_1998.09.19_Segm.nii", f"{case}/{case}_adc.nii")
    write(tmp_path, f"copy_BraTS/{case}/{case}_t1.nii")
    made = listing(tmp_path)
    assert [file.path for item in made.items for file in item.files] == [f"{case}/{case}_t1.nii"]
    assert "rename it" in made.rejected[f"{case}/W39_1998.09.19_Segm.nii"]
    assert "rename it" in made.rejected[f"{case}/{case}_adc.nii"]
    assert "another file" in made.rejected[f"copy_BraTS/{case}/{case}_t1.nii"]
    write(tmp_path / "none", "BraTS_x/brain.nii")
    with pytest.raises(ScansynthError, match="no file is named as BraTS"):
        listing(tmp_path / "none")


def test_private_names_are_hashes(tmp_path):
    write(tmp_path, "BraTS2021_00001/BraTS2021_00001_t1.nii.gz")
    (item,) = listing(tmp_path, private=True).items
    assert item.name == item.files[0].sha256[:12]


def test_real_case(shared_data, tmp_path):
    """A skull-stripped glioma in the challenge's space."""
    source = shared_data / "nifti-brain" / "tcga-lgg" / "TCGA-DU-7294" / "brats-space"
    if not source.is_dir():
        pytest.skip("needs shared/data/nifti-brain")
    folder = tmp_path / "BraTS2021_00001"
    folder.mkdir()
    for contrast in ("t1", "t1ce", "t2", "flair", "seg"):
        (folder / f"BraTS2021_00001_{contrast}.nii.gz").symlink_to(source / f"TCGA-DU-7294_{contrast}.nii.gz")
    (item,) = listing(tmp_path).items

    def read(channels) -> list:
        images = Images(size=64, channels=channels, pixel_mm=3)
        settings = Settings(dataset=Dataset(**REGISTERED), images=images, slices=Slices(every_mm=4))
        return list(nifti.read(tmp_path, item, settings))

    made = read(("t1ce", "flair"))
    assert len(made) > 25
    for image in made:
        assert image.pixels.shape == (2, 64, 64)
        assert image.spacing == 3
        assert (image.findings == ("Tumour",)) == image.mask.any()
    assert {image.findings for image in made} == {("Tumour",), ("No Tumour",)}
    largest = max(made, key=lambda image: np.count_nonzero(image.mask))
    brain = largest.pixels[1] > 0
    assert largest.pixels[1][largest.mask == 2].mean() > 1.5 * largest.pixels[1][brain].mean()  # oedema in FLAIR
    with pytest.raises(RejectedError, match=r"flair, t1, t1ce, t2.*images.channels is gray"):
        read("gray")
    with pytest.raises(RejectedError, match="it lacks pd"):
        read(("t1", "pd"))
