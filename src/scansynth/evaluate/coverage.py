"""Precision, recall, density and coverage: is a synthetic image like real ones, and each real one like some?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scansynth import stage
from scansynth.errors import ScansynthError
from scansynth.evaluate.bootstrap import Estimate, multiplicities
from scansynth.evaluate.featureset import FeatureSet, read
from scansynth.evaluate.imagesets import SETS
from scansynth.evaluate.report import OTHERS, WORDS, describe, header
from scansynth.files import read_json, write_json
from scansynth.sections import Evaluate

NEIGHBOURS = (3, 5)  # k as published: of precision and recall, of density and coverage
ROWS = 512  # of the distances that are in memory at once
# Squared distances are differences of squared lengths; those that differ by less than this share of them are equal. It
# is far above the rounding of float64, and two identical images whose float32 features differ by rounding stay below.
TOLERANCE = 1e-10

MEANINGS = {
    "precision": "share of the set's images that lie in the ball of some real image: are they like real ones?",
    "recall": "share of the real images that lie in the ball of some image of the set: could the set show them?",
    "density": "real images in whose ball an image of the set lies, on average, in units of k; about 1 for real images",
    "coverage": "share of the real images in whose ball some image of the set lies: does the set come near each?",
}
BALLS = (
    "an image's ball reaches to its k-th nearest neighbour in its own set; as published, k is "
    f"{NEIGHBOURS[0]} for precision and recall (arXiv:1904.06991), {NEIGHBOURS[1]} for density and coverage "
    "(arXiv:2002.09797)"
)
RESAMPLED = (
    "each replicate draws both sets: precision and density are means over the set's images, recall and coverage over "
    "the real ones, but each depends on the other set too. Balls are as large as in the whole sets; that of an image "
    "which a replicate leaves out is not there. In trials on 150 to 375 images 83% to 100% of such intervals held the "
    "expected value, and 89% to 100% of those of a difference: most are too wide. Where all of n images or none of them"
    " lie in a ball the interval has no width, though 3 / n of all such images may do otherwise"
)
LIMITS = (
    "Read the four together. A set that repeats a few good images has a high precision and a low recall and coverage. "
    "A density above the floor's means that a set keeps to what is common among real images, which is no virtue. "
    "Images far from all others make large balls, so that a high recall alone says little. Where a patient has many "
    "images their balls are small, which lowers precision and coverage, the floor's alike, and the floor's recall."
)


@dataclass(frozen=True)
class Prdc:
    """The four figures."""

    precision: float
    recall: float
    density: float
    coverage: float


class Manifold:
    """The reference: its images' features, and the ball of each.

    An image's ball reaches to its k-th nearest neighbour in its own set. Precision and recall are the share of the
    others in some ball of the reference, and of the reference in some ball of the others; the balls are closed
    (Kynkäänniemi et al. 2019, arXiv:1904.06991, eq. 1 and 2). Density is the number of the reference's balls that one
    of the others is in, on average, in units of k; coverage is the share of the reference's balls that hold some of the
    others; the balls are open, as in the authors' code, so that a set has density 1 beside itself (Naeem et al. 2020,
    arXiv:2002.09797, eq. 5 and 6).
    """

    def __init__(self, reference: np.ndarray, neighbours: Sequence[int] = NEIGHBOURS) -> None:
        """Fit the balls to features (n, d); ``neighbours`` are k of precision and recall, of density and coverage.

        Raises:
            ScansynthError: if there are not more than k images.
        """
        self._neighbours = neighbours
        self._centre = reference.mean(0, dtype=np.float64)
        self._features = reference - self._centre
        self._closed, self._open = squared_radii(self._features, neighbours)

    def figures(
        self, others: np.ndarray, times_reference: np.ndarray, times_others: np.ndarray
    ) -> dict[str, np.ndarray]:
        """The four figures of features (m, d), by name, each (replicates,): all balls are those of the whole sets.

        Where an image counts 0 times it is not there, and nor is its ball; where it counts twice so does its ball.

        Args:
            others: features of the images that are judged.
            times_reference: (replicates, n), how often each image of the reference counts.
            times_others: (replicates, m), the same of the others.

        Raises:
            ScansynthError: if there are not more than k others.
        """
        others = others - self._centre
        (closed_of_others,) = squared_radii(others, self._neighbours[:1])
        times_reference, times_others = (np.asarray(each, np.float32) for each in (times_reference, times_others))
        precise, within = np.empty((2, *times_others.shape), np.float32)
        recalled, covered = np.zeros((2, *times_reference.shape), bool)
        for rows, squares, slack in _distances(others, self._features):
            in_open = (squares + slack < self._open).astype(np.float32)
            in_closed = (squares - slack <= self._closed).astype(np.float32)
            reached = (squares - slack <= closed_of_others[rows, None]).astype(np.float32)
            precise[:, rows] = times_reference @ in_closed.T > 0
            within[:, rows] = times_reference @ in_open.T
            recalled |= times_others[:, rows] @ reached > 0
            covered |= times_others[:, rows] @ in_open > 0
        return {
            "precision": _mean(precise, times_others),
            "recall": _mean(recalled, times_reference),
            "density": _mean(within, times_others) / self._neighbours[1],
            "coverage": _mean(covered, times_reference),
        }


def prdc(reference: np.ndarray, others: np.ndarray, neighbours: int | None = None) -> Prdc:
    """Precision, recall, density and coverage of features ``others`` (m, d) beside the ``reference`` (n, d).

    ``neighbours`` is k of all four; None: as published, 3 for precision and recall, 5 for density and coverage.

    Raises:
        ScansynthError: if a set has not more than k images.
    """
    manifold = Manifold(reference, NEIGHBOURS if neighbours is None else (neighbours, neighbours))
    found = manifold.figures(others, np.ones((1, len(reference))), np.ones((1, len(others))))
    return Prdc(**{name: float(values[0]) for name, values in found.items()})


def squared_radii(features: np.ndarray, neighbours: Sequence[int]) -> np.ndarray:
    """Squared distance of each image from its k-th nearest neighbour but itself: (len(neighbours), n), for each k.

    Raises:
        ScansynthError: if there are not more than k images.
    """
    if len(features) <= max(neighbours):
        raise ScansynthError(f"{len(features)} images have no {max(neighbours)} neighbours each: more are needed")
    found = np.empty((len(neighbours), len(features)))
    for rows, squares, _ in _distances(features, features):
        # The image itself is the nearest.
        found[:, rows] = np.partition(squares, neighbours, axis=1)[:, neighbours].T
    return found


def _distances(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Squared distances of some of the first from all of the second, and by how much they may be wrong."""
    lengths, other_lengths = (np.einsum("nd,nd->n", each, each) for each in (first, second))
    for start in range(0, len(first), ROWS):
        rows = slice(start, start + ROWS)
        sums = lengths[rows, None] + other_lengths
        yield rows, sums - 2 * first[rows] @ second.T, TOLERANCE * sums


