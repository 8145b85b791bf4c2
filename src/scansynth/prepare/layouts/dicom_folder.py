"""A hospital's own folder of DICOM files, of any names and any nesting."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from scansynth.acquire.inventory import Entry
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare import patients, privacy, tables
from scansynth.prepare.items import File, Item, Label, Listing
from scansynth.prepare.readers import dicom_header
from scansynth.prepare.readers.dicom_header import Header, read_headers

STACKED = ("CT", "MR", "PT")  # modalities whose series are the slices of a volume
OFTEN_BURNED_IN = ("US", "IVUS", "XA", "RF", "OT", "SC", "ES", "GM")  # modalities that write names into the image
SAME_DIRECTION = 0.01  # largest difference of direction cosines in a stack: half a degree
MICRON = 3  # digits of a position in mm: slices closer than this are at one place


@dataclass(frozen=True)
class Picture:
    """A file that is to give images."""

    entry: Entry
    header: Header
    label: Label


def read_listing(root: Path, entries: Sequence[Entry], dataset: Dataset, key: bytes) -> Listing:
    """An item a series of slices (CT, MR, PT), ordered by position; of all else an item a file.

    Names and order of the files do not matter: items are named by hash, and in the order of their names. What is known
    of an image is what ``dicom_header.KEPT`` keeps of its header, and what ``labels.csv`` says, which comes first. Of
    an image without PatientID the patient is who has that name and birth date.

    Raises:
        ScansynthError: if there is no image, if ``labels.csv`` is not as it has to be, or if who is on an image is not
            known while images are to be split by patient.
    """
    labels = tables.read_labels(root, entries, dataset, key)
    files = [entry for entry in entries if entry.path != tables.LABELS]
    headers = dict(zip([entry.path for entry in files], read_headers(root, files), strict=True))
    rejected = {path: header for path, header in headers.items() if isinstance(header, str)}
    read = {path: header for path, header in headers.items() if isinstance(header, Header)}
    images = [entry for entry in files if entry.path in read and not _left_out(read[entry.path])]
    if not images:
        reasons = Counter([*rejected.values(), *map(_left_out, read.values())])
        found = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
        raise ScansynthError(f"{root}: none of its {len(files)} files is a DICOM image: {found}")
    known = tables.known_labels(root, images, labels)
    rejected |= {entry.path: f"no row in {tables.LABELS}" for entry in images if entry.path not in known}
    known_images = [entry for entry in images if entry.path in known]
    images = _without_doubles(known_images)
    pictures = [
        Picture(entry, read[entry.path], _label(entry, read[entry.path], known[entry.path], root, dataset, key))
        for entry in images
    ]
    return Listing(
        sorted((_item(stack) for stack in stacks(pictures)), key=lambda item: item.name),
        rejected=rejected,
        tables=() if labels is None else (tables.LABELS,),
        rows_without_file=tables.rows_without_file(files, labels),
        identifiers=_identifiers(files, read, dataset),
        flags=_flags(list(read.values()), pictures, len(known_images) - len(images), dataset),
        notes=_notes(pictures, labels, dataset),
    )


def stacks(pictures: Sequence[Picture]) -> list[list[Picture]]:
    """Slices of one series, size, direction and label together, by position; anything else by itself."""
    found: list[list[Picture]] = []
    by_series: dict[tuple, list[list[Picture]]] = {}
    for picture in sorted(pictures, key=lambda picture: picture.entry.sha256):
        header = picture.header
        if header.modality not in STACKED or header.frames > 1 or not header.series:
            found.append([picture])
            continue
        parts = by_series.setdefault((header.series, header.shape, picture.label), [])
        part = next((part for part in parts if _same_direction(part[0].header, header)), None)
        if part is None:
            parts.append([picture])
        else:
            part.append(picture)
    return found + [sorted(part, key=_place) for parts in by_series.values() for part in parts]


def _same_direction(one: Header, other: Header) -> bool:
    if not (one.orientation and other.orientation):
        return one.orientation == other.orientation
    return bool(np.allclose(one.orientation, other.orientation, rtol=0, atol=SAME_DIRECTION))


def _place(picture: Picture) -> tuple[float, float, str]:
    """How far along the normal of its slice an image lies, then its number, then its UID (PS3.3 C.7.6.2.1.1)."""
    header = picture.header
    along = 0.0
    if header.position and header.orientation:
        along = float(np.cross(header.orientation[:3], header.orientation[3:]) @ header.position)
    return round(along, MICRON), header.number, header.instance or picture.entry.sha256


def _left_out(header: Header) -> str:
    if header.other:
        return f"not an image: {header.other}"
    return "a localizer" if header.localizer else ""


def _without_doubles(images: Sequence[Entry]) -> list[Entry]:
    """Each file once, whatever its names are; others of one SOPInstanceUID stay, as not all keep it unique."""
    return list({entry.sha256: entry for entry in sorted(images, key=lambda entry: entry.path, reverse=True)}.values())


def _label(entry: Entry, header: Header, given: Label, root: Path, dataset: Dataset, key: bytes) -> Label:
    return replace(
        given,
        patient=given.patient or patients.pseudonym(_person(entry, header, root, dataset), key),
        view=given.view or dicom_header.view(header, dataset),
        sex=given.sex or header.sex,
        age=given.age or dicom_header.age(header, dataset),
    )


def _person(entry: Entry, header: Header, root: Path, dataset: Dataset) -> str:
    """Who is on an image, by PatientID or name; else the study or the image, if the data set says that it is so."""
    if header.known_by or (header.patient and dataset.split_by == "study"):
        return header.patient
    if dataset.split_by not in ("study", "image"):
        raise tables.unknown_patient(dataset, root)
    return entry.sha256


def _item(stack: Sequence[Picture]) -> Item:
    files = tuple(File.of(picture.entry) for picture in stack)
    return Item(files[0].sha256[:12], "dicom", files, stack[0].label)


def _identifiers(files: Sequence[Entry], read: dict[str, Header], dataset: Dataset) -> frozenset[str]:
    paths = [path for entry in files for path in (PurePosixPath(entry.path), PurePosixPath(entry.path).with_suffix(""))]
    in_headers = (header.identifiers for header in read.values() if dataset.private)
    return privacy.words_of(paths, dataset).union(*in_headers)


def _flags(headers: Sequence[Header], pictures: Sequence[Picture], doubles: int, dataset: Dataset) -> dict[str, int]:
    counts = Counter(filter(None, map(_left_out, headers)))
    counts["the same file as another one, which is kept"] = doubles
    for header in (picture.header for picture in pictures):
        unknown = header.view and not dicom_header.view(header, dataset)
        counts["a view position that is not known, left empty"] += bool(unknown)
        counts["text is burned into the image (BurnedInAnnotation)"] += header.burned_in == "YES"
        often = header.capture or header.modality in OFTEN_BURNED_IN
        counts["text may be burned into the image: the file does not say"] += often and not header.burned_in
    return {what: count for what, count in sorted(counts.items()) if count}


def _notes(pictures: Sequence[Picture], labels: dict[str, Label] | None, dataset: Dataset) -> tuple[str, ...]:
    if labels and any(label.patient for label in labels.values()):
        return ()
    known_by = Counter(picture.header.known_by for picture in pictures)
    notes = {
        "PatientName": "files have no PatientID: who has the same name and date of birth is taken for the same patient",
        "": f"files do not say who is on them: only those of one {dataset.split_by} are kept in one split",
    }
    return tuple(f"{known_by[tag]} {note}" for tag, note in notes.items() if known_by[tag])
