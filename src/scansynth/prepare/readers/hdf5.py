"""Patches in HDF5 files, as PatchCamelyon has them: ``x`` (n, height, width, 3) and ``y`` (n, 1, 1, 1), uint8.

A file is never read whole nor unpacked: of its compressed form each process makes an index of places to start from, by
going through it once.
"""

import csv
import io
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
from indexed_gzip import IndexedGzipFile

from scansynth.config import Settings
from scansynth.prepare import patients
from scansynth.prepare.decoded import Image, RejectedError, Rejection
from scansynth.prepare.items import File, Item, by_role
from scansynth.prepare.readers import packed
from scansynth.prepare.readers.file import read_file

PATCHES, LABELS, SLIDES = "patches", "labels", "slides"  # what an item's files are in it
SPACING = 16 * 2**20  # bytes between two places to start from; each takes 32 KiB of memory


def read(root: Path, item: Item, settings: Settings) -> Iterator[Image | Rejection]:
    """The patches ``item.part`` (from, to), each with its label and its slide where these are known.

    Raises:
        RejectedError: if a file changed since it was acquired, or is damaged.
    """
    files, (start, stop) = by_role(item), item.part
    names = packed.absent_and_present(settings.dataset)
    key = patients.pseudonym_key(settings.dataset, root.parent)
    patches = rows(root, files[PATCHES], "x", start, stop)
    present = labels(root, files[LABELS])[start:stop] if LABELS in files else None
    slide = slides(root, files[SLIDES])[start:stop] if SLIDES in files else None
    for i, pixels in enumerate(patches):
        findings = () if present is None else (names[present[i]],)
        unit = f"{item.label.split} {start + i}" if slide is None else slide[i]
        yield packed.image(pixels, f"_{start + i:06d}", settings.images, patients.pseudonym(unit, key), findings)


def shape(root: Path, file: File, name: str) -> tuple[int, ...]:
    """The shape of the array ``name`` in a file.

    Raises:
        RejectedError: if the file is damaged, or has no such array of 8 bits.
    """
    packed.check(root, file)
    return _array(root, file, name).shape


def rows(root: Path, file: File, name: str, start: int, stop: int) -> np.ndarray:
    """A range of the array ``name`` in a file, along its first axis.

    Raises:
        RejectedError: as ``shape`` does.
    """
    packed.check(root, file)
    array = _array(root, file, name)
    try:
        return array[start:stop]
    except Exception as error:  # of h5py, or of the decompression below it
        _array.cache_clear()  # which an error may have left in the middle of something
        raise RejectedError("damaged: its HDF5 or its compression cannot be read") from error


@lru_cache(maxsize=3)
def labels(root: Path, file: File) -> np.ndarray:
    """Whether there is tumour in each patch's centre: 0 or 1, shape (patches,).

    Raises:
        RejectedError: if the file is damaged, or holds other values.
    """
    values = rows(root, file, "y", 0, shape(root, file, "y")[0]).reshape(-1)
    if not np.isin(values, (0, 1)).all():
        raise RejectedError("it holds labels other than 0 and 1")
    return values


@lru_cache(maxsize=3)
def slides(root: Path, file: File) -> list[str]:
    """The slide that each patch is from: the column ``wsi`` of a table with a row a patch, in their order.

    Raises:
        RejectedError: if the table changed since it was acquired, or does not say so of each patch.
    """
    try:
        table = csv.DictReader(io.StringIO(read_file(root, file).decode("utf-8-sig"), newline=""), restval="")
        found = [row["wsi"] for row in table]
    except (KeyError, csv.Error, UnicodeDecodeError):
        raise RejectedError("not a table with a column wsi") from None
    if not all(found):
        raise RejectedError("wsi is empty in some of its rows")
    return found


@lru_cache(maxsize=6)  # a worker process reads many ranges: x and y of three splits
def _array(root: Path, file: File, name: str) -> h5py.Dataset:
    try:
        array = h5py.File(_unpacked(root / file.path), "r")[name]
    except Exception as error:  # of h5py, or of the decompression below it
        raise RejectedError(f"damaged, or not an HDF5 file with the key {name}") from error
    if not isinstance(array, h5py.Dataset) or array.dtype != np.uint8 or array.ndim != 4:
        raise RejectedError(f"its {name} is not an array of 8 bits and four axes")
    return array


def _unpacked(path: Path) -> Path | IndexedGzipFile:
    if path.suffix.lower() != ".gz":
        return path
    file = IndexedGzipFile(path, spacing=SPACING)
    file.build_full_index()
    return file
