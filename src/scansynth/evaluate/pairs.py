"""The picture of the memorisation audit: images beside the training images that they come nearest to."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scansynth.evaluate.copies import Matches
from scansynth.evaluate.imagesets import ImageSet
from scansynth.evaluate.neighbours import aligned
from scansynth.evaluate.planted import KINDS, Planted
from scansynth.picture import GAP, TITLE, shown, tiled

SHOWN = 8  # samples
CAPTION = 130  # pixels at the right of a pair
LINE = 15


def draw(
    samples: np.ndarray,
    matches: Matches,
    planted: Planted,
    of_planted: Matches,
    train: ImageSet,
    channels: Sequence[str],
) -> Image.Image:
    """The samples nearest to training images, copies first; at their right one planted copy of each kind.

    A row has the image, laid on its neighbour, then the neighbour, then how alike they are and the decision: nothing
    says who they are.
    """
    order = np.lexsort((-matches.correlation, ~matches.copies))[:SHOWN]
    controls = np.array([np.flatnonzero(planted.kinds == kind)[0] for kind in KINDS])
    columns = [
        _column(samples[order], matches.at(order), ["synthetic"] * len(order), train, channels),
        _column(planted.pixels[controls], of_planted.at(controls), [*KINDS], train, channels),
    ]
    width, height = sum(each.width for each in columns), max(each.height for each in columns)
    picture = Image.new("RGB", (width, height + TITLE), "white")
    pen = ImageDraw.Draw(picture)
    left = 0
    for each, title in zip(
        columns, ("closest samples, training images", "planted copies, training images"), strict=True
    ):
        pen.text((left + GAP, 4), title, fill="black", font=ImageFont.load_default(size=14))
        picture.paste(each, (left, TITLE))
        left += each.width
    return picture


def _column(
    pixels: np.ndarray, matches: Matches, names: Sequence[str], train: ImageSet, channels: Sequence[str]
) -> Image.Image:
    by_pixels = (matches.sources == matches.neighbour)[:, None, None, None]
    laid = np.where(by_pixels, aligned(pixels, matches.pose), pixels)
    sources = train.array[train.indices[matches.sources]]
    images = np.stack([shown(laid, channels), shown(sources, channels)], axis=1)
    tiles = tiled(images.reshape(-1, *images.shape[2:]), 2, len(images))
    column = Image.new("RGB", (tiles.width + CAPTION, tiles.height), "white")
    column.paste(tiles)
    pen, font = ImageDraw.Draw(column), ImageFont.load_default(size=12)
    for i, name in enumerate(names):
        lines = (
            name,
            f"correlation {matches.correlation[i]:.2f}",
            f"embedding {matches.similarity[i]:.2f}",
            "called a copy" if matches.copies[i] else "not called a copy",
        )
        top = GAP + i * (tiles.height - GAP) // len(names)
        for number, line in enumerate(lines):
            pen.text((tiles.width + GAP, top + number * LINE), line, fill="black", font=font)
    return column
