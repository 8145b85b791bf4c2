from pathlib import Path

import pytest

from scansynth.acquire import inventory
from scansynth.config import load_dataset
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare import patients
from scansynth.prepare.items import Item, Listing
from scansynth.prepare.layouts.slides import RUNS, read_listing

CAMELYON = load_dataset(Path(__file__).parents[2] / "config" / "datasets" / "camelyon.yaml")
DATASET = {"title": "t", "layout": "slides", "split_by": "slide", "licence": "none", "citation": "none"}
DATASET |= {"address": "none"}
KEY = b"key"


def listing(root: Path, dataset: Dataset, *files: str, **texts: str) -> Listing:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file)
    if "labels" in texts:
        (root / "labels.csv").write_text(texts["labels"])
    paths = sorted((path for path in root.rglob("*") if path.is_file()), key=lambda path: path.as_posix())
    return read_listing(root, inventory.take(root, paths), dataset, KEY)


def by_slide(found: Listing) -> dict[str, Item]:
    """The first run of each slide."""
    return {item.files[0].path: item for item in found.items if item.part[0] == 0}


def test_camelyon16_as_it_lies_in_its_bucket(tmp_path):
    found = listing(
        tmp_path,
        CAMELYON,
        *(
            f"CAMELYON16/images/{name}.tif"
            for name in ("normal_001", "tumor_001", "tumor_015", "tumor_002", "test_003")
        ),
        *(f"CAMELYON16/annotations/{name}.xml" for name in ("tumor_001", "tumor_015", "test_099")),
        "CAMELYON16/masks/tumor_001_mask.tif",
        "CAMELYON16/background_tissue/normal_001.tif",
    )
    items = {path.split("/")[-1][:-4]: item for path, item in by_slide(found).items()}
    assert {name: [file.role for file in item.files] for name, item in items.items()} == {
        "normal_001": ["slide"],
        "tumor_001": ["slide", "annotated"],
        "tumor_015": ["slide", "partly annotated"],
        "tumor_002": ["slide"],
        "test_003": ["slide"],
    }
    assert {name: item.label.findings for name, item in items.items() if item.label.findings} == {
        "normal_001": ("Normal",)
    }
    assert {name: item.label.split for name, item in items.items()} == {
        "normal_001": "train-val",
        "tumor_001": "train-val",
        "tumor_015": "train-val",
        "tumor_002": "train-val",
        "test_003": "test",
    }
    assert len({item.label.patient for item in items.values()}) == 5
    assert found.flags == {"masks, which are not read": 2} and found.rejected == {}
    assert found.rows_without_file == 1
    assert [note.split(":")[1][:2] for note in found.notes] == [" 1", " 2"]
    assert "CAMELYON16/annotations/tumor_001.xml" in found.tables


def test_every_slide_is_cut_into_runs(tmp_path):
    found = listing(tmp_path, CAMELYON, "images/normal_001.tif", "images/normal_002.tif")
    assert [item.part for item in found.items] == 2 * [(run, RUNS) for run in range(RUNS)]
    assert len({item.name for item in found.items}) == 2 * RUNS
    assert found.items[0].name == "images_normal_001_00"
    assert {item.label.split for item in found.items} == {"train-val"}


def test_camelyon17_keeps_the_slides_of_a_patient_together(tmp_path):
    names = [f"CAMELYON17/images/patient_00{n}_node_{k}.tif" for n in (4, 5) for k in range(3)]
    found = by_slide(listing(tmp_path, CAMELYON, *names, "CAMELYON17/annotations/patient_004_node_1.xml"))
    who = [item.label.patient for item in found.values()]
    assert who == [patients.pseudonym("patient_004", KEY)] * 3 + [patients.pseudonym("patient_005", KEY)] * 3
    assert [len(item.files) for item in found.values()] == [1, 2, 1, 1, 1, 1]


def test_outlines_lie_beside_a_slide_or_have_a_name_of_their_own(tmp_path):
    dataset = Dataset(**DATASET | {"findings": ["Normal", "Tumour"], "no_finding": "Normal"})
    files = ["a/1.svs", "a/1.xml", "b/1.svs", "b/2.ndpi", "c/2.xml", "b/3.mrxs", "c/3.xml", "d/3.xml"]
    found = listing(tmp_path, dataset, *files)
    assert {path: [file.path for file in item.files[1:]] for path, item in by_slide(found).items()} == {
        "a/1.svs": ["a/1.xml"],
        "b/1.svs": [],
        "b/2.ndpi": ["c/2.xml"],
        "b/3.mrxs": [],  # which of the two is not known
    }
    assert found.rows_without_file == 2


def test_a_folder_of_ones_own(tmp_path):
    dataset = Dataset(**DATASET | {"private": True, "split_by": "patient"})
    labels = "file,patient,findings\nward/Doe Jane.svs,4711,adenoma\nward/more,12,\ngone.svs,3,\n"
    found = listing(tmp_path, dataset, "ward/Doe Jane.svs", "ward/more/b.svs", "else.svs", labels=labels)
    first, second = by_slide(found).values()
    assert (first.label.findings, second.label.findings) == (("adenoma",), ())
    assert first.label.patient == patients.pseudonym("4711", KEY)
    assert first.name == f"{first.files[0].sha256[:12]}_00"
    assert found.rejected == {"else.svs": "no row in labels.csv"}
    assert found.rows_without_file == 1
    assert found.identifiers == {"ward", "Doe Jane", "more", "else"}
    assert found.tables == ("labels.csv",)


def test_what_is_refused(tmp_path):
    with pytest.raises(ScansynthError, match="all of its 1 images are masks"):
        listing(tmp_path / "masks", CAMELYON, "masks/a.tif")
    with pytest.raises(ScansynthError, match="Declare two findings"):
        listing(tmp_path / "outlines", Dataset(**DATASET), "a.svs", "a.xml")
    with pytest.raises(ScansynthError, match=r"labels\.csv"):
        listing(tmp_path / "unknown", Dataset(**DATASET | {"split_by": "patient"}), "a.svs")
    with pytest.raises(ScansynthError, match=r"a\.svs and a\.tif would both be called a"):
        listing(tmp_path / "twice", Dataset(**DATASET), "a.svs", "a.tif")
    with pytest.raises(ScansynthError, match="none of its 1 rows has a file"):
        listing(tmp_path / "labels", Dataset(**DATASET), "a.svs", labels="file\nb.svs\n")
