"""The NIH layout: the table's rows and the image files to a list of items."""

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scansynth.acquire.inventory import Entry
from scansynth.config import Dataset
from scansynth.errors import ScansynthError
from scansynth.files import sha256
from scansynth.prepare import patients

REQUIRED = ("Image Index", "Finding Labels", "Patient ID", "View Position")
SEX = ("Patient Gender", "Patient Sex")  # releases differ


@dataclass(frozen=True)
class Label:
    """What is known of an image beside its pixels: columns of the store's table."""

    patient: str  # pseudonym
    findings: tuple[str, ...] = ()
    view: str = ""
    sex: str = ""
    age: str = ""


@dataclass(frozen=True)
class Item:
    """An image file and its label."""

    source: str  # path relative to the data set's folder
    sha256: str
    label: Label


@dataclass(frozen=True)
class Listing:
    """What the layout makes of a folder."""

    items: list[Item]  # sorted by source
    unlabelled: list[str]  # image files without a row in the table
    table: str | None  # the table's path; None where there is none, and items have no labels
    rows_without_file: int


def read_listing(root: Path, entries: Sequence[Entry], dataset: Dataset) -> Listing:
    """Join the files of the inventory with the rows of the table among them, by the image's name without its suffix.

    Raises:
        ScansynthError: if two files or two rows have the same name, if the table changed since it was acquired or is
            not readable, if it holds a label that the data set does not declare, or if no row has a file.
    """
    tables = [entry for entry in entries if entry.path.lower().endswith(".csv")]
    images = _by_name((entry for entry in entries if entry not in tables), root)
    if not tables:
        items = [Item(entry.path, entry.sha256, _unknown(name, dataset)) for name, entry in images.items()]
        return Listing(_sorted(items), [], None, 0)
    labels = _read_labels(root, tables[0], dataset)
    items = [Item(entry.path, entry.sha256, labels[name]) for name, entry in images.items() if name in labels]
    if not items:
        raise ScansynthError(
            f"{root / tables[0].path}: none of its {len(labels)} rows has an image: the first is for "
            f"{next(iter(labels), 'nothing')}, and {root} holds {len(images)} images, such as {next(iter(images))}"
        )
    unlabelled = sorted(entry.path for name, entry in images.items() if name not in labels)
    return Listing(_sorted(items), unlabelled, tables[0].path, len(labels.keys() - images.keys()))


def _sorted(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=lambda item: item.source)


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


def _unknown(name: str, dataset: Dataset) -> Label:
    """The label of an image in a folder without a table: NIH names begin with the patient's eight digits."""
    match = re.match(r"(\d{8})(?!\d)", name)
    if not match:
        raise ScansynthError(
            f"{name}: there is no table beside the images, and this name does not begin with a patient's eight digits: "
            "images of one patient cannot be kept in one split. Supply Data_Entry_2017.csv (see config/README.md)"
        )
    return Label(patients.pseudonym(match[1], dataset.title))


def _read_labels(root: Path, entry: Entry, dataset: Dataset) -> dict[str, Label]:
    """Labels by the image's name without its suffix."""
    path = root / entry.path
    if not path.is_file() or sha256(path) != entry.sha256:
        raise ScansynthError(f"{path}: changed since it was acquired: acquire the data set again")
    labels: dict[str, Label] = {}
    for row in _read_rows(path):
        name = PurePosixPath(row["Image Index"].strip()).stem
        if name in labels:
            raise ScansynthError(f"{path}: the image {row['Image Index']} has two rows: keep one")
        labels[name] = _label(row, path, dataset)
    return labels


def _read_rows(path: Path) -> list[dict[str, str]]:
    # The last two of upstream's column names hold a comma unquoted, so that a reader sees four. The header still lines
    # up with the rows, which have four values there; and those before them, which are read, would do so in any case.
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle, restval="")
            names = reader.fieldnames or []
            missing = [name for name in REQUIRED if name not in names]
            if missing:
                raise ScansynthError(f"{path}: lacks the column(s) {', '.join(missing)}; it has {', '.join(names)}")
            return list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ScansynthError(f"{path}: not readable as CSV in UTF-8: {error}") from None


def _label(row: dict[str, str], path: Path, dataset: Dataset) -> Label:
    where = f"{path}, image {row['Image Index']}"
    findings = tuple(finding.strip() for finding in row["Finding Labels"].split("|") if finding.strip())
    for finding in findings:
        _declared(finding, dataset.findings, "finding", where)
    view = row["View Position"].strip()
    if view:
        _declared(view, dataset.views, "view", where)
    if not row["Patient ID"].strip():
        raise ScansynthError(f"{where}: Patient ID is empty; without it images cannot be split by patient")
    return Label(
        patient=patients.pseudonym(row["Patient ID"], dataset.title),
        findings=findings,
        view=view,
        sex=patients.sex(next((row[name] for name in SEX if name in row), "")),
        age=patients.years(row.get("Patient Age", "")),
    )


def _declared(value: str, allowed: tuple[str, ...], kind: str, where: str) -> None:
    if value not in allowed:
        raise ScansynthError(
            f"{where}: the {kind} {value!r} is not among the data set's: {', '.join(allowed)}. "
            f"If it is right, add it to {kind}s in config/datasets"
        )
