"""The store's manifest: how its images were made, what they hold, and what was left out."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from scansynth.config import Dataset, Images
from scansynth.prepare.layout import Listing
from scansynth.prepare.normalize import PERCENTILES, RESIZED
from scansynth.prepare.split import SPLITS

Row = dict[str, str]


def build(
    *,
    dataset: Dataset,
    images: Images,
    source: dict[str, Any],
    listing: Listing,
    rows: Sequence[Row],
    pixel_hashes: Sequence[str],
    quarantined: Sequence[dict[str, str]],
    upscaled: int,
) -> dict[str, Any]:
    """The manifest. ``rows`` are the table's, ``pixel_hashes`` (of the normalised images) are in their order."""
    duplicates = find_duplicates(rows, pixel_hashes)
    return {
        "dataset": dataset.title,
        "origin": dataset.origin,
        "patients_are_real": source["patients_are_real"],
        "inventory_sha256": source["inventory_sha256"],
        "size": images.size,
        "channels": 1,
        "findings": list(dataset.findings),
        "no_finding": dataset.no_finding,
        "views": list(dataset.views),
        "images": len(rows),
        "patients": _patients(rows),
        "splits": {split: _counts([row for row in rows if row["split"] == split], dataset) for split in SPLITS},
        "split": {"by": "patient", **images.model_dump(include={*SPLITS, "split_seed"})},
        "fit": images.fit,
        "resized": RESIZED,
        "intensity": {
            "with_window_or_bit_depth": "its full range is 0 to 255",
            "without": f"percentiles {PERCENTILES[0]} to {PERCENTILES[1]} are 0 to 255",
        },
        "upscaled": upscaled,
        "table": listing.table,
        "labels": "from the table" if listing.table else "none: there is no table, so findings and views are unknown",
        "rows_without_file": listing.rows_without_file,
        "duplicates": duplicates,
        "duplicates_across_splits": sum(len(group["splits"]) > 1 for group in duplicates),
        "quarantined_count": len(quarantined),
        "quarantined": list(quarantined),
    }


def find_duplicates(rows: Sequence[Row], pixel_hashes: Sequence[str]) -> list[dict[str, Any]]:
    """Groups of images that are the same under different names: the file itself, or its pixels once normalised."""
    groups: dict[str, list[Row]] = {}
    for row, digest in zip(rows, pixel_hashes, strict=True):
        groups.setdefault(digest, []).append(row)
    return [
        {
            "sources": [row["source"] for row in group],
            "identical": "files" if len({row["sha256"] for row in group}) == 1 else "pixels",
            "patients": _patients(group),
            "splits": sorted({row["split"] for row in group}),
        }
        for group in groups.values()
        if len(group) > 1
    ]


def _counts(rows: Sequence[Row], dataset: Dataset) -> dict[str, Any]:
    return {
        "images": len(rows),
        "patients": _patients(rows),
        "findings": _tally(rows, lambda row: row["findings"].split("|"), dataset.findings),
        "views": _tally(rows, lambda row: [row["view"]], dataset.views),
    }


def _tally(rows: Sequence[Row], values: Callable[[Row], list[str]], names: Sequence[str]) -> dict[str, int]:
    counter = Counter(value for row in rows for value in values(row))
    return {name: counter[name] for name in names}


def _patients(rows: Sequence[Row]) -> int:
    return len({row["patient"] for row in rows})
