"""What is to be prepared: items, each a file or several files that give one or several images together.

The listing stage makes them once for a data set; the shards share them out. They hold the paths of the user's folder,
so they stay beside the raw data (``data/raw``), and only an item's name and label go on from here.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scansynth.acquire.inventory import Entry
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.files import read_json, write_text


@dataclass(frozen=True)
class Label:
    """What is known of an item beside its pixels: columns of the store's table."""

    patient: str  # the pseudonym of whom (or of the slide that) images have to stay together for
    findings: tuple[str, ...] = ()
    view: str = ""
    sex: str = ""
    age: str = ""
    split: str = ""  # upstream's own, where there is one: train, val or test


@dataclass(frozen=True)
class File:
    """A file of the inventory, and what it is in its item: a contrast, ``mask``, or nothing where order says it all."""

    path: str  # relative to the data set's folder
    bytes: int
    sha256: str
    role: str = ""

    @classmethod
    def of(cls, entry: Entry, role: str = "") -> "File":
        """A file of the inventory."""
        return cls(entry.path, entry.bytes, entry.sha256, role)


@dataclass(frozen=True)
class Item:
    """A unit of work: ``reader`` (a module of ``scansynth.prepare``) makes images of ``files``."""

    name: str  # begins the ids of its images, so it is unique and, for a private data set, says nothing of the patient
    reader: str
    files: tuple[File, ...]
    label: Label
    part: tuple[int, int] | None = None  # the part of a large file that this item is: from, to


@dataclass(frozen=True)
class Listing:
    """What a layout makes of a folder."""

    items: list[Item]  # in the order of the store
    rejected: dict[str, str] = field(default_factory=dict)  # path -> why it is in no item
    tables: tuple[str, ...] = ()  # paths of the tables that the labels are from; empty: images have none
    rows_without_file: int = 0
    identifiers: frozenset[str] = frozenset()  # words of a private data set that must not be in anything written
    flags: dict[str, int] = field(default_factory=dict)  # files that a reader should know of: what -> how many
    notes: tuple[str, ...] = ()  # what a reader of the results has to know


def write_listing(path: Path, listing: Listing) -> None:
    """Write a listing as JSON, atomically; identifiers and rejected files are sorted."""
    values = asdict(listing) | {"identifiers": sorted(listing.identifiers)}
    values["rejected"] = dict(sorted(listing.rejected.items()))
    # A line an item, so that a person can read a listing of a hundred thousand.
    items = ",\n".join(json.dumps(item, ensure_ascii=False) for item in values.pop("items"))
    head = json.dumps(values, ensure_ascii=False, indent=1)
    write_text(path, f'{{"listing": {head},\n"items": [\n{items}\n]}}\n')


def read_listing(path: Path) -> Listing:
    """Read a listing."""
    values = read_json(path)
    head = values["listing"]
    return Listing(
        items=[_item(item) for item in values["items"]],
        rejected=head["rejected"],
        tables=tuple(head["tables"]),
        rows_without_file=head["rows_without_file"],
        identifiers=frozenset(head["identifiers"]),
        flags=head["flags"],
        notes=tuple(head["notes"]),
    )


def shard(items: Sequence[Item], number: int, count: int) -> Sequence[Item]:
    """Part ``number`` (from 1) of ``count`` of the items: a run of them, so that all shards in a row are all items."""
    return items[len(items) * (number - 1) // count : len(items) * number // count]


@dataclass
class Names:
    """The names of a listing's items, each given once."""

    root: Path
    dataset: Dataset
    paths: dict[str, str] = field(default_factory=dict)  # of the file that each name was given for
    same: Counter[str] = field(default_factory=Counter)

    def give(self, file: Entry, called: str) -> str:
        """A name for the item of ``file``: ``called`` (a path), or where that may tell whose it is the file's hash.

        Raises:
            ScansynthError: if another item is called so.
        """
        if self.dataset.private:
            name = file.sha256[:12]
            self.same[name] += 1
            name = f"{name}_{self.same[name]}" if self.same[name] > 1 else name  # the same file again
        else:
            name = called.replace("/", "_")
        if name in self.paths:
            twins = f"{self.paths[name]} and {file.path}"
            raise ScansynthError(f"{self.root}: {twins} would both be called {name}: keep or rename one")
        self.paths[name] = file.path
        return name


def source_name(path: str, sha256: str, dataset: Dataset) -> str:
    """What a file is called in all that is written: its path, or of a private data set the start of its hash."""
    return f"sha256:{sha256[:16]}" if dataset.private else path


def _item(values: dict[str, Any]) -> Item:
    files = tuple(File(**file) for file in values["files"])
    label = Label(**values["label"] | {"findings": tuple(values["label"]["findings"])})
    part = tuple(values["part"]) if values["part"] else None
    return Item(values["name"], values["reader"], files, label, part)


def by_role(item: Item) -> dict[str, File]:
    """The item's files by what they are in it."""
    return {file.role: file for file in item.files}


def parts(total: int, size: int) -> Iterator[tuple[int, int]]:
    """0 to ``total`` cut into runs of ``size``, the last one shorter."""
    return ((start, min(start + size, total)) for start in range(0, total, size))
