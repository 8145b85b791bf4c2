"""The Inception score: are images of one class each, and of all classes together?"""

from typing import Any

import numpy as np
from scipy.special import entr

from scansynth import stage
from scansynth.evaluate.bootstrap import Estimate, multiplicities, rounded
from scansynth.evaluate.featureset import FeatureSet, read
from scansynth.evaluate.report import describe, header
from scansynth.files import read_json, write_json
from scansynth.sections import Evaluate

SPLITS = 10


def inception_score(probabilities: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """Exponential of the mean divergence between an image's classes and those of all: 1 (worst) to k (best).

    exp(E KL(p(y|x) || p(y))), Salimans et al. 2016, arXiv:1606.03498, section 4, as exp(H(E p) - E H(p)).

    Args:
        probabilities: (n, k), rows that sum to 1.
        counts: (..., n), how often each image counts; once if None.

    Returns:
        The score, of shape (...).
    """
    counts = np.ones(len(probabilities)) if counts is None else counts
    shares = counts / counts.sum(-1, keepdims=True)
    of_all = entr(shares @ probabilities).sum(-1)
    of_each = shares @ entr(probabilities).sum(-1)
    return np.exp(of_all - of_each)


def split_scores(probabilities: np.ndarray, seed: int, splits: int = SPLITS) -> np.ndarray:
    """The scores of ``splits`` random parts of the images, (splits,): fewer where there are not as many images."""
    order = np.random.default_rng(seed).permutation(len(probabilities))
    parts = np.array_split(probabilities[order], min(splits, len(probabilities)))
    return np.array([inception_score(part) for part in parts])


def scores(feature_sets: list[FeatureSet], manifest: dict[str, Any], settings: Evaluate) -> dict[str, Any]:
    """The result file: the score of each set of images by each extractor's classes."""
    spaces = {each.about.name: _scored(each, settings) for each in feature_sets if each.about.classes}
    return {
        "metric": f"Inception score of the classes of {' and '.join(spaces) or 'no extractor'}",
        "comparable_with_published_inception_score": any(each.about.published_inception for each in feature_sets),
        "comparable_note": "The published score is of the 1,008 outputs of FID's Inception-v3, trained on photographs: "
        "of medical images, that of 'inception' alone is comparable, and says little.",
        **header(manifest, feature_sets[0].counts, settings),
        "unit": "effective number of classes",
        "extractors": spaces,
        "verdicts": [_verdict(name, space) for name, space in spaces.items()],
    }


def _verdict(name: str, space: dict[str, Any]) -> str:
    real, samples = space["reference"], space["samples"]
    low, high = samples["interval"]
    beside = "above" if low > real["value"] else "below" if high < real["value"] else "not told apart from"
    return (
        f"By {name}'s classes the samples' score of {samples['value']:.3g} is {beside} that of held-out real images, "
        f"{real['value']:.3g} ({space['pca_gaussian']['value']:.3g} for the PCA Gaussian). Below means that fewer show "
        "one class plainly, or that classes are missing; whether they show what was asked for is not in this score."
    )


def _scored(feature_set: FeatureSet, settings: Evaluate) -> dict[str, Any]:
    name, k = feature_set.about.name, len(feature_set.about.classes)
    generator = np.random.default_rng(settings.seed)
    found: dict[str, Any] = {
        "metric": f"Inception score of {name}'s classes, {k} classes, upper bound {k}",
        "extractor": describe(feature_set),
        "class_names": list(feature_set.about.classes),
    }
    for key, probabilities in feature_set.probabilities.items():
        drawn = multiplicities(generator, feature_set.groups[key], settings.bootstrap)
        whole = Estimate(float(inception_score(probabilities)), inception_score(probabilities, drawn))
        parts = split_scores(probabilities, settings.seed)
        found[key] = whole.as_json() | {
            "splits": len(parts),
            "split_mean": rounded(parts.mean()),
            "split_std": rounded(parts.std(ddof=1)),
        }
    return found


def work(job: stage.Job) -> None:
    """Compute the scores and write them."""
    settings = job.settings.evaluate
    result = scores(read(job.inputs["features"]), read_json(job.inputs["manifest"]), settings)
    write_json(job.outputs["scores"], result)


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    stage.run("evaluate.inception_score", work, inputs=("features", "manifest"), outputs=("scores",), argv=argv)


if __name__ == "__main__":
    main()
