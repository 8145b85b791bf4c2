"""Make an image store of a data set: decode, normalise, split by patient, and say what was left out."""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
from tqdm import tqdm

from scansynth import cores, stage
from scansynth.acquire import inventory
from scansynth.config import Images
from scansynth.errors import ScansynthError
from scansynth.files import atomic, read_json, sha256, write_json
from scansynth.prepare import manifest
from scansynth.prepare.image import Result, read_images
from scansynth.prepare.layout import Item, Listing, read_listing
from scansynth.prepare.split import assign
from scansynth.store import COLUMNS

NAMED = 5  # quarantined files that an error names


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage from the command line."""
    stage.run("prepare", prepare, inputs=("source", "inventory"), outputs=("pixels", "table", "manifest"), argv=argv)


def prepare(job: stage.Job, workers: int | None = None) -> None:
    """Make the store's array, table and manifest (``scansynth.store``), the same for any number of workers.

    Raises:
        ScansynthError: if the inventory is not the one acquired, if the layout is not as expected, if too many files
            are unreadable, or if a worker process died.
    """
    dataset, images = job.settings.dataset, job.settings.images
    root = job.inputs["source"].parent / "files"
    source, entries = _acquired(job.inputs["source"], job.inputs["inventory"])
    listing = read_listing(root, entries, dataset)

    rows: list[dict[str, str]] = []
    pixel_hashes: list[str] = []
    quarantined = [_quarantine(path, f"no row in {listing.table}") for path in listing.unlabelled]
    upscaled = 0
    with atomic(job.outputs["pixels"]) as partial, partial.open("wb") as array:
        shape = (1, images.size, images.size)
        _write_header(array, (0, *shape))
        for result in _results(root, listing, images, workers or cores.granted()):
            if result.reason:
                quarantined.append(_quarantine(result.item.source, result.reason))
                continue
            pixels = result.pixels.tobytes()
            array.write(pixels)
            rows.append(_row(result.item, images))
            pixel_hashes.append(hashlib.sha256(pixels).hexdigest())
            upscaled += result.upscaled
        quarantined.sort(key=lambda entry: entry["source"])
        _check_quarantine(root, quarantined, len(rows), images.max_quarantined)
        array.seek(0)
        _write_header(array, (len(rows), *shape))

    _write_table(job.outputs["table"], rows)
    made = manifest.build(
        dataset=dataset,
        images=images,
        source=source,
        listing=listing,
        rows=rows,
        pixel_hashes=pixel_hashes,
        quarantined=quarantined,
        upscaled=upscaled,
    )
    write_json(job.outputs["manifest"], made)
    job.facts |= {key: made[key] for key in ("images", "patients", "quarantined_count", "rows_without_file")}


def _acquired(source: Path, listed: Path) -> tuple[dict[str, Any], list[inventory.Entry]]:
    facts = read_json(source)
    if sha256(listed) != facts["inventory_sha256"]:
        raise ScansynthError(f"{listed}: not the inventory that {source} speaks of: acquire the data set again")
    return facts, inventory.read(listed)


def _results(root: Path, listing: Listing, images: Images, workers: int) -> Iterator[Result]:
    results = read_images(root, listing.items, images.size, images.fit, workers)
    done = 0
    with tqdm(total=len(listing.items), desc="prepare", unit="image") as bar:
        try:
            for result in results:
                yield result
                done += 1
                bar.update()
        except BrokenProcessPool:
            near = listing.items[done].source
            raise ScansynthError(
                f"a worker process died at {root / near} or soon after: memory ran out, or a decoder crashed. "
                "Free memory, or move that file away and acquire the data set again"
            ) from None


def _write_header(array: BinaryIO, shape: tuple[int, ...]) -> None:
    """Start an .npy file. NumPy leaves room for the first axis to grow, so that the final header fits over the first.

    The file is written as a file, not as a memory map: there, a full disk would kill the process without an error.
    """
    fields = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(array, fields)


def _row(item: Item, images: Images) -> dict[str, str]:
    label = item.label
    return {
        "id": PurePosixPath(item.source).stem,
        "patient": label.patient,
        "split": assign(label.patient, images),
        "findings": "|".join(label.findings),
        "view": label.view,
        "sex": label.sex,
        "age": label.age,
        "source": item.source,
        "sha256": item.sha256,
    }


def _write_table(path: Path, rows: Iterable[dict[str, str]]) -> None:
    with atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _quarantine(source: str, reason: str) -> dict[str, str]:
    return {"source": source, "reason": reason}


def _check_quarantine(root: Path, quarantined: Sequence[dict[str, str]], good: int, most: float) -> None:
    total = good + len(quarantined)
    if good and len(quarantined) <= most * total:
        return
    counts = Counter(entry["reason"] for entry in quarantined)
    lines = [
        f"{root}: {len(quarantined)} of {total} files give no image; images.max_quarantined allows a share of {most:g}",
        *(f"  {count} x {reason}" for reason, count in counts.most_common()),
        "The first are:",
        *(f"  {entry['source']}: {entry['reason']}" for entry in quarantined[:NAMED]),
        "Mend or remove them and acquire the data set again"
        + (", or raise images.max_quarantined in the experiment" if good else ""),
    ]
    raise ScansynthError("\n".join(lines))


if __name__ == "__main__":
    main()
