"""One PNG or JPEG file to one grayscale image."""

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from scansynth.prepare.gray import Gray, RejectedError

# Channels of a gray picture that went through JPEG in colour may differ by rounding.
ROUNDING = 2


def decode(content: bytes) -> Gray:
    """Decode a PNG or JPEG file of 8 or 16 bits, gray, or in colour modes though gray (some NIH files are RGBA).

    Transparency is ignored. The span is the full range of the bit depth.

    Raises:
        RejectedError: if it is neither PNG nor JPEG, damaged, or really in colour.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
            image.load()
            if image.mode.startswith("I"):
                return Gray(np.asarray(image, dtype=np.float32), (0.0, 65535.0))
            # Pillow drops transparency here, and reads palettes.
            pixels = np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    except UnidentifiedImageError:
        raise RejectedError("not a PNG or JPEG file") from None
    except Exception as error:  # Pillow's plugins fail with errors of every kind
        raise RejectedError("damaged: its pixels are cut short or cannot be decoded") from error
    return Gray((pixels if pixels.ndim == 2 else _one_channel(pixels)).astype(np.float32), (0.0, 255.0))


def _one_channel(colour: np.ndarray) -> np.ndarray:
    """One channel of three that are the same; uint8, shape (height, width, 3)."""
    if np.ptp(colour, axis=-1).max() > ROUNDING:
        raise RejectedError("in colour: only grayscale is read")
    return colour[..., 1]
