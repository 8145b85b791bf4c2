"""Planted copies, the positive control of the search: training images, changed as a model may change them."""

from dataclasses import dataclass

import numpy as np

from scansynth.evaluate.imagesets import ImageSet
from scansynth.evaluate.neighbours import GRID, MARGIN, aligned, symmetric

COUNT = 50  # of each kind
NOISE = 10.0  # grey levels: it shows
SHARE = 0.6  # of the training image in a blend

KINDS = {
    "exact": "the training image",
    "shifted": f"moved by up to 1/{GRID // MARGIN} of the side, edges repeated",
    "mirrored": "mirrored or, where the search allows for it, turned",
    "noisy": f"with Gaussian noise of {NOISE:g} grey levels",
    "blended": f"{SHARE:.0%} of it and {1 - SHARE:.0%} of a held-out image",
}


@dataclass(frozen=True)
class Planted:
    """Copies, and what they are copies of."""

    kinds: np.ndarray  # str, (n,): of ``KINDS``
    pixels: np.ndarray  # uint8, (n, channels, size, size)
    sources: np.ndarray  # int64, (n,): positions in the training set


def plant(train: ImageSet, held_out: ImageSet, symmetries: int, seed: int) -> Planted:
    """``COUNT`` copies of each kind, or as many as there are training images.

    Copy i of a kind is of image i of a random order, and depends on (seed, kind, i) alone; ``symmetries`` as for the
    search (``neighbours.symmetric``).
    """
    chosen = np.random.default_rng(seed).permutation(len(train))[:COUNT]
    originals = train.array[train.indices[chosen]]

    def shifted(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        # A pose's corner is anywhere up to twice the margin.
        corner = generator.integers(0, 2 * MARGIN * (image.shape[-1] // GRID) + 1, 2)
        return aligned(image[None], np.array([[0, *corner]]))[0]

    def mirrored(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return symmetric(image, int(generator.integers(1, symmetries)))

    def noisy(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return _whole(image + generator.normal(0, NOISE, image.shape))

    def blended(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        other = held_out.array[held_out.indices[generator.integers(len(held_out))]]
        return _whole(SHARE * image + (1 - SHARE) * other)

    changes = (lambda image, generator: image, shifted, mirrored, noisy, blended)
    copies = [
        change(image, np.random.default_rng(np.random.SeedSequence((seed, kind, i))))
        for kind, change in enumerate(changes)
        for i, image in enumerate(originals)
    ]
    return Planted(np.repeat(list(KINDS), len(chosen)), np.stack(copies), np.tile(chosen, len(KINDS)))


def _whole(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)
