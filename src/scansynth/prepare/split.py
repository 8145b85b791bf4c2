"""Train, validation and test sets, by patient."""

import hashlib
from typing import Literal

from scansynth.config import Images

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


def assign(patient: str, images: Images) -> Split:
    """The split of a patient, which depends on the seed, the shares and the patient alone.

    So all images of a patient are in one split, and nobody changes place when others are added.
    """
    position = _uniform(f"{images.split_seed}:{patient}")
    if position < images.train:
        return "train"
    return "val" if position < images.train + images.val else "test"


def _uniform(text: str) -> float:
    """A number in [0, 1) that looks random: 53 bits, as many as a float holds."""
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) / 2**53
