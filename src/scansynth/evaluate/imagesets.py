"""The sets of images that every figure compares: held-out real ones, a floor, the samples and two baselines."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scansynth.errors import ScansynthError
from scansynth.store import Store, evenly, read_table

# What is compared with the reference, by the name that results give it.
SETS = {
    "samples": "synthetic images",
    "floor": "real training images, which the probe has seen: about what a perfect model reaches at this number",
    "pca_gaussian": "baseline: draws from a Gaussian fitted to the training images' pixels",
    "untrained_network": "baseline: the same network with its initial weights",
}
REFERENCE = "real images of the test split: patients that neither the model nor the probe has seen"

# What a stage that looks at the images of all sets is given: see ``open_sets``.
SYNTHETIC = {
    "samples": ("samples", "conditions"),
    "pca_gaussian": ("pca", "pca_conditions"),
    "untrained_network": ("untrained", "untrained_conditions"),
}
INPUTS = tuple(name for names in SYNTHETIC.values() for name in names)

BATCH = 256  # images in memory at once


@dataclass(frozen=True)
class ImageSet:
    """Some images of an array, what they show, and whose they are."""

    array: np.ndarray  # uint8, (m, channels, size, size), memory-mapped
    indices: np.ndarray  # int64, (n,): the images of the array that belong to the set
    rows: list[dict[str, str]]  # n; findings and view (of synthetic images, those asked for)
    groups: np.ndarray  # int64, (n,): images of one patient have one number; each synthetic image has its own

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def pixels(self) -> np.ndarray:
        """All the images, uint8 of shape (n, channels, size, size), in memory."""
        return self.array[self.indices]

    def batches(self, size: int = BATCH) -> Iterator[np.ndarray]:
        """The images in order, ``size`` at a time: uint8 of shape (size or fewer, channels, height, width)."""
        return (self.array[self.indices[i : i + size]] for i in range(0, len(self), size))


def real_set(store: Store, indices: np.ndarray) -> ImageSet:
    """The store's images at these positions."""
    rows = [store.table[i] for i in indices]
    numbers: dict[str, int] = {}
    groups = [numbers.setdefault(row["patient"], len(numbers)) for row in rows]
    return ImageSet(store.pixels, indices, rows, np.array(groups, dtype=np.int64))


def split_set(store: Store, split: str, most: int | None = None) -> ImageSet:
    """The images of a split (train, val or test), or ``most`` of them, evenly spaced.

    Raises:
        ScansynthError: if there are fewer than the 2 that a covariance needs.
    """
    positions = store.indices(split)
    chosen = positions if most is None else evenly(positions, most)
    if len(chosen) < 2:
        raise ScansynthError(f"the {split} split has {len(chosen)} image(s); a distance needs 2 at least")
    return real_set(store, chosen)


def synthetic_set(pixels: Path, conditions: Path, store: Store) -> ImageSet:
    """A file of synthetic images, and the table of what each was asked to show.

    Raises:
        ScansynthError: if they are not of the store's kind, or fewer than 2, or the table has other rows.
    """
    array = np.load(pixels, mmap_mode="r", allow_pickle=False)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != store.pixels.shape[1:]:
        raise ScansynthError(
            f"{pixels}: {array.dtype} of shape {array.shape}, but the real images are uint8 of shape "
            f"(n, {', '.join(map(str, store.pixels.shape[1:]))}): make it anew"
        )
    if len(array) < 2:
        raise ScansynthError(f"{pixels}: {len(array)} image(s); a distance needs 2 at least (sample.count)")
    rows = read_table(conditions)
    if len(rows) != len(array):
        raise ScansynthError(f"{pixels}: {len(array)} images, but {len(rows)} rows in {conditions}: make both anew")
    return ImageSet(array, np.arange(len(array)), rows, np.arange(len(array)))


def open_sets(store: Store, inputs: dict[str, Path]) -> dict[str, ImageSet]:
    """The ``reference`` (the test split) and the sets of ``SETS``, of the files that ``INPUTS`` names.

    The floor has as many images as the samples have, or all the training images where these are fewer.

    Raises:
        ScansynthError: if a split or a set is too small, or does not fit the store.
    """
    synthetic = {name: synthetic_set(*(inputs[key] for key in keys), store) for name, keys in SYNTHETIC.items()}
    real = {"reference": split_set(store, "test"), "floor": split_set(store, "train", len(synthetic["samples"]))}
    return {name: (real | synthetic)[name] for name in ("reference", *SETS)}
