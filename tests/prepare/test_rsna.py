import hashlib
from pathlib import Path

import numpy as np
import pytest

from scansynth.acquire.inventory import Entry
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare import patients
from scansynth.prepare.layouts.rsna import NOTES, read_listing

KEY = b"key"
DATASET = Dataset(
    title="t",
    layout="rsna",
    findings=("Normal", "Lung Opacity", "No Lung Opacity / Not Normal"),
    views=("PA", "AP"),
    licence="n",
    citation="n",
    address="n",
)
CLASSES = "patientId,class\na,Lung Opacity\na,Lung Opacity\nb,No Lung Opacity / Not Normal\nc,Normal\ngone,Normal\n"
BOXES = "patientId,x,y,width,height,Target\na,1,2,3,4,1\na,5,6,7,8,1\nb,,,,,0\nc,,,,,0\ngone,,,,,0\n"


@pytest.fixture
def folder(tmp_path, make_dicom) -> Path:
    """Three training images, an unlabelled one, two test images, and both tables."""
    for number, name in enumerate(
        ("train_images/a", "train_images/b", "train_images/c", "test_images/d", "test_images/e")
    ):
        path = tmp_path / f"stage_2_{name}.dcm"
        path.parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8), dtype=np.uint8)
        attributes = {"PatientID": path.stem, "ViewPosition": "PA", "PatientSex": "F", "PatientAge": "51"}
        make_dicom(pixels, **attributes).save_as(path)
    write(tmp_path, CLASSES, BOXES)
    return tmp_path


def write(root: Path, classes: str | None, boxes: str | None) -> None:
    for name, text in (("detailed_class_info", classes), ("train_labels", boxes)):
        path = root / f"stage_2_{name}.csv"
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)


def listing_of(root: Path):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    entries = [
        Entry(path.relative_to(root).as_posix(), path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in files
    ]
    return read_listing(root, entries, DATASET, KEY)


def test_labels_from_tables_and_headers(folder):
    listing = listing_of(folder)
    assert [(item.name, item.label.findings) for item in listing.items] == [
        ("a", ("Lung Opacity",)),
        ("b", ("No Lung Opacity / Not Normal",)),
        ("c", ("Normal",)),
    ]
    label = listing.items[0].label
    assert (label.patient, label.view, label.sex, label.age) == (patients.pseudonym("a", KEY), "PA", "F", "51")
    assert listing.rows_without_file == 1
    assert listing.flags == {"test images, which have no labels, left out": 2}
    assert listing.notes == NOTES and "NIH" in NOTES[0]
    assert listing.tables == ("stage_2_detailed_class_info.csv", "stage_2_train_labels.csv")


def test_the_boxes_may_be_missing(folder):
    before = listing_of(folder).items
    write(folder, CLASSES, None)
    assert listing_of(folder).items == before


def test_without_tables_images_have_no_labels(folder):
    write(folder, None, None)
    listing = listing_of(folder)
    assert [item.label.findings for item in listing.items] == [(), (), ()]
    assert listing.tables == ()


def test_unlabelled_and_damaged_images_are_rejected(folder):
    (folder / "stage_2_train_images" / "b.dcm").write_text("text")
    write(folder, CLASSES.replace("c,Normal\n", ""), BOXES)
    listing = listing_of(folder)
    assert [item.name for item in listing.items] == ["a"]
    assert listing.rejected == {
        "stage_2_train_images/b.dcm": "not a DICOM file",
        "stage_2_train_images/c.dcm": "no row in stage_2_detailed_class_info.csv",
    }


@pytest.mark.parametrize(
    "classes, boxes, message",
    [
        (None, BOXES, "detailed_class_info.csv, which names the classes, is not"),
        (CLASSES.replace("a,Lung Opacity\nb", "a,Normal\nb"), None, "patient a: its class is 'Normal'"),
        (CLASSES.replace("c,Normal", "c,"), None, "patient c: its class is ''"),
        (CLASSES.replace("c,Normal", "c,Cancer"), None, "'Cancer' is not among"),
        (CLASSES, BOXES.replace("c,,,,,0", "c,1,2,3,4,1"), "patient c: Target is '1'"),
        (CLASSES, BOXES.replace("1,2,3,4,1", "1,2,3,4,0"), "patient a: Target is '0'"),
        ("patientId,class\nz,Normal\n", None, "none of its patients has an image"),
        ("patientId\na\n", None, "lacks the column"),
    ],
)
def test_tables_that_are_not_as_they_have_to_be(folder, classes, boxes, message):
    write(folder, classes, boxes)
    with pytest.raises(ScansynthError, match=message):
        listing_of(folder)


def test_no_training_image(folder):
    for path in (folder / "stage_2_train_images").iterdir():
        path.unlink()
    with pytest.raises(ScansynthError, match="no training image"):
        listing_of(folder)
