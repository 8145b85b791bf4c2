"""PNG, JPEG and TIFF files."""

import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from scansynth.config import Settings
from scansynth.prepare.decoded import Decoded, Image, RejectedError
from scansynth.prepare.items import Item
from scansynth.prepare.normalize import normalize
from scansynth.prepare.readers.file import read_file

FORMATS = ("PNG", "JPEG", "TIFF")


def read(root: Path, item: Item, settings: Settings) -> Iterator[Image]:
    """The item's only image."""
    yield normalize(decode(read_file(root, item.files[0])), settings.images)


def decode(content: bytes) -> Decoded:
    """Decode a file of 8 or 16 bits, gray or in colour; one channel or three.

    Transparency is ignored (some NIH files are RGBA). The span is the full range of the bit depth.

    Raises:
        RejectedError: if it is of none of the formats, or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Pillow.open(io.BytesIO(content), formats=FORMATS)
            image.load()
            if image.mode.startswith("I"):
                return Decoded(np.asarray(image)[None], (0.0, 65535.0))
            # Pillow drops transparency here, and reads palettes.
            pixels = np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    except UnidentifiedImageError:
        raise RejectedError(f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file") from None
    except Exception as error:  # Pillow's plugins fail with errors of every kind
        raise RejectedError("damaged: its pixels are cut short or cannot be decoded") from error
    channels = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    return Decoded(channels, (0.0, 255.0))
