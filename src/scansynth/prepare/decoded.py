"""What a reader decodes from a file, and what becomes of it: an image, or a reason why there is none."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Decoded:
    """A decoded image: brighter is larger, as a viewer shows it.

    ``values`` are real numbers of any type, shape (channels, height, width). ``span`` holds the values that are shown
    black and white where they are known (the file's window, its bit depth, the volume's percentiles), and is None where
    they have to be estimated from the image. ``spacing`` is the millimetres between rows and columns, ``mask`` is
    uint8 of shape (height, width), 0 outside; both are None where unknown.
    """

    values: np.ndarray
    span: tuple[float, float] | None = None
    spacing: tuple[float, float] | None = None
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class Image:
    """An image as it is stored."""

    pixels: np.ndarray  # uint8, (channels, size, size)
    suffix: str = ""  # follows the item's name in the image's id, where an item gives several
    spacing: float | None = None  # millimetres a pixel
    upscaled: bool = False  # the file has fewer pixels than the image
    findings: tuple[str, ...] | None = None  # instead of the item's, where they differ between its images
    view: str | None = None  # likewise
    mask: np.ndarray | None = None  # uint8, (size, size)
    patient: str | None = None  # the pseudonym, instead of the item's
    file: int = 0  # which of the item's files it is from (the first of those that it is from)


@dataclass(frozen=True)
class Rejection:
    """Why a part of an item gives no image."""

    suffix: str
    reason: str
    file: int = 0


class RejectedError(Exception):
    """Why a file (an item) gives no image, in plain words.

    Never a decoder's own message: that may quote the header, where a patient's name is.
    """
