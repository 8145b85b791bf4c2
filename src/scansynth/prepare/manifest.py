"""The store's manifest: how its images were made, what they hold, and what was left out."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from scansynth.conditions import age_range
from scansynth.config import Settings
from scansynth.prepare.items import Listing
from scansynth.prepare.normalize import PERCENTILES, RESIZED
from scansynth.prepare.shard import Shard
from scansynth.prepare.split import SPLITS

Row = dict[str, str]


def build(
    settings: Settings,
    source: dict[str, Any],
    listing: Listing,
    whole: Shard,
    quarantined: Sequence[dict[str, str]],
) -> dict[str, Any]:
    """The manifest. ``source`` is what acquisition said, ``whole`` all shards together."""
    dataset, images, rows = settings.dataset, settings.images, whole.rows
    findings = vocabulary(dataset.findings, (name for row in rows for name in row["findings"].split("|")))
    views = vocabulary(dataset.views, (row["view"] for row in rows))
    duplicates = find_duplicates(rows, whole.hashes)
    readers = {item.reader for item in listing.items}
    return {
        "dataset": dataset.title,
        "origin": source["origin"],
        "patients_are_real": source["patients_are_real"],
        "inventory_sha256": source["inventory_sha256"],
        "size": images.size,
        "channels": _channel_names(images.channels),
        "findings": findings,
        "no_finding": dataset.no_finding,
        "views": views,
        "sexes": vocabulary((), (row["sex"] for row in rows)),
        "ages": age_range(rows),
        "images": len(rows),
        "masks": whole.masks,
        "patients": _patients(rows),
        "splits": {split: _counts([row for row in rows if row["split"] == split], findings, views) for split in SPLITS},
        "split": {
            "by": dataset.split_by,
            "official": images.split == "official" and any(item.label.split for item in listing.items),
            **images.model_dump(include={*SPLITS, "split_seed"}),
        },
        "fit": images.fit,
        "pixel_mm": _spacings(rows),
        "resized": RESIZED,
        "slices": settings.slices.model_dump(mode="json") if "nifti" in readers else None,
        "patches": settings.patches.model_dump(mode="json") if images.channels == "rgb" else None,
        "intensity": {
            "with_window_or_bit_depth": "its full range is 0 to 255",
            "without": f"percentiles {PERCENTILES[0]} to {PERCENTILES[1]} are 0 to 255",
            "volumes": "0 is the volume's lower percentile, 255 its foreground's upper one, a contrast at a time",
            "dicom_series_without": "the same percentiles of the whole series; of CT, -1000 to 1000 HU",
            "window": images.window,
        },
        "upscaled": whole.upscaled,
        "tables": list(listing.tables),
        "labels": "from the tables and files" if any(row["findings"] for row in rows) else "none are known",
        "rows_without_file": listing.rows_without_file,
        "flags": listing.flags,
        "notes": list(listing.notes),
        "duplicates": duplicates,
        "duplicates_across_splits": sum(len(group["splits"]) > 1 for group in duplicates),
        "quarantined_count": len(quarantined),
        "quarantined": list(quarantined),
    }


def vocabulary(declared: Sequence[str], found: Any) -> list[str]:
    """The labels that an image can have: those declared, else those found, sorted."""
    return list(declared) or sorted({name for name in found if name})


def find_duplicates(rows: Sequence[Row], pixel_hashes: Sequence[str]) -> list[dict[str, Any]]:
    """Groups of images that are the same under different names: the file itself, or its pixels once normalised."""
    groups: dict[str, list[Row]] = {}
    for row, digest in zip(rows, pixel_hashes, strict=True):
        groups.setdefault(digest, []).append(row)
    return [
        {
            "ids": [row["id"] for row in group],
            # Parts of one file have its hash and its name.
            "identical": "files"
            if len({row["sha256"] for row in group}) == 1 < len({row["source"] for row in group})
            else "pixels",
            "patients": _patients(group),
            "splits": sorted({row["split"] for row in group}),
        }
        for group in groups.values()
        if len(group) > 1
    ]


def _channel_names(channels: str | tuple[str, ...]) -> list[str]:
    if isinstance(channels, tuple):
        return list(channels)
    return ["red", "green", "blue"] if channels == "rgb" else ["gray"]


def _spacings(rows: Sequence[Row]) -> dict[str, float | int] | None:
    """The least, middle and largest millimetres a pixel, None where no file says."""
    known = sorted(float(row["spacing"]) for row in rows if row["spacing"])
    if not known:
        return None
    return {"least": known[0], "median": known[len(known) // 2], "most": known[-1], "unknown": len(rows) - len(known)}


def _counts(rows: Sequence[Row], findings: Sequence[str], views: Sequence[str]) -> dict[str, Any]:
    return {
        "images": len(rows),
        "patients": _patients(rows),
        "findings": _tally(rows, lambda row: row["findings"].split("|"), findings),
        "views": _tally(rows, lambda row: [row["view"]], views),
    }


def _tally(rows: Sequence[Row], values: Callable[[Row], list[str]], names: Sequence[str]) -> dict[str, int]:
    counter = Counter(value for row in rows for value in values(row))
    return {name: counter[name] for name in names}


def _patients(rows: Sequence[Row]) -> int:
    return len({row["patient"] for row in rows})
