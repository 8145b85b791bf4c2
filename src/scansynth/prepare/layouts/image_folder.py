"""A folder of PNG, JPEG or TIFF images, with a ``labels.csv`` or with a folder a class."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from scansynth.acquire.inventory import Entry
from scansynth.dataset import Dataset
from scansynth.prepare import patients, privacy, tables
from scansynth.prepare.items import File, Item, Label, Listing, Names
from scansynth.prepare.split import SPLITS


def read_listing(root: Path, entries: Sequence[Entry], dataset: Dataset, key: bytes) -> Listing:
    """An item an image.

    All is as ``labels.csv`` says, where there is one. If it names no findings, an image's finding is the name of the
    folder that it lies in; above these folders may be train, val and test.

    Raises:
        ScansynthError: if who is on which image is not known, if a folder's name is not among the declared findings,
            if two images would have one name, or if no row of the table has an image.
    """
    labels = tables.read_labels(root, entries, dataset, key)
    images = [entry for entry in entries if entry.path != tables.LABELS]
    known = tables.known_labels(root, images, labels)
    if not any(label.findings for label in known.values()):
        known = _by_folder(root, known, dataset)
    names, items = Names(root, dataset), []
    rejected: dict[str, str] = {}
    for entry in images:
        if entry.path not in known:
            rejected[entry.path] = f"no row in {tables.LABELS}"
            continue
        name = names.give(entry, str(PurePosixPath(entry.path).with_suffix("")))
        label = _label(entry, known[entry.path], root, dataset, key)
        items.append(Item(name, "raster", (File.of(entry),), label))
    return Listing(
        items,
        rejected=rejected,
        tables=() if labels is None else (tables.LABELS,),
        notes=_notes(items, dataset),
        rows_without_file=tables.rows_without_file(images, labels),
        identifiers=privacy.words_of((PurePosixPath(entry.path).with_suffix("") for entry in images), dataset),
    )


def _notes(items: Sequence[Item], dataset: Dataset) -> tuple[str, ...]:
    in_folders = all("/" in item.files[0].path for item in items)
    if not in_folders or any(item.label.findings for item in items) or dataset.findings:
        return ()
    return ("images lie in folders, whose names are findings only if the data set's file declares them as such",)


def _by_folder(root: Path, labels: dict[str, Label], dataset: Dataset) -> dict[str, Label]:
    """The labels with the finding, and the split, that is the name of each image's folder."""
    folders = {path: PurePosixPath(path).parent.parts for path in labels}
    if all(parts and parts[0] in SPLITS for parts in folders.values()):
        labels = {path: replace(label, split=label.split or folders[path][0]) for path, label in labels.items()}
        folders = {path: parts[1:] for path, parts in folders.items()}
    if not all(folders.values()):
        return labels
    names = {parts[0] for parts in folders.values()}
    # A folder may as well be a patient's, or hold all images: then its name is a finding only if it is declared.
    if (dataset.private or len(names) == 1) and not names <= set(dataset.findings):
        return labels
    return {
        path: replace(
            label, findings=tables.findings(folders[path][0], dataset, f"{root / folders[path][0]} (a folder)")
        )
        for path, label in labels.items()
    }


def _label(entry: Entry, label: Label, root: Path, dataset: Dataset, key: bytes) -> Label:
    if label.patient:
        return label
    if dataset.split_by != "image":
        raise tables.unknown_patient(dataset, root)
    return replace(label, patient=patients.pseudonym(entry.sha256, key))
