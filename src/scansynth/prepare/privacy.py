"""A last look for what identifies a patient, in everything that goes on from preparation."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError

SHORTEST, SHORTEST_NUMBER = 4, 6  # letters and digits; shorter ones are in any text by chance
# Words that identify nobody, though a header or a path may hold nothing else.
GENERIC = re.compile(
    r"0+|abdomen|anon|anonymi[sz]ed|anonymous|axial|brain|chest|coronal|data|dicom|export|female|files?|frames?|head|images?|"
    r"lateral|left|male|none|normal|null|patients?|pelvis|right|sagittal|scans?|series|slices?|study|studies|subjects?|"
    r"test|thorax|train|unknown|views?|volumes?|x-?ray",
    re.IGNORECASE,
)
WORD = re.compile(r"[^\W_]+")


def telling(words: Iterable[str]) -> frozenset[str]:
    """Those of the words that may identify somebody if they are found elsewhere."""
    return frozenset(word.strip() for word in words if _telling(word.strip()))


def words_of(paths: Iterable[PurePosixPath], dataset: Dataset) -> frozenset[str]:
    """The telling names among the folders and files of a private data set; of another one none."""
    parts = {part for path in paths for part in path.parts} if dataset.private else set()
    return telling(parts - {*dataset.findings, *dataset.views})


def _telling(word: str) -> bool:
    letters = re.sub(r"[\W_]", "", word)
    long = len(letters) >= (SHORTEST_NUMBER if letters.isdecimal() else SHORTEST)
    return long and not GENERIC.fullmatch(word)


def check(identifiers: frozenset[str], dataset: Dataset, table: str, manifest: dict[str, Any]) -> None:
    """Make sure that no identifier, as a whole word or several, is in what the table and the manifest took from files.

    A declared finding or view is a label, also where a folder bears its name; the manifest's reasons are ours.

    Raises:
        ScansynthError: saying where, and not what was found.
    """
    labels = {_normal(label) for label in (*dataset.findings, *dataset.views)}
    wanted = {_normal(identifier) for identifier in identifiers} - labels - {""}
    if not wanted:
        return
    longest = max(len(words.split()) for words in wanted)
    for where, text in (*_cells(table), *_names(manifest)):
        if any(phrase in wanted for phrase in _phrases(text, longest)):
            raise ScansynthError(
                f"{where} would hold what identifies a patient in the source files (a name, a number, a date, a "
                "UID or a part of a path; which one is not repeated here). Nothing was written. If it is a label of "
                "your own, declare it: findings or views in the data set's file in config/datasets"
            )


def _normal(text: str) -> str:
    return " ".join(WORD.findall(text.casefold()))


def _phrases(text: str, longest: int) -> Iterator[str]:
    words = WORD.findall(text.casefold())
    for start in range(len(words)):
        for end in range(start + 1, min(start + longest, len(words)) + 1):
            yield " ".join(words[start:end])


def _cells(table: str) -> Iterator[tuple[str, str]]:
    for number, row in enumerate(csv.DictReader(io.StringIO(table, newline=""))):
        for column, value in row.items():
            yield f"the table's column {column}, row {number}", value


def _names(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for group in manifest["duplicates"]:
        yield from (("the manifest's duplicates", name) for name in group["ids"])
    for entry in manifest["quarantined"]:
        yield "the manifest's quarantined", entry["source"]
    for key in ("flags", "tables"):
        yield from ((f"the manifest's {key}", name) for name in manifest[key])
