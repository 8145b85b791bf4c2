"""Tables that say what is on the images: upstream's own, or a ``labels.csv`` that the user writes."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from scansynth.acquire.inventory import Entry
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.files import sha256
from scansynth.prepare import patients
from scansynth.prepare.items import Label
from scansynth.prepare.split import SPLITS

Row = dict[str, str]

LABELS = "labels.csv"


def read_rows(root: Path, entry: Entry, required: Sequence[str]) -> list[Row]:
    """The rows of a table of the inventory, in its order; values that a short row lacks are empty.

    Raises:
        ScansynthError: if the table changed since it was acquired, is not readable, or lacks a required column.
    """
    path = root / entry.path
    reader = csv.DictReader(io.StringIO(read_text(root, entry), newline=""), restval="")
    try:
        names = reader.fieldnames or []
        missing = [name for name in required if name not in names]
        if missing:
            raise ScansynthError(f"{path}: lacks the column(s) {', '.join(missing)}; it has {', '.join(names)}")
        return list(reader)
    except csv.Error as error:
        raise ScansynthError(f"{path}: not readable as CSV: {error}") from None


def read_text(root: Path, entry: Entry) -> str:
    """A text file of the inventory, in UTF-8 with or without a byte order mark.

    Raises:
        ScansynthError: if it changed since it was acquired, or is not UTF-8.
    """
    path = root / entry.path
    if not path.is_file() or sha256(path) != entry.sha256:
        raise ScansynthError(f"{path}: changed since it was acquired: acquire the data set again")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ScansynthError(f"{path}: not readable as text in UTF-8: {error}") from None


def findings(joined: str, dataset: Dataset, where: str) -> tuple[str, ...]:
    """The findings of a cell that joins them by ``|``.

    Raises:
        ScansynthError: if the data set declares findings, and these are not among them.
    """
    found = tuple(finding.strip() for finding in joined.split("|") if finding.strip())
    for finding in found:
        _declared(finding, dataset.findings, "finding", where)
    return found


def view(value: str, dataset: Dataset, where: str) -> str:
    """The view of a cell; empty where it is not known.

    Raises:
        ScansynthError: if the data set declares views, and this is not among them.
    """
    if value.strip():
        _declared(value.strip(), dataset.views, "view", where)
    return value.strip()


def read_labels(root: Path, entries: Sequence[Entry], dataset: Dataset, key: bytes) -> dict[str, Label] | None:
    """Labels by path from the user's ``labels.csv``, None where there is none.

    Its columns: ``file`` (a path, or a folder that stands for all that is in it), and any of ``patient``, ``findings``
    (joined by ``|``), ``view``, ``sex``, ``age``, ``split`` (train, val or test).

    Raises:
        ScansynthError: if the table is not readable, names a file twice, holds what the data set does not declare, or
            has an empty ``patient`` while images are to be split by it.
    """
    entry = _user_table(entries)
    if entry is None:
        return None
    labels: dict[str, Label] = {}
    for number, row in enumerate(read_rows(root, entry, ("file",)), 1):
        file = row["file"].strip().strip("/")
        where = f"{root / LABELS}, row {number}"  # not the file: its name may be a patient's, and errors are logged
        if file in labels:
            raise ScansynthError(f"{where}: its file has another row: keep one")
        labels[file] = _label(row, file, dataset, key, where)
    return labels


def patients_of(root: Path, entries: Sequence[Entry]) -> set[str]:
    """The patients as the user's ``labels.csv`` names them; empty where there is none."""
    entry = _user_table(entries)
    return {row.get("patient", "") for row in read_rows(root, entry, ("file",))} if entry else set()


def _user_table(entries: Sequence[Entry]) -> Entry | None:
    return next((entry for entry in entries if entry.path == LABELS), None)


def label_of(path: str, labels: dict[str, Label]) -> Label | None:
    """The label of a file: its own row's, else that of the nearest folder with one."""
    parts = path.split("/")
    return next((labels[p] for n in range(len(parts), 0, -1) if (p := "/".join(parts[:n])) in labels), None)


def known_labels(root: Path, files: Sequence[Entry], labels: dict[str, Label] | None) -> dict[str, Label]:
    """What ``labels.csv`` says of each file that it has a row for, by path; empty labels where there is no table.

    Raises:
        ScansynthError: if no row has a file.
    """
    if labels is None:
        return {file.path: Label(patient="") for file in files}
    known = {file.path: label for file in files if (label := label_of(file.path, labels))}
    if not known:
        raise ScansynthError(
            f"{root / LABELS}: none of its {len(labels)} rows has a file. Write paths as they are below {root}"
        )
    return known


def rows_without_file(files: Sequence[Entry], labels: dict[str, Label] | None) -> int:
    """Rows of ``labels.csv`` for files, or for folders, that are not there."""
    there = {str(path) for file in files for path in (PurePosixPath(file.path), *PurePosixPath(file.path).parents)}
    return len((labels or {}).keys() - there)


def unknown_patient(dataset: Dataset, root: Path) -> ScansynthError:
    """What to tell a user whose images do not say whom they show."""
    return ScansynthError(
        f"{root}: who is on which image is not known, so that images of one {dataset.split_by} cannot be kept in one "
        f"split. Write {LABELS} into that folder, with the columns file and patient (see config/README.md). If "
        "every study, or every image, is of somebody else, say split_by: study (DICOM only) or image in the data set's "
        "file in config/datasets"
    )


def _label(row: Row, file: str, dataset: Dataset, key: bytes, where: str) -> Label:
    patient = row.get("patient", "").strip()
    if not patient and "patient" in row and dataset.split_by != "image":
        raise ScansynthError(f"{where}: patient is empty; without it images cannot be split by {dataset.split_by}")
    split = row.get("split", "").strip()
    if split and split not in SPLITS:
        raise ScansynthError(f"{where}: the split is {split!r}; it has to be {', '.join(SPLITS)} or empty")
    return Label(
        patient=patients.pseudonym(patient, key) if patient else "",
        findings=findings(row.get("findings", ""), dataset, where),
        view=view(row.get("view", ""), dataset, where),
        sex=patients.sex(row.get("sex", "")),
        age=patients.years(row.get("age", ""), patients.TOP if dataset.private else patients.OLDEST),
        split=split,
    )


def _declared(value: str, allowed: tuple[str, ...], kind: str, where: str) -> None:
    if allowed and value not in allowed:
        raise ScansynthError(
            f"{where}: the {kind} {value!r} is not among the data set's: {', '.join(allowed)}. "
            f"If it is right, add it to {kind}s in config/datasets"
        )
