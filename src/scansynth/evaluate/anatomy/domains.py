"""Chest, brain or tissue: whose measures are taken of a set of images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scansynth.config import Settings
from scansynth.evaluate import segmenter
from scansynth.evaluate.anatomy import brain, chest, tissue
from scansynth.evaluate.anatomy.summary import contrast
from scansynth.evaluate.imagesets import ImageSet

# Images of a set (uint8, (n, channels, size, size)) and the channels' names, to each measure of each image.
Measure = Callable[[np.ndarray, Sequence[str]], dict[str, np.ndarray]]

MEASURES = {"chest": chest.MEASURES, "brain": brain.MEASURES, "tissue": tissue.MEASURES, "none": {}}
ENLARGED = "Cardiomegaly"
LATERAL = ("LAT", "LL", "RL")  # how the names of lateral views begin


def domain_of(settings: Settings) -> str:
    """Whose measures are taken: chest, brain, tissue, or none."""
    chosen = settings.anatomy.domain
    return (settings.dataset.anatomy or "none") if chosen == "auto" else chosen


def measure_of(domain: str, weights: list[Path]) -> Measure | None:
    """The measures of a domain; ``weights`` has the segmenter's file for chests."""
    if domain == "chest":
        outliner = segmenter.load(weights[0])
        return lambda pixels, channels: chest.measure(pixels, channels, outliner)
    return {"brain": brain.measure, "tissue": tissue.measure}.get(domain)


def enlarged_hearts(
    sets: dict[str, ImageSet], values: dict[str, dict[str, np.ndarray]], drawn: dict[str, np.ndarray]
) -> dict[str, Any]:
    """By set, the mean cardiothoracic ratio of images of cardiomegaly (asked for or real) less that of the others.

    ``values`` has the measures of chests by set and measure, (n,), ``drawn`` the replicates by set, (replicates, n).
    """
    return {
        name: contrast(
            values[name]["cardiothoracic_ratio"],
            np.array([ENLARGED in row["findings"].split("|") for row in images.rows]),
            drawn[name],
        )
        for name, images in sets.items()
    }


def frontal(images: ImageSet) -> np.ndarray:
    """Whether each image is a frontal one, or was asked to be: bool (n,). Those of an unknown view count as such."""
    return np.array([not row["view"].upper().startswith(LATERAL) for row in images.rows])


def measured(images: ImageSet, channels: Sequence[str], measure: Measure) -> dict[str, np.ndarray]:
    """Each measure of each image of a set, float64 (n,); NaN where it cannot be taken."""
    parts = [measure(batch, channels) for batch in images.batches()]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def of_domain(domain: str, images: ImageSet, channels: Sequence[str], measure: Measure) -> dict[str, np.ndarray]:
    """The domain's measures; of a chest those of the frontal images alone, NaN for the others."""
    if domain != "chest":
        return measured(images, channels, measure)
    chosen = frontal(images)
    kept = ImageSet(images.array, images.indices[chosen], images.rows, images.groups)
    found = {name: np.full(len(images), np.nan) for name in chest.MEASURES}
    if len(kept):
        for name, values in measured(kept, channels, measure).items():
            found[name][chosen] = values
    return found
