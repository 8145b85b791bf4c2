"""Features and class probabilities of the real, the synthetic and the baseline images, in each feature space."""

from pathlib import Path

import numpy as np

from scansynth import stage
from scansynth.evaluate.extractors import make
from scansynth.evaluate.feature_cache import FeatureCache
from scansynth.evaluate.featureset import About, Arrays, FeatureSet, write
from scansynth.evaluate.imagesets import INPUTS, ImageSet, open_sets
from scansynth.store import Store, open_store

CACHE = Path("data/features")


def in_space(name: str, store: Store, sets: dict[str, ImageSet], weights: dict[str, Path]) -> FeatureSet:
    """All sets in the feature space ``name``, computed (or found in the cache) when they are asked for.

    ``weights`` has the files of the networks that are used.
    """
    extractor, cache = make(name, store, weights), FeatureCache(CACHE)

    def features(key: str) -> np.ndarray:
        return cache.features(extractor, sets[key])

    def probabilities(key: str) -> np.ndarray:
        return extractor.probabilities(features(key))

    about = About(
        name,
        extractor.version,
        extractor.weights_sha256,
        extractor.published_inception,
        tuple(extractor.classes),
        extractor.notes,
    )
    groups = {key: images.groups for key, images in sets.items()}
    return FeatureSet(about, Arrays(features, tuple(sets)), Arrays(probabilities, tuple(sets)), groups)


def weights_of(job: stage.Job) -> dict[str, Path]:
    """The file of each network that the stage was given."""
    return {"probe": job.inputs["weights"]} | {
        name: job.lists[name][0] for name in ("inception", "xrv") if job.lists[name]
    }


def work(job: stage.Job) -> None:
    """Extract all features of all sets and write them into one file."""
    store = open_store(job.inputs["pixels"])
    sets = open_sets(store, job.inputs)
    names, weights = job.settings.extract.extractors, weights_of(job)
    write(job.outputs["features"], (in_space(name, store, sets, weights) for name in names))
    job.facts |= {"counts": {key: len(images) for key, images in sets.items()}, "extractors": list(names)}


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    inputs = ("pixels", "table", "manifest", *INPUTS, "weights")
    lists = ("inception", "xrv")
    stage.run("evaluate.features", work, inputs=inputs, lists=lists, outputs=("features",), argv=argv)


if __name__ == "__main__":
    main()
