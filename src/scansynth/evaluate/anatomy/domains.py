"""Chest, brain or tissue: whose measures are taken of a set of images."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from scansynth.config import Settings
from scansynth.evaluate import segmenter
from scansynth.evaluate.anatomy import brain, chest, tissue
from scansynth.evaluate.imagesets import ImageSet

# Images of a set (uint8, (n, channels, size, size)) and the channels' names, to each measure of each image.
Measure = Callable[[np.ndarray, Sequence[str]], dict[str, np.ndarray]]

MEASURES = {"chest": chest.MEASURES, "brain": brain.MEASURES, "tissue": tissue.MEASURES, "none": {}}
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
