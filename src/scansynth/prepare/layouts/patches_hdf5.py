"""PatchCamelyon's layout: a file of patches, one of labels and a table of slides for each split, in HDF5 and CSV."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from scansynth.acquire.inventory import Entry
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare import privacy
from scansynth.prepare.decoded import RejectedError
from scansynth.prepare.items import File, Item, Label, Listing, parts, source_name
from scansynth.prepare.readers import hdf5, packed

NAME = re.compile(r"[^/]+_(train|valid|test)_(x\.h5(?:\.gz)?|y\.h5(?:\.gz)?|meta\.csv)", re.IGNORECASE)
SPLITS = {"train": "train", "valid": "val", "test": "test"}
ROLES = {"x": hdf5.PATCHES, "y": hdf5.LABELS, "m": hdf5.SLIDES}  # by the first letter of a name's last part
TABLES = (hdf5.LABELS, hdf5.SLIDES)
T = TypeVar("T")


def read_listing(root: Path, entries: Sequence[Entry], dataset: Dataset, key: bytes) -> Listing:
    """Runs of patches; their labels and slides are read with them.

    Raises:
        ScansynthError: if a file is damaged, if a split has two files of a kind, if patches, labels and slides are not
            of the same number, or if the data set does not declare two findings.
    """
    packed.absent_and_present(dataset)
    splits = _by_split(root, entries)
    items = [item for split in SPLITS if split in splits for item in _items(root, split, splits[split])]
    if not items:
        raise ScansynthError(f"{root}: no file of patches, such as camelyonpatch_level_2_split_train_x.h5.gz")
    used = {file.path for item in items for file in item.files}
    lacking = [SPLITS[split] for split, files in splits.items() if hdf5.PATCHES in files and hdf5.SLIDES not in files]
    note = (
        f"{', '.join(lacking)}: without a table of the slides (..._meta.csv) each patch counts as a slide of its own: "
        "that no slide is in two splits cannot be shown"
    )
    return Listing(
        items,
        rejected={entry.path: "no patches (..._x.h5) belong to it" for entry in entries if entry.path not in used},
        tables=tuple(sorted(source_name(file.path, file.sha256, dataset) for file in _tables(splits))),
        identifiers=privacy.words_of(map(PurePosixPath, _slides(root, splits, used)), dataset),
        notes=(note,) if lacking else (),
    )


def _tables(splits: dict[str, dict[str, File]]) -> list[File]:
    return [
        file for files in splits.values() if hdf5.PATCHES in files for file in files.values() if file.role in TABLES
    ]


def _slides(root: Path, splits: dict[str, dict[str, File]], used: set[str]) -> set[str]:
    """The names of files and slides."""
    listed = (files[hdf5.SLIDES] for files in splits.values() if hdf5.SLIDES in files)
    return used.union(*(_checked(hdf5.slides, root, file) for file in listed))


def _by_split(root: Path, entries: Sequence[Entry]) -> dict[str, dict[str, File]]:
    """The files by split and role."""
    splits: dict[str, dict[str, File]] = {}
    for entry in entries:
        if match := NAME.fullmatch(entry.path):
            role = ROLES[match[2][0].lower()]
            files = splits.setdefault(match[1].lower(), {})
            if role in files:
                raise ScansynthError(f"{root}: {files[role].path} and {entry.path} are both {role}: keep one")
            files[role] = File.of(entry, role)
    return splits


def _items(root: Path, split: str, files: dict[str, File]) -> list[Item]:
    if hdf5.PATCHES not in files:
        return []
    count = _checked(hdf5.shape, root, files[hdf5.PATCHES], "x")[0]
    for role, read in ((hdf5.LABELS, hdf5.labels), (hdf5.SLIDES, hdf5.slides)):
        if role in files and (found := len(_checked(read, root, files[role]))) != count:
            raise ScansynthError(
                f"{root / files[role].path}: it is for {found} patches, and {files[hdf5.PATCHES].path} has {count}: "
                "they do not belong together; acquire both again"
            )
    ordered = tuple(files[role] for role in ROLES.values() if role in files)
    label = Label(patient="", split=SPLITS[split])  # each patch has its own
    return [
        Item(f"{SPLITS[split]}_{start:06d}", "hdf5", ordered, label, (start, stop))
        for start, stop in parts(count, packed.RUN)
    ]


def _checked(read: Callable[..., T], root: Path, file: File, *which: str) -> T:
    try:
        return read(root, file, *which)
    except RejectedError as rejected:
        raise ScansynthError(f"{root / file.path}: {rejected}. Acquire it again") from rejected
