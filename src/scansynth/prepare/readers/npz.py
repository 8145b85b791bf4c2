"""Images in MedMNIST's files: a zip of the arrays ``{train,val,test}_images`` and ``_labels``.

Images are read as a stream, never whole: a compressed array has no other way to its middle than through its start.
"""

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path

import numpy as np

from scansynth.config import Settings
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare import patients
from scansynth.prepare.decoded import Image, RejectedError, Rejection
from scansynth.prepare.items import File, Item
from scansynth.prepare.readers import packed

DAMAGED = "damaged, or not one of MedMNIST's files"


@dataclass(frozen=True)
class Stream:
    """An array inside a zip."""

    file: zipfile.ZipExtFile
    start: int  # byte of its first value
    shape: tuple[int, ...]

    def rows(self, start: int, stop: int) -> np.ndarray:
        """A range along the first axis. Going on is cheap; going back begins anew."""
        row = prod(self.shape[1:])
        self.file.seek(self.start + start * row)
        content = self.file.read((stop - start) * row)
        return np.frombuffer(content, np.uint8).reshape(stop - start, *self.shape[1:])


def read(root: Path, item: Item, settings: Settings) -> Iterator[Image | Rejection]:
    """The images ``item.part`` (from, to) of the split that the role of the item's file is, each with its label.

    Nobody is known, so each image is its own patient.

    Raises:
        RejectedError: if the file changed since it was acquired, or is damaged.
    """
    file, (start, stop) = item.files[0], item.part
    key = patients.pseudonym_key(settings.dataset, root.parent)
    packed.check(root, file)
    try:
        images = stream(root, file).rows(start, stop)
    except Exception as error:  # zip files can be damaged in many ways
        stream.cache_clear()
        raise RejectedError(DAMAGED) from error
    found = findings(labels(root, file)[start:stop], settings.dataset)
    for i, pixels in enumerate(images, start):
        patient = patients.pseudonym(f"{file.role} {i}", key)
        yield packed.image(pixels, f"_{i:06d}", settings.images, patient, found[i - start])


@lru_cache(maxsize=3)  # a worker process reads many ranges
def stream(root: Path, file: File) -> Stream:
    """The images of the split that is the file's role.

    Raises:
        RejectedError: if the file is damaged, or the array is not there or not of 8 bits: gray or in colour, (images,
            height, width) or (images, height, width, 3).
    """
    try:
        with zipfile.ZipFile(root / file.path) as arrays:  # what was opened of it stays open
            array = arrays.open(f"{file.role}_images.npy")
        np.lib.format.read_magic(array)
        shape, by_column, dtype = np.lib.format.read_array_header_1_0(array)
    except Exception as error:  # zip files can be damaged in many ways
        raise RejectedError(DAMAGED) from error
    if by_column or dtype != np.uint8 or not (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)):
        raise RejectedError(f"its {file.role}_images are not of 8 bits, gray or in colour")
    return Stream(array, array.tell(), shape)


@lru_cache(maxsize=3)
def labels(root: Path, file: File) -> np.ndarray:
    """The labels of the split that is the file's role, shape (images, columns).

    Raises:
        RejectedError: if the file is damaged.
    """
    try:
        with np.load(root / file.path, allow_pickle=False) as arrays:
            values = arrays[f"{file.role}_labels"]
        return values.reshape(len(values), -1).astype(np.int64)
    except Exception as error:  # zip files can be damaged in many ways
        raise RejectedError(DAMAGED) from error


def findings(rows: np.ndarray, dataset: Dataset) -> Sequence[tuple[str, ...]]:
    """What rows of labels (images, columns) say.

    One column holds the number of a class: the place of its name among ``dataset.findings``. Of several, each says
    whether one of ``dataset.findings`` is there, in their order, ``dataset.no_finding`` left out.

    Raises:
        ScansynthError: if the data set declares another number of findings.
    """
    several = rows.shape[1] > 1
    names = [name for name in dataset.findings if not several or name != dataset.no_finding]
    need = rows.shape[1] if several else int(rows.max(initial=0)) + 1
    if len(names) != need if several else len(names) < need:
        raise ScansynthError(
            f"{dataset.title}: the file has labels for {need} findings, and the data set's file in config/datasets "
            f"declares {len(names)}: declare them there, in upstream's order"
        )
    if not several:
        return [(names[number],) for number in rows[:, 0]]
    nothing = (dataset.no_finding,) if dataset.no_finding else ()
    return [tuple(name for name, there in zip(names, row, strict=True) if there) or nothing for row in rows]
