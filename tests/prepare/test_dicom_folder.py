import hashlib
import json
import random
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from scansynth.acquire.inventory import Entry
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.files import sha256
from scansynth.prepare import patients, privacy
from scansynth.prepare.items import Listing
from scansynth.prepare.layouts.dicom_folder import read_listing
from scansynth.prepare.readers import dicom_header

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
KEY = b"key"
DATASET = Dataset(title="t", layout="dicom_folder", licence="n", citation="n", address="n", private=True)


@pytest.fixture
def add(tmp_path, make_dicom):
    """Write a DICOM file into the folder: ``add(path, tag=value, ...)``."""

    def write(name: str, seed: int = 0, **attributes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 255, (8, 9), dtype=np.uint8)
        known = {"Modality": "CR", "SOPInstanceUID": generate_uid(), "SeriesInstanceUID": "1.2.3.9"}
        make_dicom(pixels, **known | attributes).save_as(path)
        return path

    return write


def entries_of(root: Path) -> list[Entry]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return [
        Entry(path.relative_to(root).as_posix(), path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in files
    ]


def listing_of(root: Path, **dataset) -> Listing:
    return read_listing(root, entries_of(root), DATASET.model_copy(update=dataset), KEY)


def pseudonym(patient: str) -> str:
    return patients.pseudonym(patient, KEY)


# Series


def slices(add, count: int = 6, **attributes) -> list[Path]:
    """A tilted stack; its instance numbers run against its positions, and its names are of no order."""
    row, column = (1, 0, 0), (0, np.cos(0.3), np.sin(0.3))
    normal = np.cross(row, column)
    names = [f"f{hashlib.md5(bytes([place])).hexdigest()}" for place in range(count)]
    return [
        add(
            name,
            Modality="CT",
            ImageOrientationPatient=[f"{value:.6f}" for value in (*row, *column)],
            ImagePositionPatient=[f"{value:.6f}" for value in 5 * place * normal - 40],
            InstanceNumber=count - place,
            **attributes,
        )
        for place, name in enumerate(names)
    ]


def test_slices_are_ordered_by_position(tmp_path, add):
    expected = [path.name for path in slices(add)]
    (item,) = listing_of(tmp_path).items
    assert [file.path for file in item.files] == expected
    assert item.reader == "dicom"
    first = hashlib.sha256((tmp_path / expected[0]).read_bytes()).hexdigest()
    assert item.name == first[:12]


def test_slices_without_position_are_ordered_by_number(tmp_path, add):
    for number in (10, 9, 2, 1):
        add(f"{random.Random(number).random()}", Modality="MR", InstanceNumber=number)
    (item,) = listing_of(tmp_path).items
    assert [dcmread(tmp_path / file.path).InstanceNumber for file in item.files] == [1, 2, 9, 10]


def test_names_of_files_do_not_matter(tmp_path, add):
    slices(add)
    add("b", seed=1, PatientID="other")
    before = listing_of(tmp_path)
    for number, path in enumerate(sorted(tmp_path.iterdir(), reverse=True)):
        (tmp_path / f"folder{number % 3}").mkdir(exist_ok=True)
        path.rename(tmp_path / f"folder{number % 3}" / f"{number:03d}.dcm")
    after = listing_of(tmp_path)

    def without_paths(listing):
        return [(item.name, [file.sha256 for file in item.files], item.label) for item in listing.items]

    assert without_paths(before) == without_paths(after)


@pytest.mark.parametrize(
    "changed",
    [
        {"SeriesInstanceUID": "1.2.3.10"},
        {"ImageOrientationPatient": [1, 0, 0, 0, 0, 1]},
        {"ImageOrientationPatient": None},
        {"Rows": 7, "PixelData": bytes(63)},
        {"PatientID": "another"},
    ],
)
def test_what_does_not_fit_into_a_series_is_an_item_of_its_own(tmp_path, add, changed):
    (*_, last) = slices(add)
    ds = dcmread(last)
    for name, value in changed.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    ds.save_as(last)
    items = listing_of(tmp_path).items
    assert sorted(len(item.files) for item in items) == [1, 5]


def test_radiographs_and_files_of_several_frames_are_items_of_their_own(tmp_path, add):
    for number in range(3):
        add(f"cr{number}", seed=number, InstanceNumber=number)
    for number in range(2):
        add(f"mr{number}", seed=number, Modality="MR", NumberOfFrames=2, PixelData=bytes(144))
    assert [len(item.files) for item in listing_of(tmp_path).items] == [1] * 5


# What is left out


def test_doubles_are_listed_once(tmp_path, add):
    """A file, whatever its names; another one of the same UID is another image."""
    paths = [add("a", SOPInstanceUID="1.2.3"), add("sub/b", SOPInstanceUID="1.2.3", RescaleSlope=1)]
    paths.append(paths[0].with_name("c"))
    paths[2].write_bytes(paths[0].read_bytes())
    listing = listing_of(tmp_path)
    assert listing.rejected == {}
    assert listing.flags == {"the same file as another one, which is kept": 1}
    kept = {file.sha256 for item in listing.items for file in item.files}
    assert kept == {sha256(path) for path in paths}


def test_left_out_and_rejected(tmp_path, add):
    add("image")
    no_pixels = {"Rows": None, "Columns": None, "PixelData": None}
    add("report1", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", **no_pixels)
    add("report2", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", **no_pixels)
    add("dose", SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2")
    add("scout", Modality="CT", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (tmp_path / "notes.dcm").write_text("Jane Doe was here\n" * 20)
    (tmp_path / "cut").write_bytes((tmp_path / "image").read_bytes()[:140])
    listing = listing_of(tmp_path)
    assert [item.files[0].path for item in listing.items] == ["image"]
    assert listing.rejected["notes.dcm"] == "not a DICOM file"
    assert listing.rejected.keys() == {"notes.dcm", "cut"}
    assert listing.flags == {
        "a localizer": 1,
        "not an image: Basic Text SR Storage": 2,
        "not an image: RT Dose Storage": 1,
    }


def test_no_image_is_an_error(tmp_path, add):
    (tmp_path / "a").write_text("text")
    add("b", SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2")
    with pytest.raises(ScansynthError, match=r"none of its 2 files.*not a DICOM file.*RT Dose"):
        listing_of(tmp_path)


def test_burned_in_text_is_flagged(tmp_path, add):
    add("yes", BurnedInAnnotation="YES")
    add("no", seed=1, Modality="US", BurnedInAnnotation="NO")
    add("silent", seed=2, Modality="US")
    add("capture", seed=3, Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    add("chest", seed=4)
    flags = listing_of(tmp_path).flags
    assert flags["text is burned into the image (BurnedInAnnotation)"] == 1
    assert flags["text may be burned into the image: the file does not say"] == 2


# Patients and labels


def test_what_is_kept_of_a_header(tmp_path, add):
    add("a", PatientID="0047", PatientSex="F", PatientAge="058Y", ViewPosition="LL")
    (item,) = listing_of(tmp_path).items
    assert asdict(item.label) == {
        "patient": pseudonym("47"),
        "findings": (),
        "view": "LATERAL",
        "sex": "F",
        "age": "58",
        "split": "",
    }


@pytest.mark.parametrize(
    "attributes, age",
    [
        ({"PatientAge": "093Y"}, "90"),
        ({"PatientAge": "old", "PatientBirthDate": "19500704", "StudyDate": "20060704"}, "56"),
        ({"PatientAge": "", "PatientBirthDate": "19500704", "StudyDate": "20060703"}, "55"),
        ({"PatientBirthDate": "19500704", "StudyDate": "20060704"}, "56"),
        ({"PatientBirthDate": "19000101", "SeriesDate": "19980101"}, "90"),
        ({"PatientBirthDate": "19500704"}, ""),
        ({"PatientBirthDate": "20500704", "StudyDate": "20060704"}, ""),
        ({"PatientBirthDate": "July", "StudyDate": "20060704"}, ""),
    ],
)
def test_age(tmp_path, add, attributes, age):
    add("a", **attributes)
    assert listing_of(tmp_path).items[0].label.age == age
    if age == "90":
        assert listing_of(tmp_path, private=False).items[0].label.age in ("93", "98")


@pytest.mark.parametrize(
    "written, declared, kept",
    [
        ("PA", (), "PA"),
        ("AP", ("AP",), "AP"),
        ("LATERAL", ("PA",), ""),
        ("MLO", (), ""),
        ("MLO", ("MLO", "CC"), "MLO"),
        ("Jane Doe", (), ""),
    ],
)
def test_view(tmp_path, add, written, declared, kept):
    add("a", ViewPosition=written)
    listing = listing_of(tmp_path, views=declared)
    assert listing.items[0].label.view == kept
    assert listing.flags == ({} if kept else {"a view position that is not known, left empty": 1})


def test_patients_without_id_are_told_apart_by_name_and_birth_date(tmp_path, add):
    jane = {"PatientID": "", "PatientName": "Doe^Jane", "PatientBirthDate": "19500704"}
    add("a", **jane)
    add("b", seed=1, **jane | {"PatientName": "DOE^JANE^^"})
    add("c", seed=2, **jane | {"PatientBirthDate": "19500705"})
    add("d", seed=3, **jane | {"PatientID": "ANONYMOUS", "PatientName": "Roe^Richard"})
    listing = listing_of(tmp_path)
    of = {item.files[0].path: item.label.patient for item in listing.items}
    assert of["a"] == of["b"]
    assert len(set(of.values())) == 3
    assert listing.notes[0].startswith("4 files have no PatientID")


@pytest.mark.parametrize("removed", [{"PatientID": "", "PatientName": ""}, {"PatientID": "0", "PatientName": "ANON"}])
def test_patients_without_id_and_name_are_kept_together_by_study(tmp_path, add, removed):
    add("a", StudyInstanceUID="1.2.1", **removed)
    add("b", seed=1, StudyInstanceUID="1.2.1", **removed)
    add("c", seed=2, StudyInstanceUID="1.2.2", **removed)
    add("d", seed=3, **removed)
    add("e", seed=4, **removed)
    with pytest.raises(ScansynthError, match="who is on which image is not known"):
        listing_of(tmp_path)
    listing = listing_of(tmp_path, split_by="study")
    of = {item.files[0].path: item.label.patient for item in listing.items}
    assert of["a"] == of["b"]
    assert len(set(of.values())) == 4
    assert listing.notes[0].startswith("5 files do not say who is on them")
    alone = listing_of(tmp_path, split_by="image")
    assert len({item.label.patient for item in alone.items}) == 5


def write_labels(root: Path, *rows: str) -> None:
    (root / "labels.csv").write_text("\n".join(rows) + "\n")


def test_labels_come_first(tmp_path, add):
    add("one/a", PatientID="1", PatientSex="F", ViewPosition="PA")
    add("two/b", seed=1, PatientID="2")
    add("c", seed=2)
    write_labels(tmp_path, "file,patient,findings,age", "one,9,Nodule,33", "two/b,8,,", "three,7,,")
    listing = listing_of(tmp_path)
    labels = {item.files[0].path: item.label for item in listing.items}
    assert labels["one/a"].patient == pseudonym("9")
    assert labels["one/a"].findings == ("Nodule",)
    assert (labels["one/a"].sex, labels["one/a"].age, labels["one/a"].view) == ("F", "33", "PA")
    assert labels["two/b"].patient == pseudonym("8")
    assert listing.rejected == {"c": "no row in labels.csv"}
    assert listing.rows_without_file == 1
    assert listing.tables == ("labels.csv",)


def test_labels_without_patient_leave_the_headers(tmp_path, add):
    add("a", PatientID="1")
    write_labels(tmp_path, "file,findings", "a,Nodule")
    (item,) = listing_of(tmp_path).items
    assert (item.label.patient, item.label.findings) == (pseudonym("1"), ("Nodule",))


def test_slices_with_other_findings_are_another_item(tmp_path, add):
    names = [path.name for path in slices(add)]
    write_labels(tmp_path, "file,findings", *(f"{name},{'Nodule' if name in names[:2] else ''}" for name in names))
    items = listing_of(tmp_path).items
    assert sorted([len(item.files), item.label.findings] for item in items) == [[2, ("Nodule",)], [4, ()]]


# Identifiers

PERSONAL = {
    "PatientName": "Müstermann^Eva Maria",
    "PatientID": "MRN-471199",
    "OtherPatientIDs": ["OTHER-1", "OTHER-2"],
    "PatientBirthDate": "19500704",
    "AccessionNumber": "ACC778899",
    "ReferringPhysicianName": "House^Gregory",
    "PerformingPhysicianName": "Wilson^James",
    "InstitutionName": "Princeton Plainsboro",
    "StudyInstanceUID": "1.2.826.0.1.47.1",
    "SeriesInstanceUID": "1.2.826.0.1.47.2",
    "SOPInstanceUID": "1.2.826.0.1.47.3",
    "SpecificCharacterSet": "ISO_IR 192",
}
IDENTIFIERS = {
    *("Müstermann^Eva Maria", "Müstermann", "Maria", "MRN-471199", "OTHER-1", "OTHER-2"),
    *("19500704", "1950-07-04", "04.07.1950", "07/04/1950", "ACC778899", "House", "Gregory", "Wilson", "James"),
    *("Princeton Plainsboro", "1.2.826.0.1.47.1", "1.2.826.0.1.47.2", "1.2.826.0.1.47.3"),
    *("Mustermann_Eva", "visit-secret", "scan_of_eva"),
}


def test_nothing_personal_leaves_the_header(tmp_path, add):
    """Names, IDs, dates and UIDs are in no item but its paths, which stay beside the raw data; and all are known."""
    add("Mustermann_Eva/images/visit-secret/scan_of_eva.dcm", ViewPosition="PA", StudyDate="20060704", **PERSONAL)
    listing = listing_of(tmp_path)
    assert not IDENTIFIERS - listing.identifiers
    assert not {"images", "20060704"} & listing.identifiers
    (item,) = listing.items
    gone = json.dumps([item.name, asdict(item.label), listing.flags, listing.notes], ensure_ascii=False).casefold()
    assert not [word for word in listing.identifiers if word.casefold() in gone]
    assert item.label.age == "56" and item.label.view == "PA"
    assert listing_of(tmp_path, private=False).identifiers == frozenset()


def test_reasons_quote_nothing(tmp_path, add):
    add("fine")
    content = add("a", **PERSONAL).read_bytes()
    for length in range(132, len(content) - 80, 37):
        (tmp_path / f"cut{length}").write_bytes(content[:length])
    listing = listing_of(tmp_path)
    assert listing.rejected
    said = " ".join([*listing.rejected.values(), *listing.flags, *listing.notes])
    assert not [word for word in IDENTIFIERS if word in said]


@pytest.mark.parametrize("word", ["ab", "images", "Series", "12345", "0000000", "--- ^^^", "unknown", "anonymous"])
def test_what_tells_nobody_is_no_identifier(word):
    assert privacy.telling([word]) == frozenset()


# Many files, real files


def test_worker_processes_give_the_same(tmp_path, add, monkeypatch):
    slices(add)
    (tmp_path / "text").write_text("text")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = listing_of(tmp_path)
    monkeypatch.setattr(dicom_header, "FEW", 0)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert listing_of(tmp_path) == alone


@pytest.fixture
def real(shared_data) -> Path:
    folder = shared_data / "dicom"
    if not folder.is_dir():
        pytest.skip("needs the folder dicom/ of the real images")
    return folder


def test_a_real_folder(real):
    """Each file is in an item, rejected with a reason, or counted among those that are left out."""
    entries = entries_of(real)
    listing = read_listing(real, entries, DATASET.model_copy(update={"split_by": "study"}), KEY)
    listed = [file.path for item in listing.items for file in item.files]
    reasons = ("not an image", "a localizer", "the same file")
    left_out = sum(count for what, count in listing.flags.items() if what.startswith(reasons))
    assert len(listed) == len(set(listed))
    assert not set(listed) & listing.rejected.keys()
    assert len(listed) + len(listing.rejected) + left_out == len(entries)
    assert max(len(item.files) for item in listing.items) == 48
    assert set(listing.rejected.values()) == {"not a DICOM file"}


def test_a_real_series_under_shuffled_names(real, tmp_path):
    paths = sorted((real / "mr-t1-series").iterdir())
    names = [f"{number:02d}" for number in range(len(paths))]
    random.Random(0).shuffle(names)
    for path, name in zip(paths, names, strict=True):
        (tmp_path / name).write_bytes(path.read_bytes())
    (item,) = listing_of(tmp_path).items
    order = [file.path for file in item.files]
    assert order in (names, names[::-1])
    assert item.label.age == "42" and item.label.sex == "F"


def test_every_file_in_pydicoms_wheel():
    root = Path(get_testdata_file("CT_small.dcm", download=False)).parent
    entries = entries_of(root)
    listing = read_listing(root, entries, DATASET.model_copy(update={"split_by": "study"}), KEY)
    listed = [file.path for item in listing.items for file in item.files]
    reasons = ("not an image", "a localizer", "the same file")
    left_out = sum(count for what, count in listing.flags.items() if what.startswith(reasons))
    assert len(listed) > 60
    assert len(set(listed)) + len(listing.rejected) + left_out == len(entries)


def test_a_header_is_read_without_its_pixels(tmp_path, add):
    """So that a folder on a slow disk is listed soon."""
    path = add("a", PatientID="471199")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\xe0\x7f\x10\x00")])
    assert dicom_header.read_header(path).patient == "471199"
    assert "gone since" in dicom_header.read_header(tmp_path / "gone")
