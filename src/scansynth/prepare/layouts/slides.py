"""A folder of whole-slide images, such as Camelyon16 or 17, with outlines of tumour or with a ``labels.csv``."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from scansynth.acquire.inventory import Entry
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare import patients, privacy, tables
from scansynth.prepare.items import File, Item, Label, Listing, Names, source_name
from scansynth.prepare.readers import packed, slide

RUNS = 64  # items a slide: its patches may be too many to be held at once
# Masks of tumour and of tissue, which Camelyon has beside its slides.
MASK = re.compile(r"(.*/)?(masks|background_tissue)/.*|.*_mask\.tiff?", re.IGNORECASE)
CAMELYON16 = re.compile(r"(normal|tumor|test)_\d{3}", re.IGNORECASE)
CAMELYON17 = re.compile(r"(patient_\d{3})_node_\d", re.IGNORECASE)
# Slides of Camelyon16 on which not all tumour is outlined.
PARTLY = {
    *(f"tumor_{n:03d}" for n in (10, 15, 18, 20, 25, 29, 33, 34, 44, 46, 51, 54, 55, 56, 67, 79, 85, 92, 95, 110)),
    "test_114",
}


def read_listing(root: Path, entries: Sequence[Entry], dataset: Dataset, key: bytes) -> Listing:
    """Runs of patches of each slide, with its outlines of tumour where there are any (``_outlines``).

    A slide without outlines is labelled as ``labels.csv`` says, or, as Camelyon16's, by its name: ``normal_...`` shows
    no tumour, on the others it is not known where. What is kept in one split is the patient where ``labels.csv`` or
    a name of Camelyon17 says who it is, else the slide.

    Raises:
        ScansynthError: if images are to be split by patient and who is on a slide is not known, if there are outlines
            and the data set does not declare two findings, or if two slides would have one name.
    """
    labels = tables.read_labels(root, entries, dataset, key)
    images = [entry for entry in entries if not entry.path.lower().endswith((".xml", ".csv"))]
    slides = [entry for entry in images if not MASK.fullmatch(entry.path)]
    if not slides:
        raise ScansynthError(f"{root}: all of its {len(images)} images are masks, such as {images[0].path}")
    known = tables.known_labels(root, slides, labels)
    outlines = _outlines(entries, slides)
    if outlines:
        packed.absent_and_present(dataset)
    items: dict[str, list[Item]] = {}
    names = Names(root, dataset)
    for entry in (entry for entry in slides if entry.path in known):
        label = _label(entry, known[entry.path], root, dataset, key)
        label = replace(label, split=label.split or _official(entry))
        name = names.give(entry, str(PurePosixPath(entry.path).with_suffix("")))
        items[name] = _items(name, entry, outlines.get(entry.path), label)
    xml = sum(entry.path.lower().endswith(".xml") for entry in entries)
    drawn = [source_name(entry.path, entry.sha256, dataset) for entry in outlines.values()]
    return Listing(
        [item for runs in items.values() for item in runs],
        rejected={entry.path: f"no row in {tables.LABELS}" for entry in slides if entry.path not in known},
        tables=(*drawn, *(() if labels is None else (tables.LABELS,))),
        rows_without_file=tables.rows_without_file(slides, labels) + xml - len(outlines),
        identifiers=privacy.words_of((PurePosixPath(entry.path).with_suffix("") for entry in slides), dataset),
        flags={"masks, which are not read": len(images) - len(slides)} if len(images) > len(slides) else {},
        notes=_notes([runs[0] for runs in items.values()]),
    )


def _outlines(entries: Sequence[Entry], slides: Sequence[Entry]) -> dict[str, Entry]:
    """The XML file of each slide that has one, by the slide's path.

    It has the slide's name, and lies beside it, or anywhere if no other slide and no other XML file has that name.
    """
    xml = {_bare(entry): entry for entry in entries if entry.path.lower().endswith(".xml")}
    alone = {_stem(entry): entry for entry in xml.values()}
    twice = Counter(map(_stem, slides)) + Counter(map(_stem, xml.values()))
    found = {}
    for entry in slides:
        elsewhere = alone.get(_stem(entry)) if twice[_stem(entry)] == 2 else None
        if outline := xml.get(_bare(entry), elsewhere):
            found[entry.path] = outline
    return found


def _items(name: str, entry: Entry, outline: Entry | None, label: Label) -> list[Item]:
    files = [File.of(entry, slide.SLIDE)]
    if outline:
        files.append(File.of(outline, slide.PARTLY if _stem(entry) in PARTLY else slide.ANNOTATED))
    return [Item(f"{name}_{run:02d}", "slide", tuple(files), label, (run, RUNS)) for run in range(RUNS)]


def _label(entry: Entry, label: Label, root: Path, dataset: Dataset, key: bytes) -> Label:
    stem = _stem(entry)
    if not label.findings and dataset.no_finding and CAMELYON16.fullmatch(stem) and stem.startswith("normal"):
        label = replace(label, findings=(dataset.no_finding,))
    if label.patient:
        return label
    if match := CAMELYON17.fullmatch(stem):
        return replace(label, patient=patients.pseudonym(match[1], key))
    if dataset.split_by == "patient" and not CAMELYON16.fullmatch(stem):
        raise tables.unknown_patient(dataset, root)
    return replace(label, patient=patients.pseudonym(_bare(entry), key))


def _official(entry: Entry) -> str:
    """Camelyon16's own split, empty for other slides."""
    match = CAMELYON16.fullmatch(_stem(entry))
    if not match:
        return ""
    return "test" if match[1].lower() == "test" else "train-val"


def _notes(items: Sequence[Item]) -> tuple[str, ...]:
    """What is not known of slides, each of which is given by one of its items."""
    partly = sum(file.role == slide.PARTLY for item in items for file in item.files)
    unknown = sum(len(item.files) == 1 and not item.label.findings for item in items)
    notes = []
    if partly:
        notes.append(f"slides of which not all tumour is outlined: {partly}; other patches of theirs have no label")
    if 0 < unknown < len(items):
        notes.append(f"slides with neither outlines nor a label: {unknown}; their patches have no label")
    return tuple(notes)


def _bare(entry: Entry) -> str:
    return str(PurePosixPath(entry.path).with_suffix(""))


def _stem(entry: Entry) -> str:
    return PurePosixPath(entry.path).stem.lower()
