"""The file of features that the distances and scores are computed from."""

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from scansynth.files import atomic


@dataclass(frozen=True)
class About:
    """Which feature space it is."""

    name: str
    version: str
    weights_sha256: str | None
    published_inception: bool
    classes: tuple[str, ...]
    notes: str


class Arrays(Mapping[str, np.ndarray]):
    """Arrays by the name of their set, each loaded when it is asked for: not all are in memory at once."""

    def __init__(self, load: Callable[[str], np.ndarray], names: tuple[str, ...]) -> None:
        self._load, self._names = load, names

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        return self._load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True)
class FeatureSet:
    """Each set of images in one feature space; the sets are ``reference`` and those of ``SETS``."""

    about: About
    features: Mapping[str, np.ndarray]  # (n, d), float32 or float64, as the extractor gives them
    probabilities: Mapping[str, np.ndarray]  # (n, classes), float64; no columns where the extractor has no classes
    groups: Mapping[str, np.ndarray]  # (n,), int64: the patient of each image

    @property
    def counts(self) -> dict[str, int]:
        """Images in each set."""
        return {name: len(values) for name, values in self.groups.items()}

    @property
    def dimensions(self) -> int:
        """Of a feature vector."""
        return self.features["reference"].shape[1]

    @property
    def dtype(self) -> str:
        """What the features were computed in; all that follows is computed in float64."""
        return str(self.features["reference"].dtype)


def write(path: Path, feature_sets: Iterable[FeatureSet]) -> None:
    """Write the feature spaces atomically into one npz file; the same values give the same bytes."""
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as file:
        abouts = []
        for each in feature_sets:
            abouts.append(asdict(each.about))
            for kind in ("features", "probabilities", "groups"):
                for name, values in getattr(each, kind).items():
                    _write_member(file, f"{each.about.name}/{kind}/{name}", values)
        _write_member(file, "about", np.array(json.dumps(abouts)))


def read(path: Path) -> list[FeatureSet]:
    """The feature spaces that ``write`` wrote; their arrays are loaded one by one, when they are asked for."""
    with np.load(path, allow_pickle=False) as file:
        abouts, members = json.loads(str(file["about"])), file.files

    def arrays(space: str, kind: str) -> Arrays:
        prefix = f"{space}/{kind}/"
        names = tuple(member.removeprefix(prefix) for member in members if member.startswith(prefix))
        return Arrays(lambda name: _read_member(path, f"{prefix}{name}"), names)

    return [
        FeatureSet(
            About(**{**about, "classes": tuple(about["classes"])}),
            *(arrays(about["name"], kind) for kind in ("features", "probabilities", "groups")),
        )
        for about in abouts
    ]


def _write_member(file: zipfile.ZipFile, name: str, values: np.ndarray) -> None:
    # ZipInfo has one date for all: the clock does not get into the bytes.
    with file.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
        np.lib.format.write_array(member, np.asanyarray(values), allow_pickle=False)


def _read_member(path: Path, name: str) -> np.ndarray:
    with np.load(path, allow_pickle=False) as file:
        return file[name]
