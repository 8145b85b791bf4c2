"""Train, validation and test sets, by patient (subject, slide)."""

import hashlib
from collections.abc import Sequence
from typing import Literal

from scansynth.errors import ScansynthError
from scansynth.sections import Images

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Row = dict[str, str]


def assign(patient: str, images: Images, official: str = "") -> Split:
    """The split of a patient, which depends on the seed, the shares and the patient alone.

    So all images of a patient are in one split, and nobody changes place when others are added. Of an ``official``
    split the test set is kept, and the validation set too where there is one; ``train-val`` says that upstream leaves
    it to its users to take it from the training patients: that is done by the shares of these two.
    """
    position = _uniform(f"{images.split_seed}:{patient}")
    if official in SPLITS and images.split == "official":
        return official
    if official and images.split == "official":
        return "train" if position < images.train / (images.train + images.val) else "val"
    if position < images.train:
        return "train"
    return "val" if position < images.train + images.val else "test"


def check_leaks(rows: Sequence[Row], unit: str) -> None:
    """Make sure that nobody is in two splits.

    Raises:
        ScansynthError: naming whoever is, and an image in each split.
    """
    first: dict[str, Row] = {}
    for row in rows:
        other = first.setdefault(row["patient"], row)
        if other["split"] != row["split"]:
            raise ScansynthError(
                f"the {unit} {row['patient']} is in two splits: {other['id']} in {other['split']}, {row['id']} in "
                f"{row['split']}. Results would be of no worth. Mend upstream's split, or set images.split to hashed"
            )


def _uniform(text: str) -> float:
    """A number in [0, 1) that looks random: 53 bits, as many as a float holds."""
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) / 2**53
