"""Distances of the synthetic images from held-out real ones, beside a floor and two baselines, with intervals."""

from typing import Any

import numpy as np

from scansynth import stage
from scansynth.evaluate.bootstrap import Estimate, multiplicities, rounded
from scansynth.evaluate.featureset import About, FeatureSet, read
from scansynth.evaluate.frechet import frechet_estimates
from scansynth.evaluate.kernel import kernel_estimates
from scansynth.evaluate.report import OTHERS, WORDS, describe, header
from scansynth.files import read_json, write_json
from scansynth.sections import Evaluate

WITHOUT_FID = (
    "FID is the Frechet distance in the features of one network, an Inception-v3 trained on photographs. The distances "
    "here are in other features, so that their scale is another: read them against the floor and the baselines."
)
WITH_FID = (
    "Of these, only the distance in Inception's features is an FID, and it compares only with one from as many images, "
    "of the same size and the same reference: with few images it is biased upwards, as its floor shows."
)

REPLICATES = (
    "those of the Frechet distance are linearised (infinitesimal jackknife): where two sets are alike, as at the "
    "floor, its intervals are up to 1.5 times too wide"
)
COPIES = (
    "How many of the samples are copies of training images, by the search in memorization_<name>.json: a set of copies "
    "has the smallest distance of all."
)


def distances(
    feature_sets: list[FeatureSet], manifest: dict[str, Any], copies: dict[str, Any], settings: Evaluate
) -> dict[str, Any]:
    """The result file: both distances in each feature space, their intervals, and what they say in words.

    ``copies`` is the report of the search for copies: a distance is not to be read without it.
    """
    spaces = {}
    for each in feature_sets:
        generator = np.random.default_rng(settings.seed)
        drawn = {name: multiplicities(generator, groups, settings.bootstrap) for name, groups in each.groups.items()}
        spaces[each.about.name] = {
            "metric": _named(each.about),
            "extractor": describe(each),
            "frechet_distance": _compared(frechet_estimates(each.features, drawn)),
            "kernel_distance": _kernel(each, drawn, settings),
        }
    published = any(each.about.published_inception for each in feature_sets)
    return {
        "metric": " and ".join(space["metric"] for space in spaces.values()),
        "comparable_with_published_fid": published,
        "comparable_note": WITH_FID if published else WITHOUT_FID,
        **header(manifest, feature_sets[0].counts, settings),
        "replicates": REPLICATES,
        "unit": "squared unit of the features for the Frechet distance, none for the kernel distance; 0 is no distance",
        "extractors": spaces,
        "copies": {**copies["found"]["samples"]["copies"], "note": COPIES},
        "verdicts": [*verdicts(spaces), copies["verdicts"][0]],
    }


def _kernel(feature_set: FeatureSet, drawn: dict[str, np.ndarray], settings: Evaluate) -> dict[str, Any]:
    """Kernel distances, with mean and deviation over subsets, as KID is reported."""
    size = min(settings.kid_subset, *feature_set.counts.values())
    count = settings.kid_subsets
    estimates, over_subsets = kernel_estimates(feature_set.features, drawn, size, count, settings.seed)
    found = _compared(estimates)
    for name, values in over_subsets.items():
        found[name] |= {"subset_mean": rounded(values.mean()), "subset_std": rounded(values.std())}
    return found | {"subset_images": size, "subsets": count}


def verdicts(spaces: dict[str, Any]) -> list[str]:
    """Plain sentences: is each distance of the samples smaller than those of the floor and the baselines?

    A difference counts where its 95% interval lies on one side of 0.
    """
    sentences = []
    for other, words in WORDS.items():
        for key, metric in (("frechet_distance", "Frechet"), ("kernel_distance", "kernel")):
            places: dict[str, list[str]] = {}
            for name, space in spaces.items():
                places.setdefault(_answer(space[key][f"samples_minus_{other}"]), []).append(name)
            said = "; ".join(f"{answer} in {' and '.join(names)} features" for answer, names in places.items())
            sentences.append(f"{metric} distance of the samples, beside that of {words}: {said}.")
    return sentences


def _answer(difference: dict[str, Any]) -> str:
    low, high = difference["interval"]
    if high < 0:
        return "smaller"
    return "larger" if low > 0 else "not told apart"


def _compared(estimates: dict[str, Estimate]) -> dict[str, Any]:
    """Each set's distance, then the samples' against each other set: the difference, and the ratio.

    A ratio to what may be 0 says nothing, and is null.
    """
    samples = estimates["samples"]
    found: dict[str, Any] = {name: estimate.as_json() for name, estimate in estimates.items()}
    for name in OTHERS:
        found[f"samples_minus_{name}"] = (samples - estimates[name]).as_json()
    for name in OTHERS:
        other = estimates[name]
        found[f"samples_over_{name}"] = rounded(samples.value / other.value) if other.interval[0] > 0 else None
    return found


def _named(about: About) -> str:
    """What the distance is called: FID only in the features of FID's own network, with its published weights."""
    return "FID" if about.published_inception else f"Frechet distance in {about.name} features"


def work(job: stage.Job) -> None:
    """Compute the distances and write them."""
    settings = job.settings.evaluate
    manifest, copies = (read_json(job.inputs[name]) for name in ("manifest", "copies"))
    result = distances(read(job.inputs["features"]), manifest, copies, settings)
    write_json(job.outputs["distances"], result)


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    stage.run("evaluate.fid", work, inputs=("features", "manifest", "copies"), outputs=("distances",), argv=argv)


if __name__ == "__main__":
    main()
