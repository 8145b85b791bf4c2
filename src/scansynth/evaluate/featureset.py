"""The file of features that the distances and scores are computed from."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from scansynth.files import atomic

# What is compared with the reference, by the name that results give it.
SETS = {
    "samples": "synthetic images",
    "floor": "real training images, which the probe has seen: about what a perfect model reaches at this number",
    "pca_gaussian": "baseline: draws from a Gaussian fitted to the training images' pixels",
    "untrained_network": "baseline: the same network with its initial weights",
}
REFERENCE = "real images of the test split: patients that neither the model nor the probe has seen"


@dataclass(frozen=True)
class About:
    """Which feature space it is."""

    name: str
    version: str
    weights_sha256: str | None
    classes: tuple[str, ...]
    notes: str


@dataclass(frozen=True)
class FeatureSet:
    """Features, (n, d), and class probabilities, (n, classes), of each set of images in one feature space.

    The sets are ``reference`` and those of ``SETS``; all float64.
    """

    about: About
    features: dict[str, np.ndarray]
    probabilities: dict[str, np.ndarray]

    @property
    def counts(self) -> dict[str, int]:
        """Images in each set."""
        return {name: len(values) for name, values in self.features.items()}


def write(path: Path, feature_sets: list[FeatureSet]) -> None:
    """Write the feature spaces atomically into one npz file; the same values give the same bytes."""
    members = {"about": np.array(json.dumps([asdict(each.about) for each in feature_sets]))}
    for each in feature_sets:
        for kind in ("features", "probabilities"):
            for name, values in getattr(each, kind).items():
                members[f"{each.about.name}/{kind}/{name}"] = values
    with atomic(path) as partial:
        np.savez(partial, **members)


def read(path: Path) -> list[FeatureSet]:
    """Read what ``write`` wrote."""
    with np.load(path, allow_pickle=False) as file:
        abouts = [About(**{**values, "classes": tuple(values["classes"])}) for values in json.loads(str(file["about"]))]
        return [
            FeatureSet(about, _members(file, f"{about.name}/features/"), _members(file, f"{about.name}/probabilities/"))
            for about in abouts
        ]


def _members(file: "np.lib.npyio.NpzFile", prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)}
