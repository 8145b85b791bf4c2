"""The BraTS layout: four contrasts of a brain tumour and its segmentation, as 2020, 2021 or 2023 named them."""

import re
from collections.abc import Sequence
from pathlib import Path

from scansynth.acquire.inventory import Entry
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare import patients
from scansynth.prepare.items import File, Item, Label, Listing

# BraTS20_Training_001_t1.nii, BraTS2021_00000_t1.nii.gz, BraTS-GLI-00000-000-t1n.nii.gz: patient, time point, contrast
NAME = re.compile(
    r"(BraTS20_[A-Za-z]+_\d+|BraTS2021_\d+|BraTS-[A-Za-z]+-\d+)(-\d+)?[_-]([a-z0-9]+)\.nii(?:\.gz)?", re.IGNORECASE
)
ROLES = {"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair", "seg": "mask"} | {
    contrast: contrast for contrast in ("t1", "t1ce", "t2", "flair")
}
EXAMPLE = "BraTS2021_00000_t1.nii.gz"


def read_listing(root: Path, entries: Sequence[Entry], dataset: Dataset, key: bytes) -> Listing:
    """An item a case (a time point of a patient), with contrasts and ``mask`` as roles; other files are rejected.

    Raises:
        ScansynthError: if no file is named as BraTS names them.
    """
    rejected: dict[str, str] = {}
    cases: dict[tuple[str, str], dict[str, File]] = {}
    for entry in entries:
        match = NAME.fullmatch(entry.path.rsplit("/", 1)[-1])
        role = ROLES.get(match[3].lower()) if match else None
        if match is None or role is None:
            rejected[entry.path] = f"not a name of BraTS ({EXAMPLE}): rename it if it belongs to the case"
            continue
        files = cases.setdefault((match[1], match[2] or ""), {})
        if role in files:
            rejected[entry.path] = "there is another file of this case and contrast"
        else:
            files[role] = File.of(entry, role)
    if not cases:
        raise ScansynthError(f"{root}: no file is named as BraTS 2020, 2021 or 2023 named them, such as {EXAMPLE}")
    items = [_item(case, cases[case], dataset, key) for case in sorted(cases)]
    return Listing(items, rejected)


def _item(case: tuple[str, str], files: dict[str, File], dataset: Dataset, key: bytes) -> Item:
    patient, time_point = case
    ordered = tuple(files[role] for role in sorted(files, key=lambda role: (role == "mask", role)))  # a scan first
    name = ordered[0].sha256[:12] if dataset.private else patient + time_point
    return Item(name, "nifti", ordered, Label(patients.pseudonym(patient, key)))
