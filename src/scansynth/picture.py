"""Images side by side, as they are: no pixel is interpolated."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

GAP = 2  # pixels between images
TITLE = 24  # pixels above them
SMALL = 64  # images up to this size are shown at twice their size
COLOUR = ["red", "green", "blue"]


def shown(images: np.ndarray, channels: Sequence[str]) -> np.ndarray:
    """Images (n, channels, size, size) as (n, size, width, 3): in colour, or the contrasts of each side by side."""
    if list(channels) == COLOUR:
        return np.moveaxis(images, 1, -1)
    return np.repeat(np.concatenate(np.moveaxis(images, 1, 0), axis=-1)[..., None], 3, axis=-1)


def per_row(columns: int, channels: Sequence[str]) -> int:
    """How many of these images take the room of ``columns`` images of one channel."""
    return columns if list(channels) == COLOUR else max(1, columns // len(channels))


def tiled(images: np.ndarray, columns: int, rows: int) -> Image.Image:
    """The first ``columns`` x ``rows`` of images (n, height, width, 3), uint8, on white; small ones doubled."""
    height, width = images.shape[1:3]
    scale = 2 if height <= SMALL else 1
    down, right = height * scale + GAP, width * scale + GAP
    canvas = Image.new("RGB", (columns * right + GAP, rows * down + GAP), "white")
    for i, image in enumerate(images[: columns * rows]):
        tile = Image.fromarray(np.ascontiguousarray(image)).resize((right - GAP, down - GAP), Image.Resampling.NEAREST)
        canvas.paste(tile, (GAP + i % columns * right, GAP + i // columns * down))
    return canvas
