"""Any folder of volumes: those named as BIDS has it an item a session, the others an item a file.

BIDS: Gorgolewski et al., Scientific Data 2016; its names are as ``sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz``.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from scansynth.acquire.inventory import Entry
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare import patients, privacy, tables
from scansynth.prepare.items import File, Item, Listing, Names

SUFFIX = re.compile(r"\.(nii(\.gz)?|mgz)$", re.IGNORECASE)
BIDS = re.compile(  # of a path without suffix: the folder of all subjects, subject, session, other entities, kind
    r"((?:[^/]+/)*?)(?:sub-[^/]+/(?:[^/]+/)*)?(sub-[^_/]+)(_ses-[^_/]+)?((?:_[a-z]+-[^_/]+)*)_([0-9A-Za-z]+)"
)
ROLES = {"T1w": "t1", "T2w": "t2", "FLAIR": "flair", "PDw": "pd", "T2starw": "t2star", "bold": "bold", "dwi": "dwi"}
ROLES |= {"mask": "mask", "dseg": "mask"}
BRAIN = "_desc-brain"  # marks a mask that says where the brain is: no finding
OTHERS = f"volumes left out: their kind, the last part of a BIDS name, is not one of {', '.join(ROLES)}"


@dataclass(frozen=True)
class Session:
    """Volumes that are one item."""

    entry: Entry  # the first
    name: str
    subject: str  # BIDS's, empty where names are not BIDS's
    files: dict[str, File]  # by role


def read_listing(root: Path, entries: Sequence[Entry], dataset: Dataset, key: bytes) -> Listing:
    """Items with the contrasts of a session as roles (BIDS), or of one file without a role.

    Who is on a volume is what ``labels.csv`` says, else BIDS's subject; with ``split_by: image`` it is for each of the
    other files somebody else. A session's second volume of a contrast begins another item, and so on. A mask goes with
    the first; BIDS's volumes of other kinds are left out and counted.

    Raises:
        ScansynthError: if ``labels.csv`` is not as it has to be, if two items would have one name, if it is not known
            who is on a volume, or if there is none.
    """
    labels = tables.read_labels(root, entries, dataset, key)
    volumes = [entry for entry in entries if entry.path != tables.LABELS]
    known = tables.known_labels(root, volumes, labels)
    rejected = {entry.path: f"no row in {tables.LABELS}" for entry in volumes if entry.path not in known}
    sessions = _sessions(entry for entry in volumes if entry.path in known)
    names, items = Names(root, dataset), []
    for session in sessions:
        label = known[session.entry.path]
        label = replace(label, patient=label.patient or _patient(session, root, dataset, key))
        files = sorted(session.files.values(), key=lambda file: (file.role == "mask", file.path))
        items.append(Item(names.give(session.entry, session.name), "nifti", tuple(files), label))
    if not items:
        raise ScansynthError(f"{root}: {OTHERS}; there is no other one")
    others = len(known) - sum(len(session.files) for session in sessions)
    return Listing(
        items,
        rejected,
        tables=() if labels is None else (tables.LABELS,),
        rows_without_file=tables.rows_without_file(volumes, labels),
        identifiers=privacy.words_of((PurePosixPath(SUFFIX.sub("", entry.path)) for entry in volumes), dataset),
        flags={OTHERS: others} if others else {},
    )


def _sessions(volumes: Iterable[Entry]) -> list[Session]:
    found: dict[str, Session] = {}
    for entry in volumes:
        stem = SUFFIX.sub("", entry.path)
        match = BIDS.fullmatch(stem)
        if not match:
            found[entry.path] = Session(entry, stem, "", {"": File.of(entry)})
            continue
        folder, subject, session, others, kind = match.groups(default="")
        role = ROLES.get(kind)
        if role is None or (role == "mask" and BRAIN in others):
            continue
        name, number = f"{folder}{subject}{session}", 1
        while (path := name if number == 1 else f"{name}_{number}") in found and role in found[path].files:
            number += 1
        if role != "mask" or number == 1:
            found.setdefault(path, Session(entry, path, subject, {})).files[role] = File.of(entry, role)
    return [session for session in found.values() if set(session.files) != {"mask"}]


def _patient(session: Session, root: Path, dataset: Dataset, key: bytes) -> str:
    if session.subject:
        return patients.pseudonym(session.subject, key)
    if dataset.split_by != "image":
        raise tables.unknown_patient(dataset, root)
    return patients.pseudonym(session.entry.sha256, key)
