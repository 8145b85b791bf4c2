from pathlib import Path

import pytest

from scansynth.acquire import inventory
from scansynth.acquire.layout import find_files
from scansynth.config import Settings
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare.decoded import Image
from scansynth.prepare.items import Listing
from scansynth.prepare.layouts.ixi import read_listing
from scansynth.prepare.read import read_items
from scansynth.sections import Images, Patches, Slices

SHEET = 'IXI_ID,"SEX_ID (1=m, 2=f)",HEIGHT,AGE\n2,2,164,35.80\n12,1,175,38.78\n12,1,175,51.2\n33,1,,\n'


def listing(root: Path, **dataset) -> Listing:
    registered = {"title": "IXI", "layout": "ixi", "split_by": "subject", "licence": "", "citation": "", "address": ""}
    entries = inventory.take(root, find_files(root, "ixi"))
    return read_listing(root, entries, Dataset(**registered | dataset), b"key")


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def test_contrasts_of_a_subject_are_one_item(tmp_path):
    write(tmp_path, "IXI-T1/IXI002-Guys-0828-T1.nii.gz", "IXI-T2/IXI002-Guys-0828-T2.nii.gz")
    write(tmp_path, "IXI012-HH-1211-PD.nii", "IXI012-HH-1211-MRA.nii.gz", "IXI-DTI/IXI012-HH-1211-DTI-00.nii.gz")
    made = listing(tmp_path)
    assert [item.name for item in made.items] == ["IXI002-Guys-0828", "IXI012-HH-1211"]
    assert [[file.role for file in item.files] for item in made.items] == [["t1", "t2"], ["pd"]]
    assert {item.reader for item in made.items} == {"nifti"}
    assert len({item.label.patient for item in made.items}) == 2
    assert not made.rejected
    assert not made.tables
    assert "not registered" in made.notes[0]


def test_sex_and_age_from_upstreams_sheet(tmp_path):
    names = ("IXI002-Guys-0828", "IXI012-HH-1211", "IXI033-HH-1259", "IXI034-HH-1260")
    write(tmp_path, *(f"{name}-T1.nii.gz" for name in names[:3]))
    (tmp_path / "IXI.csv").write_text(SHEET + "99,1,170,20\n")
    made = listing(tmp_path)
    # Of 12 the two rows differ, and of 33 there is no age.
    assert [(item.label.sex, item.label.age) for item in made.items] == [("F", "35"), ("", ""), ("M", "")]
    assert made.tables == ("IXI.csv",)
    assert made.rows_without_file == 1


def test_sex_and_age_from_participants(tmp_path):
    write(tmp_path, "IXI132-HH-1415-T1.nii.gz")
    (tmp_path / "participants.csv").write_text("MRID,Age,Sex\nIXI132-HH-1415,58.72,M\n")
    (item,) = listing(tmp_path).items
    assert (item.label.sex, item.label.age) == ("M", "58")
    (tmp_path / "participants.csv").write_text("MRID,Years\nIXI132-HH-1415,58.72\n")
    with pytest.raises(ScansynthError, match="lacks the column"):
        listing(tmp_path)


def test_a_contrast_that_is_there_twice_is_taken_once(tmp_path):
    write(tmp_path, "IXI002-Guys-0828-T1.nii", "IXI002-Guys-0828-T1.nii.gz")
    made = listing(tmp_path)
    assert [file.path for item in made.items for file in item.files] == ["IXI002-Guys-0828-T1.nii"]
    assert made.rejected == {"IXI002-Guys-0828-T1.nii.gz": "there is another file of this subject and contrast"}


def test_private_names_are_hashes(tmp_path):
    write(tmp_path, "IXI002-Guys-0828-T1.nii")
    (item,) = listing(tmp_path, private=True).items
    assert item.name == item.files[0].sha256[:12]


def test_names_that_are_not_ixis(tmp_path):
    entry = inventory.Entry("brain.nii.gz", 1, "0" * 64)
    with pytest.raises(ScansynthError, match="no file is named as IXI names them"):
        read_listing(tmp_path, [entry], Dataset(title="", layout="ixi", licence="", citation="", address=""), b"")


def test_real_subjects(shared_data):
    root = shared_data / "nifti-brain" / "ixi-t1-2mm"
    if not root.is_dir():
        pytest.skip("needs shared/data/nifti-brain")
    made = listing(root)
    assert len(made.items) == 28
    assert all(item.label.sex and item.label.age for item in made.items)
    assert not made.rejected
    settings = Settings(
        dataset=Dataset(title="", layout="ixi", licence="", citation="", address=""),
        images=Images(size=64),
        slices=Slices(axis="sagittal", range=(0.4, 0.6), every_mm=10),
        patches=Patches(),
    )
    for result in read_items(root, made.items, settings, workers=1):
        assert [type(image) for image in result.images] == [Image] * 4
        for image in result.images:
            assert image.pixels[0, :, :2].mean() < 60 < image.pixels[0, 16:40, 16:48].mean()  # air around a head
