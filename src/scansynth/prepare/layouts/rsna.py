"""The folder of Kaggle's RSNA Pneumonia Detection Challenge (stage 2)."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from scansynth.acquire.inventory import Entry
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare import patients, tables
from scansynth.prepare.items import File, Item, Label, Listing
from scansynth.prepare.readers import dicom_header
from scansynth.prepare.readers.dicom_header import Header, read_headers

TRAIN = "stage_2_train_images"  # the other images are the challenge's test set
CLASSES = "stage_2_detailed_class_info.csv"  # a row a box: patientId, class
BOXES = "stage_2_train_labels.csv"  # likewise: patientId, x, y, width, height, Target
OPACITY = "Lung Opacity"  # the class of those whose Target is 1
NOTES = (
    "The RSNA images are a part of NIH ChestX-ray14: neither set may be the other's external test set",
    "patientId is one image's, and NIH has several images of most patients: that no patient is in two splits cannot be "
    "shown",
)


def read_listing(root: Path, entries: Sequence[Entry], dataset: Dataset, key: bytes) -> Listing:
    """An item a training radiograph: its class from the tables; view, sex and age from its header.

    A file is named by its patientId, which is no other image's. Without the tables the images have no labels.

    Raises:
        ScansynthError: if a table is not as it has to be, if the tables contradict each other or name a class that the
            data set does not declare, or if there is no training image or none with a row.
    """
    by_path = {entry.path: entry for entry in entries}
    images = [entry for entry in entries if entry.path.lower().endswith(".dcm")]
    train = [entry for entry in images if PurePosixPath(entry.path).parent.name == TRAIN]
    if not train:
        raise ScansynthError(f"{root / TRAIN}: holds no training image (.dcm)")
    classes = _read_classes(root, by_path.get(CLASSES), by_path.get(BOXES), dataset)
    labelled = [entry for entry in train if classes is None or _patient(entry) in classes]
    if not labelled:
        raise ScansynthError(
            f"{root / CLASSES}: none of its patients has an image: the first is {next(iter(classes), 'nobody')}, and "
            f"there is {train[0].path}"
        )
    rejected = {entry.path: f"no row in {CLASSES}" for entry in train if classes and _patient(entry) not in classes}
    items = []
    for entry, header in zip(labelled, read_headers(root, labelled), strict=True):
        if isinstance(header, str):
            rejected[entry.path] = header
            continue
        findings = (classes[_patient(entry)],) if classes else ()
        items.append(Item(_patient(entry), "dicom", (File.of(entry),), _label(entry, header, findings, dataset, key)))
    unlabelled = len(images) - len(train)
    return Listing(
        items,
        rejected=rejected,
        tables=tuple(name for name in (CLASSES, BOXES) if name in by_path),
        rows_without_file=len((classes or {}).keys() - {_patient(entry) for entry in train}),
        flags={"test images, which have no labels, left out": unlabelled} if unlabelled else {},
        notes=NOTES,
    )


def _patient(entry: Entry) -> str:
    return PurePosixPath(entry.path).stem


def _label(entry: Entry, header: Header, findings: tuple[str, ...], dataset: Dataset, key: bytes) -> Label:
    return Label(
        patient=patients.pseudonym(_patient(entry), key),
        findings=findings,
        view=dicom_header.view(header, dataset),
        sex=header.sex,
        age=dicom_header.age(header, dataset),
    )


def _read_classes(root: Path, table: Entry | None, boxes: Entry | None, dataset: Dataset) -> dict[str, str] | None:
    """The class of each patient, None without tables."""
    if table is None:
        if boxes is not None:
            raise ScansynthError(
                f"{root}: {BOXES} is there, and {CLASSES}, which names the classes, is not: put it there"
            )
        return None
    classes: dict[str, str] = {}
    for row in tables.read_rows(root, table, ("patientId", "class")):
        where = f"{root / CLASSES}, patient {row['patientId']}"
        found = tables.findings(row["class"], dataset, where)
        if len(found) != 1 or classes.setdefault(row["patientId"], found[0]) != found[0]:
            raise ScansynthError(
                f"{where}: its class is {row['class']!r}; a patient has to have one, the same in all rows"
            )
    for row in tables.read_rows(root, boxes, ("patientId", "Target")) if boxes else ():
        finding = classes.get(row["patientId"])
        if (row["Target"].strip() == "1") != (finding == OPACITY):
            raise ScansynthError(
                f"{root / BOXES}, patient {row['patientId']}: Target is {row['Target']!r}, and in {CLASSES} the class "
                f"is {finding!r}: the tables are not of one release"
            )
    return classes
