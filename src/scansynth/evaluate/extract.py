"""Extract a shard of the features: those of a run of the batches of all sets, in each feature space.

Any number of shards gives the same features: batches are those of the sets, however these are shared out.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from scansynth import stage
from scansynth.evaluate.extractors import make
from scansynth.evaluate.feature_cache import FeatureCache
from scansynth.evaluate.features import INPUTS, LISTS, weights_of
from scansynth.evaluate.featureset import About, Arrays, FeatureSet, write
from scansynth.evaluate.imagesets import BATCH, ImageSet, open_sets
from scansynth.shards import share
from scansynth.store import Store, open_store

CACHE = Path("data/features")


def shared_out(sets: dict[str, ImageSet], shard: str) -> dict[str, ImageSet]:
    """What the shard (``2-of-8``) has of each set, as far as it has any of it."""
    batches = [(key, start) for key, images in sets.items() for start in range(0, len(images), BATCH)]
    run = share(shard, len(batches))
    starts: dict[str, list[int]] = {}
    for key, start in batches[run.start : run.stop]:
        starts.setdefault(key, []).append(start)
    return {key: _part(sets[key], slice(found[0], found[-1] + BATCH)) for key, found in starts.items()}


def _part(images: ImageSet, part: slice) -> ImageSet:
    return replace(images, indices=images.indices[part], rows=images.rows[part], groups=images.groups[part])


def in_space(name: str, store: Store, sets: dict[str, ImageSet], weights: dict[str, Path]) -> FeatureSet:
    """All sets in the feature space ``name``, computed (or found in the cache) when they are asked for.

    ``weights`` has the files of the networks that are used.
    """
    extractor, cache = make(name, store, weights), FeatureCache(CACHE)

    def features(key: str) -> np.ndarray:
        return cache.features(extractor, sets[key])

    def probabilities(key: str) -> np.ndarray:
        found = features(key)
        # By batch, as the features are: a matrix product's last bits depend on how many rows it has.
        return np.concatenate([extractor.probabilities(found[i : i + BATCH]) for i in range(0, len(found), BATCH)])

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


def work(job: stage.Job) -> None:
    """The stage; ``--shard 2-of-8`` says which. A shard without a batch has no feature space."""
    store = open_store(job.inputs["pixels"])
    sets = shared_out(open_sets(store, job.inputs), job.texts["shard"])
    names = job.settings.extract.extractors if sets else ()
    weights = weights_of(job)
    write(job.outputs["features"], (in_space(name, store, sets, weights) for name in names))


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    stage.run("evaluate.extract", work, inputs=INPUTS, lists=LISTS, outputs=("features",), texts=("shard",), argv=argv)


if __name__ == "__main__":
    main()
