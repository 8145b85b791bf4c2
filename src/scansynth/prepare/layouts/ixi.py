"""The IXI layout: T1, T2 and PD volumes of healthy subjects, with a table of sex and age if there is one."""

import re
from collections.abc import Sequence
from pathlib import Path

from scansynth.acquire.inventory import Entry
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare import patients, tables
from scansynth.prepare.items import File, Item, Label, Listing

NAME = re.compile(r"(IXI\d+-[^-/]+-\d+)-(T1|T2|PD)\.nii(\.gz)?", re.IGNORECASE)
EXAMPLE = "IXI002-Guys-0828-T1.nii.gz"
# The columns of subject, sex and age: in upstream's IXI.xls, saved as CSV, and in participants.csv.
COLUMNS = {"ixi.csv": ("IXI_ID", "SEX_ID (1=m, 2=f)", "AGE"), "participants.csv": ("MRID", "Sex", "Age")}
SEXES = {"1": "M", "2": "F"}
NOTE = (
    "IXI's T1 images are not registered to the T2 and PD images of the same subject. Where they are channels of one "
    "image, slices.registration says what was done"
)


def read_listing(root: Path, entries: Sequence[Entry], dataset: Dataset, key: bytes) -> Listing:
    """An item a subject, with the contrasts as roles; files of other names are rejected.

    Raises:
        ScansynthError: if a table is not readable or lacks a column, or if no file is named as IXI names them.
    """
    sheets = [entry for entry in entries if entry.path.lower() in COLUMNS]
    known: dict[str, set[tuple[str, str]]] = {}
    for sheet in sheets:
        for subject, sex, age in _rows(root, sheet):
            known.setdefault(subject, set()).add((sex, age))
    rejected: dict[str, str] = {}
    scans: dict[str, dict[str, File]] = {}
    for entry in (entry for entry in entries if entry not in sheets):
        match = NAME.fullmatch(entry.path.rsplit("/", 1)[-1])
        if match is None:
            rejected[entry.path] = f"not a name of IXI's T1, T2 or PD images, such as {EXAMPLE}"
            continue
        contrasts, role = scans.setdefault(match[1], {}), match[2].lower()
        if role in contrasts:
            rejected[entry.path] = "there is another file of this subject and contrast"
        else:
            contrasts[role] = File.of(entry, role)
    if not scans:
        raise ScansynthError(f"{root}: no file is named as IXI names them, such as {EXAMPLE}")
    return Listing(
        [_item(scan, tuple(scans[scan].values()), known, dataset, key) for scan in sorted(scans)],
        rejected,
        tables=tuple(sheet.path for sheet in sheets),
        rows_without_file=len(known.keys() - {_subject(scan) for scan in scans}),
        notes=(NOTE,),
    )


def _item(
    scan: str, files: tuple[File, ...], known: dict[str, set[tuple[str, str]]], dataset: Dataset, key: bytes
) -> Item:
    rows = known.get(_subject(scan), set())
    sex, age = next(iter(rows)) if len(rows) == 1 else ("", "")  # some subjects have rows that contradict each other
    label = Label(patients.pseudonym(_subject(scan), key), sex=sex, age=age)
    return Item(files[0].sha256[:12] if dataset.private else scan, "nifti", files, label)


def _subject(scan: str) -> str:
    return scan.split("-")[0].upper()


def _rows(root: Path, sheet: Entry) -> list[tuple[str, str, str]]:
    """Subject, sex and age of each row."""
    columns = COLUMNS[sheet.path.lower()]
    found = []
    for row in tables.read_rows(root, sheet, columns):
        subject, sex, age = (row[column].strip() for column in columns)
        subject = f"IXI{int(subject):03d}" if subject.isdigit() else _subject(subject)
        found.append((subject, patients.sex(SEXES.get(sex, sex)), patients.years(age.split(".")[0])))
    return found
