"""The image store: memory-mapped arrays of images and masks, a table with a row an image, a manifest.

``<dataset>_<size>.npy``   uint8, shape (images, channels, height, width), values 0 to 255
``<dataset>_<size>_masks.npy``  uint8, shape (masks, height, width); an image's row says which is its
``<dataset>_<size>.csv``   a row an image, in the array's order: columns ``COLUMNS``
``<dataset>_<size>.json``  the manifest: how the images were made, the labels that they may have, what was quarantined
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scansynth.conditions import vocabulary
from scansynth.errors import ScansynthError
from scansynth.files import read_json, write_text

COLUMNS = ("id", "patient", "split", "findings", "view", "sex", "age", "spacing", "mask", "source", "sha256")


@dataclass(frozen=True)
class Store:
    """An image store, opened for reading."""

    pixels: np.ndarray  # uint8, (images, channels, height, width), memory-mapped
    table: list[dict[str, str]]
    manifest: dict[str, Any]

    def indices(self, split: str) -> np.ndarray:
        """Positions of the images of a split (train, val or test), ascending."""
        return np.array([i for i, row in enumerate(self.table) if row["split"] == split], dtype=np.int64)

    @property
    def conditions(self) -> np.ndarray:
        """What each image shows, float32 of shape (images, conditions): see ``Vocabulary.encode``."""
        return vocabulary(self.manifest).encode(self.table)


def open_store(path: Path) -> Store:
    """Open the store whose array is at ``path``; its table and manifest lie beside it.

    Raises:
        ScansynthError: if the three do not belong together.
    """
    pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    table = read_table(path.with_suffix(".csv"))
    if len(table) != len(pixels):
        raise ScansynthError(
            f"{path}: {len(pixels)} images, but {len(table)} rows in {path.with_suffix('.csv')}: make both anew"
        )
    return Store(pixels, table, read_json(path.with_suffix(".json")))


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as a CSV file, atomically."""
    write_text(path, table_text(columns, rows))


def table_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def whose(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a result has to say of where its images come from."""
    note = {
        "phantom": "Computed phantoms, not patients.",
        "download": "Scans as their publisher gives them.",
        "supplied": "Scans that the user supplied.",
    }[manifest["origin"]]
    return {"title": manifest["dataset"], "phantom": manifest["origin"] == "phantom", "note": note}


def evenly(indices: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of ``indices``, evenly spaced among them."""
    count = min(most, len(indices))
    return indices[np.arange(count) * len(indices) // max(count, 1)]


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))
