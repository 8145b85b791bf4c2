"""MedMNIST's layout: one file with all images and labels of the three splits."""

from collections.abc import Sequence
from pathlib import Path

from scansynth.acquire.inventory import Entry
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare.decoded import RejectedError
from scansynth.prepare.items import File, Item, Label, Listing, parts
from scansynth.prepare.readers import npz, packed
from scansynth.prepare.split import SPLITS

NOTE = "MedMNIST has no patient identifiers: that no patient is in two splits cannot be shown"


def read_listing(root: Path, entries: Sequence[Entry], dataset: Dataset, key: bytes) -> Listing:
    """Runs of images; their labels are read with them.

    Raises:
        ScansynthError: if there are several files, if the file is damaged, or if the data set declares other findings.
    """
    if len(entries) != 1:
        names = ", ".join(entry.path for entry in entries)
        raise ScansynthError(
            f"{root}: {len(entries)} files ({names}): keep the one that is meant, move away the others"
        )
    try:
        items = [item for split in SPLITS for item in _items(root, File.of(entries[0], split), dataset)]
    except RejectedError as rejected:
        raise ScansynthError(f"{root / entries[0].path}: {rejected}. Acquire it again") from rejected
    return Listing(items, tables=(entries[0].path,), notes=(NOTE,))


def _items(root: Path, file: File, dataset: Dataset) -> list[Item]:
    count, labels, split = npz.stream(root, file).shape[0], npz.labels(root, file), file.role
    if len(labels) != count:
        raise ScansynthError(
            f"{root / file.path}: {split} has {count} images and {len(labels)} labels: acquire it again"
        )
    npz.findings(labels, dataset)
    label = Label(patient="", split=split)  # each image is its own patient
    return [
        Item(f"{split}_{start:06d}", "npz", (file,), label, (start, stop)) for start, stop in parts(count, packed.RUN)
    ]
