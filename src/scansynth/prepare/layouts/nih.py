"""The NIH layout: the table's rows and the image files to a list of items."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from scansynth.acquire.inventory import Entry
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare import patients, tables
from scansynth.prepare.items import File, Item, Label, Listing

# The last two of upstream's column names hold a comma unquoted, so that a reader sees four. The header still lines up
# with the rows, which have four values there; and those before them, which are read, would do so in any case.
REQUIRED = ("Image Index", "Finding Labels", "Patient ID", "View Position")
SEX = ("Patient Gender", "Patient Sex")  # releases differ
OFFICIAL = {"train_val_list.txt": "train-val", "test_list.txt": "test"}  # split, of the names in upstream's lists


def read_listing(root: Path, entries: Sequence[Entry], dataset: Dataset, key: bytes) -> Listing:
    """Join the files of the inventory with the rows of the table among them, by the image's name without its suffix.

    Raises:
        ScansynthError: if there are two tables, if two files or two rows have the same name, if a table changed since
            it was acquired or is not readable, if it holds a label that the data set does not declare, if no row has a
            file, or if only one of the two lists of the official split is there or an image is in both or neither.
    """
    text = [entry for entry in entries if entry.path.lower().endswith((".csv", ".txt"))]
    images = _by_name((entry for entry in entries if entry not in text), root)
    splits = _official(root, text)
    table = _table(root, text)
    if table is None:
        labels = {name: _unknown(name, key, _split(name, splits, root)) for name in images}
    else:
        labels = _read_labels(root, table, dataset, key, splits)
    items = [_item(name, entry, labels[name]) for name, entry in images.items() if name in labels]
    if not items:
        raise ScansynthError(
            f"{root / table.path}: none of its {len(labels)} rows has an image: the first is for "
            f"{next(iter(labels), 'nothing')}, and {root} holds {len(images)} images, such as {next(iter(images))}"
        )
    return Listing(
        sorted(items, key=lambda item: item.files[0].path),
        rejected={entry.path: f"no row in {table.path}" for name, entry in images.items() if name not in labels},
        tables=tuple(entry.path for entry in text),
        rows_without_file=len(labels.keys() - images.keys()),
    )


def _table(root: Path, text: Sequence[Entry]) -> Entry | None:
    found = [entry for entry in text if entry.path.lower().endswith(".csv")]
    if len(found) > 1:
        names = ", ".join(entry.path for entry in found)
        raise ScansynthError(f"{root}: {len(found)} tables ({names}): keep the one that is meant, move away the other")
    return found[0] if found else None


def _item(name: str, entry: Entry, label: Label) -> Item:
    return Item(name, "dicom" if entry.path.lower().endswith(".dcm") else "raster", (File.of(entry),), label)


def _by_name(entries: Iterable[Entry], root: Path) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for entry in entries:
        name = PurePosixPath(entry.path).stem
        if name in found:
            raise ScansynthError(
                f"{root}: the image {name} is there twice, as {found[name].path} and {entry.path}: keep one"
            )
        found[name] = entry
    return found


def _unknown(name: str, key: bytes, split: str) -> Label:
    """The label of an image in a folder without a table: NIH names begin with the patient's eight digits."""
    match = re.match(r"(\d{8})(?!\d)", name)
    if not match:
        raise ScansynthError(
            f"{name}: there is no table beside the images, and this name does not begin with a patient's eight digits: "
            "images of one patient cannot be kept in one split. Supply Data_Entry_2017.csv (see config/README.md)"
        )
    return Label(patients.pseudonym(match[1], key), split=split)


def _official(root: Path, text: Sequence[Entry]) -> dict[str, str]:
    """The official split by the image's name, empty where upstream's lists are not there."""
    lists = {PurePosixPath(entry.path).name: entry for entry in text if entry.path.endswith(".txt")}
    if not lists:
        return {}
    missing = OFFICIAL.keys() - lists.keys()
    if missing:
        raise ScansynthError(
            f"{root}: {', '.join(missing)} is missing: put both lists of the official split there, or neither"
        )
    splits: dict[str, str] = {}
    for file, split in OFFICIAL.items():
        for line in tables.read_text(root, lists[file]).split():
            name = PurePosixPath(line).stem
            if splits.setdefault(name, split) != split:
                raise ScansynthError(f"{root}: the image {name} is in both lists of the official split")
    return splits


def _split(name: str, splits: dict[str, str], root: Path) -> str:
    if splits and name not in splits:
        raise ScansynthError(
            f"{root}: the image {name} is in neither list of the official split ({', '.join(OFFICIAL)}): "
            "supply the whole lists, or move them away"
        )
    return splits.get(name, "")


def _read_labels(root: Path, entry: Entry, dataset: Dataset, key: bytes, splits: dict[str, str]) -> dict[str, Label]:
    """Labels by the image's name without its suffix."""
    path = root / entry.path
    labels: dict[str, Label] = {}
    for row in tables.read_rows(root, entry, REQUIRED):
        name = PurePosixPath(row["Image Index"].strip()).stem
        if name in labels:
            raise ScansynthError(f"{path}: the image {row['Image Index']} has two rows: keep one")
        where = f"{path}, image {row['Image Index']}"
        if not row["Patient ID"].strip():
            raise ScansynthError(f"{where}: Patient ID is empty; without it images cannot be split by patient")
        labels[name] = Label(
            patient=patients.pseudonym(row["Patient ID"], key),
            findings=tables.findings(row["Finding Labels"], dataset, where),
            view=tables.view(row["View Position"], dataset, where),
            sex=patients.sex(next((row[name] for name in SEX if name in row), "")),
            age=patients.years(row.get("Patient Age", "")),
            split=_split(name, splits, root),
        )
    return labels