def _mean(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    return (values * times).sum(1, dtype=np.float64) / times.sum(1, dtype=np.float64)


def estimates(feature_set: FeatureSet, replicates: int, seed: int) -> dict[str, dict[str, Estimate]]:
    """The four figures of each set, by figure and set; replicate i resamples the reference alike for all sets.

    Raises:
        ScansynthError: if a set has too few images.
    """
    generator = np.random.default_rng(seed)
    # The first row counts each image once: that is the value.
    drawn = {
        name: np.vstack([np.ones(len(groups)), multiplicities(generator, groups, replicates)])
        for name, groups in feature_set.groups.items()
    }
    manifold = Manifold(feature_set.features["reference"])
    found: dict[str, dict[str, Estimate]] = {name: {} for name in MEANINGS}
    for key in SETS:
        figures = manifold.figures(feature_set.features[key], drawn["reference"], drawn[key])
        for name, values in figures.items():
            found[name][key] = Estimate(float(values[0]), values[1:])
    return found


def coverage(feature_sets: list[FeatureSet], manifest: dict[str, Any], settings: Evaluate) -> dict[str, Any]:
    """The result file: the four figures in each feature space, their intervals, and what they say in words.

    All are null, with the reason, where a set has too few images.
    """
    counts = feature_sets[0].counts
    few = [name for name, count in counts.items() if count <= max(NEIGHBOURS)]
    reason = f"too few images of {' and '.join(few)}: each needs {max(NEIGHBOURS)} neighbours" if few else None
    spaces = {}
    for each in feature_sets:
        found = {} if few else estimates(each, settings.bootstrap, settings.seed)
        compared = {name: _compared(of_sets, None if name == "density" else 1) for name, of_sets in found.items()}
        spaces[each.about.name] = {"extractor": describe(each)} | dict.fromkeys(MEANINGS) | compared
    return {
        "metric": "precision and recall, density and coverage",
        **header(manifest, counts, settings),
        "resampled": RESAMPLED,
        "unit": MEANINGS,
        "balls": BALLS,
        "extractors": spaces,
        "reason": reason,
        "verdicts": [f"None of the four can be had: {reason}."] if few else [*verdicts(spaces), LIMITS],
    }


def verdicts(spaces: dict[str, Any]) -> list[str]:
    """Plain sentences: is each figure of the samples higher than those of the floor and the baselines?

    A difference counts where its 95% interval lies on one side of 0.
    """
    sentences = []
    for name in MEANINGS:
        for other, words in WORDS.items():
            places: dict[str, list[str]] = {}
            for space, found in spaces.items():
                places.setdefault(_answer(*found[name][f"samples_minus_{other}"]["interval"]), []).append(space)
            said = "; ".join(f"{answer} in {' and '.join(names)} features" for answer, names in places.items())
            sentences.append(f"{name.capitalize()} of the samples, beside that of {words}: {said}.")
    return sentences


def _answer(low: float, high: float) -> str:
    if high < 0:
        return "lower"
    return "higher" if low > 0 else "not told apart"


def _compared(found: dict[str, Estimate], most: float | None) -> dict[str, Any]:
    """Each set's figure, its interval within 0 and ``most``, then the samples' less each other set's."""
    compared = {name: estimate.as_json() for name, estimate in found.items()}
    for values in compared.values():
        values["interval"] = np.clip(values["interval"], 0, most).tolist()
    return compared | {f"samples_minus_{name}": (found["samples"] - found[name]).as_json() for name in OTHERS}


def work(job: stage.Job) -> None:
    """Compute the figures and write them."""
    result = coverage(read(job.inputs["features"]), read_json(job.inputs["manifest"]), job.settings.evaluate)
    write_json(job.outputs["coverage"], result)


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    stage.run("evaluate.coverage", work, inputs=("features", "manifest"), outputs=("coverage",), argv=argv)


if __name__ == "__main__":
    main()
