"""Features and class probabilities of the real, the synthetic and the baseline images, in each feature space.

They are extracted in shards and gathered here, which takes no torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from scansynth import shards, stage
from scansynth.errors import ScansynthError
from scansynth.evaluate import imagesets
from scansynth.evaluate.featureset import Arrays, FeatureSet, read, write

# What is extracted: the inputs of the stage, and of its shards.
INPUTS = ("pixels", "table", "manifest", *imagesets.INPUTS, "weights")
LISTS = ("inception", "xrv")


def weights_of(job: stage.Job) -> dict[str, Path]:
    """The file of each network that the stage was given."""
    return {"probe": job.inputs["weights"]} | {
        name: job.lists[name][0] for name in ("inception", "xrv") if job.lists[name]
    }


def gathered(paths: Sequence[Path], names: Sequence[str]) -> Iterator[FeatureSet]:
    """The feature spaces ``names``, in each of which a set is what the shards have of it, in order.

    Raises:
        ScansynthError: if no shard has a space.
    """
    parts = [{space.about.name: space for space in read(path)} for path in paths]
    for name in names:
        found = [spaces[name] for spaces in parts if name in spaces]
        if not found:
            raise ScansynthError(f"--shards hold no features of {name}: make them anew by scansynth.evaluate.extract")
        features, probabilities, groups = (
            _joined([getattr(part, kind) for part in found]) for kind in ("features", "probabilities", "groups")
        )
        yield FeatureSet(found[0].about, features, probabilities, groups)


def _joined(parts: Sequence[Mapping[str, np.ndarray]]) -> Arrays:
    names = tuple(dict.fromkeys(name for part in parts for name in part))
    return Arrays(lambda name: np.concatenate([part[name] for part in parts if name in part]), names)


def work(job: stage.Job) -> None:
    """Write the features of all shards into one file."""
    names, paths = job.settings.extract.extractors, job.lists["shards"]
    write(job.outputs["features"], gathered(paths, names))
    job.facts |= shards.facts(paths) | {"counts": read(job.outputs["features"])[0].counts, "extractors": list(names)}


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    stage.run("evaluate.features", work, inputs=INPUTS, lists=(*LISTS, "shards"), outputs=("features",), argv=argv)


if __name__ == "__main__":
    main()
