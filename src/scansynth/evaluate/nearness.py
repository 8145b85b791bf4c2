"""Memorisation without a threshold: are images nearer to training images than to as many held-out ones?"""

import numpy as np

from scansynth.evaluate.bootstrap import Estimate, multiplicities
from scansynth.evaluate.imagesets import ImageSet
from scansynth.evaluate.neighbours import inside, whitening_of
from scansynth.store import evenly

MOST = 1000  # images of each set


def nearer_to_training(
    sets: dict[str, ImageSet], train: ImageSet, held_out: ImageSet, replicates: int, seed: int
) -> tuple[int, dict[str, Estimate]]:
    """The share of each set's images whose nearest training image is nearer than their nearest held-out one.

    A model that draws from what training and held-out patients have in common gives 0.5; a larger share is drawn to its
    training images (a share in the place of the rank test of Meehan et al. 2020, arXiv:2004.05675). Half of the
    held-out patients are the control: among the sets, as ``held_out``. The others are one gallery, as many training
    images of whole patients the other. What is compared is the correlation of images that are whitened by the rest of
    the training images: neither gallery has had a part in it.

    Returns:
        How many images each gallery has, and the shares, resampled over the patients of both galleries and of the set.
    """
    generator = np.random.default_rng(seed)
    of_train, of_held_out = (_by_patients(generator, images) for images in (train, held_out))
    control, other = np.array_split(of_held_out, [_half(held_out.groups[of_held_out])])
    count = min(len(other), len(train) // 2, MOST)
    galleries = _part(train, of_train[:count]), _part(held_out, other[:count])
    whitening = whitening_of(_part(train, np.sort(of_train[count:])))

    def vectors(images: ImageSet) -> np.ndarray:
        return np.concatenate([whitening(inside(batch)) for batch in images.batches()])

    bases = [vectors(gallery) for gallery in galleries]
    drawn = [multiplicities(generator, gallery.groups, replicates) > 0 for gallery in galleries]
    found = {}
    for name, images in (sets | {"held_out": _part(held_out, control)}).items():
        chosen = _part(images, evenly(np.arange(len(images)), MOST))
        alike = [vectors(chosen) @ basis.T for basis in bases]
        resampled = [
            np.greater(*(each[:, there].max(1) for each, there in zip(alike, draw, strict=True)))
            for draw in zip(*drawn, strict=True)
        ]
        times = multiplicities(generator, chosen.groups, replicates)
        nearer = np.greater(*(each.max(1) for each in alike))
        found[name] = Estimate(float(nearer.mean()), (times * resampled).sum(1) / times.sum(1))
    return count, found


def _by_patients(generator: np.random.Generator, images: ImageSet) -> np.ndarray:
    """Positions of the images in an order in which patients are shuffled, and the images of one are together."""
    numbers = np.unique(images.groups, return_inverse=True)[1]
    return np.argsort(generator.permutation(numbers.max() + 1)[numbers], kind="stable")


def _half(groups: np.ndarray) -> int:
    """How many images half of the patients have, where those of one are together."""
    starts = np.flatnonzero(np.diff(groups)) + 1
    return int(starts[len(starts) // 2])


def _part(images: ImageSet, positions: np.ndarray) -> ImageSet:
    rows = [images.rows[i] for i in positions]
    return ImageSet(images.array, images.indices[positions], rows, images.groups[positions])
