"""The list of a data set's files, with sizes and hashes: ``inventory.csv``."""

import csv
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

from tqdm import tqdm

from scansynth import cores
from scansynth.files import atomic, sha256

HEADER = ("path", "bytes", "sha256")


@dataclass(frozen=True)
class Entry:
    """A file: its path relative to the data set's folder, its size in bytes, its SHA-256 in hexadecimal."""

    path: str
    bytes: int
    sha256: str


def take(root: Path, files: Sequence[Path]) -> list[Entry]:
    """Hash ``files``, which lie below ``root``, in their order."""

    def entry(file: Path) -> Entry:
        return Entry(file.relative_to(root).as_posix(), file.stat().st_size, sha256(file))

    # Threads, as hashing releases the interpreter's lock and mostly waits for the disk.
    with ThreadPoolExecutor(cores.granted()) as pool:
        return list(tqdm(pool.map(entry, files), total=len(files), desc="hash", unit="file"))


def write(path: Path, entries: Sequence[Entry]) -> None:
    """Write the list, atomically."""
    with atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(astuple(entry) for entry in entries)


def read(path: Path) -> list[Entry]:
    """Read the list, in its order."""
    with path.open(newline="", encoding="utf-8") as handle:
        return [Entry(row["path"], int(row["bytes"]), row["sha256"]) for row in csv.DictReader(handle)]
