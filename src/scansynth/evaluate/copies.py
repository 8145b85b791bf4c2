"""The decision that an image is a copy: thresholds that held-out patients set, who cannot have been copied."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from scansynth.errors import ScansynthError
from scansynth.evaluate.imagesets import ImageSet
from scansynth.evaluate.neighbours import BATCH, EmbeddingSearch, PixelSearch

TAIL = 0.1  # share of the similarities that a threshold is extrapolated from
FOLDS = 10  # parts of the held-out patients, each judged by thresholds that the others set


@dataclass(frozen=True)
class Nearest:
    """What each of n images comes nearest to in the training set, by pixels and by embedding."""

    neighbour: np.ndarray  # int64, (n,): position in the training set, by pixels
    correlation: np.ndarray  # float32, (n,): of the whitened images, -1 to 1
    pose: np.ndarray  # int64, (n, 3): how the image lies on its neighbour, see ``neighbours.aligned``
    lookalike: np.ndarray  # int64, (n,): position in the training set, by embedding
    similarity: np.ndarray  # float32, (n,): correlation of the whitened features, -1 to 1

    def at(self, chosen: np.ndarray) -> Self:
        """That of some of the images."""
        return type(self)(*(values[chosen] for values in vars(self).values()))


@dataclass(frozen=True)
class Matches(Nearest):
    """The same, with the decision whether each image is a copy."""

    by_pixels: np.ndarray  # bool, (n,)
    by_embedding: np.ndarray  # bool, (n,)

    @property
    def copies(self) -> np.ndarray:
        """Whether either detector says so, bool (n,).

        That was chosen by measurement, each with half of the false alarms: it loses at most 4 of 100 blended copies
        that pixels alone would find, and finds a few rotated ones; where both had to agree, nearly all blends went.
        """
        return self.by_pixels | self.by_embedding

    @property
    def sources(self) -> np.ndarray:
        """The training image that a copy is of, int64 (n,)."""
        return np.where(self.by_embedding & ~self.by_pixels, self.lookalike, self.neighbour)


@dataclass(frozen=True)
class Thresholds:
    """Above either, an image is a copy: one of each for all images, or for each image its own, (n,)."""

    correlation: float | np.ndarray
    similarity: float | np.ndarray

    @classmethod
    def set_by(cls, held_out: Nearest, false_alarms: float) -> "Thresholds":
        """Those that a share ``false_alarms`` of images like the held-out ones are above."""
        return cls(*(threshold(each, false_alarms / 2) for each in (held_out.correlation, held_out.similarity)))

    def judge(self, nearest: Nearest) -> Matches:
        """Say which images are copies."""
        by_pixels, by_embedding = nearest.correlation > self.correlation, nearest.similarity > self.similarity
        return Matches(**vars(nearest), by_pixels=by_pixels, by_embedding=by_embedding)


@dataclass(frozen=True)
class Audit:
    """A search for copies of training images."""

    by_pixels: PixelSearch
    by_embedding: EmbeddingSearch
    thresholds: Thresholds
    held_out: Matches  # by thresholds that other held-out patients set: what is called a copy here is a false alarm

    @classmethod
    def fitted(
        cls,
        train: ImageSet,
        held_out: ImageSet,
        embed: Callable[[np.ndarray], np.ndarray],
        false_alarms: float,
        symmetries: int = 2,
    ) -> "Audit":
        """Search among training images, with thresholds that take this share of held-out ones for copies.

        Args:
            train: images that may have been copied.
            held_out: images of patients who cannot have been.
            embed: features (n, d) of images (n, channels, size, size), uint8.
            false_alarms: share of images like the held-out ones that may be called copies, 0 to 0.5.
            symmetries: 2 to search for mirrored images too, 8 for those turned by right angles besides.

        Raises:
            ScansynthError: if there are too few training images or held-out patients.
        """
        patients = np.unique(held_out.groups, return_inverse=True)[1]
        count = patients.max(initial=-1) + 1
        if len(train) < 4 or count < 3:
            raise ScansynthError(
                f"{len(train)} training images, {len(held_out)} images of {count} held-out patients (val and test): "
                "the search for copies needs 4 and 3 at least (images.train, images.val, images.test)"
            )
        searches = PixelSearch(train, symmetries), EmbeddingSearch(train, embed, symmetries)
        nearest = _nearest(*searches, held_out.batches(BATCH))
        folds = patients % FOLDS
        of_folds = [Thresholds.set_by(nearest.at(folds != fold), false_alarms) for fold in range(folds.max() + 1)]
        by_others = Thresholds(
            np.array([each.correlation for each in of_folds])[folds],
            np.array([each.similarity for each in of_folds])[folds],
        )
        return cls(*searches, Thresholds.set_by(nearest, false_alarms), by_others.judge(nearest))

    def search(self, pixels: np.ndarray) -> Matches:
        """Find the neighbours of images (n, channels, size, size), uint8, and say which are copies."""
        batches = (pixels[i : i + BATCH] for i in range(0, len(pixels), BATCH))
        return self.thresholds.judge(_nearest(self.by_pixels, self.by_embedding, batches))


def threshold(similarities: np.ndarray, false_alarms: float) -> float:
    """The correlation (n,) that a share ``false_alarms`` of images like these are above.

    It lies among the highest, or beyond them, where the few there are say little. As Fisher's z, the highest m of
    them exceed the next highest by exponentially distributed amounts (peaks over a threshold with shape 0: Pickands
    1975, doi:10.1214/aos/1176343003). Given their mean, another such amount is above c means with probability
    (1 + c / m)**-m: the mean's uncertainty is part of the threshold. Set by 40 to 300 phantoms or NIH radiographs for
    0.5%, it took 0.3% to 0.9% of other patients' images for copies; the plain quantile took 0.8% to 2.8%, the quantile
    of a Gumbel distribution up to 2.5%, of a Gaussian up to 3.9%.
    """
    z = np.sort(np.arctanh(np.clip(similarities.astype(np.float64), -1 + 1e-6, 1 - 1e-6)))
    m = max(1, int(max(TAIL, false_alarms) * len(z)))
    start = z[-m - 1]
    share = (m + 1) / (len(z) + 1)  # of further images like these: it is above the next highest
    means = m * max(0.0, (share / false_alarms) ** (1 / m) - 1)
    return float(np.tanh(start + means * (z[-m:] - start).mean()))


def _nearest(by_pixels: PixelSearch, by_embedding: EmbeddingSearch, batches: Iterable[np.ndarray]) -> Nearest:
    parts = []
    for batch in batches:
        found = by_pixels.nearest(batch)
        parts.append((found.neighbour, found.correlation, found.pose, *by_embedding.nearest(batch, found.pose)))
    return Nearest(*map(np.concatenate, zip(*parts, strict=True)))
