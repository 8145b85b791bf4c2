"""A decoded image to the store's: intensities from 0 to 1, square, of the experiment's size, 8 bits."""

from typing import Literal

import numpy as np
from skimage.transform import resize as skimage_resize

from scansynth.prepare.gray import Gray, RejectedError

PERCENTILES = (0.5, 99.5)
# For the manifest: how ``resize`` does it.
RESIZED = {"library": "scikit-image", "filter": "bilinear after a Gaussian against aliasing"}


def normalize(gray: Gray, size: int, fit: Literal["pad", "crop"]) -> np.ndarray:
    """The image as it is stored: uint8, shape (size, size), 0 to 255.

    Raises:
        RejectedError: if the image is blank.
    """
    return to_uint8(resize(square(to_unit(gray), fit), size))


def to_unit(gray: Gray) -> np.ndarray:
    """Intensities from 0 to 1, float32: the file's own span, else robust percentiles, as a few pixels may be far off.

    Raises:
        RejectedError: if the image is blank, or holds values that are not finite.
    """
    values = gray.values
    if not np.isfinite(values).all():
        raise RejectedError("damaged: it holds values that are not finite")
    low, high = gray.span or np.percentile(values, PERCENTILES)
    unit = np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)
    if unit.min() == unit.max():
        raise RejectedError("blank: (nearly) all pixels have the same value")
    return unit.astype(np.float32)


def square(image: np.ndarray, fit: Literal["pad", "crop"]) -> np.ndarray:
    """The image made square, its aspect kept: zeros (black) around it, or its central part."""
    height, width = image.shape
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return image[top : top + side, left : left + side]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return np.pad(image, ((top, side - height - top), (left, side - width - left)))


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """One anti-aliased resampling to (size, size), float32; what lies beyond the border is the border's value."""
    return skimage_resize(image, (size, size), order=1, mode="edge", anti_aliasing=True, preserve_range=True)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """From 0 to 1 to uint8 from 0 to 255, rounded."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
