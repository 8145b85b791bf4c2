"""A last look for what identifies a patient, in everything that goes on from preparation."""

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

from scansynth.errors import ScansynthError

WORD = re.compile(r"[^\W_]+")


def check(identifiers: frozenset[str], table: str, manifest: dict[str, Any]) -> None:
    """Make sure that no identifier, as a whole word or several, is in what the table and the manifest took from files.

    A finding or a view is a label, also where a folder bears its name; and the reasons of the manifest are ours.

    Raises:
        ScansynthError: saying where, and not what was found.
    """
    labels = {_normal(label) for label in (*manifest["findings"], *manifest["views"])}
    wanted = {_normal(identifier) for identifier in identifiers} - labels - {""}
    if not wanted:
        return
    longest = max(len(words.split()) for words in wanted)
    for where, text in (*_cells(table), *_names(manifest)):
        if any(phrase in wanted for phrase in _phrases(text, longest)):
            raise ScansynthError(
                f"{where} would hold what identifies a patient in the source files (a name, a number, a date, a "
                "UID or a part of a path; which one is not repeated here). Nothing was written. If it is a label of "
                "your own (labels.csv), choose another word for it"
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
    for flag in manifest["flags"]:
        yield "the manifest's flags", flag
