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
    """Decode a file of 8 or 16 bits or of floats, gray or (8 bits) in colour; one channel or three.

    Transparency is ignored (some NIH files are RGBA). The span is the full range of 8 bits; how many of 16 are in use a
    file does not say.

    Raises:
        RejectedError: if it is of none of the formats, or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Pillow.open(io.BytesIO(content), formats=FORMATS)
            image.load()
            if getattr(image, "n_frames", 1) > 1:
                raise RejectedError(f"it has {image.n_frames} pages: only single images are read")
            if image.mode[0] in "IF":
                return Decoded(np.asarray(image)[None])
            # Pillow drops transparency here, and reads palettes.
            pixels = np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    except RejectedError:
        raise
    except UnidentifiedImageError:
        raise RejectedError(f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file") from None
    except Exception as error:  # Pillow's plugins fail with errors of every kind
        raise RejectedError("damaged: its pixels are cut short or cannot be decoded") from error
    channels = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    return Decoded(channels, (0.0, 255.0))
