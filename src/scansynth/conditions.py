"""What images can be asked to show: findings, view, sex and age, as text in tables and as vectors for a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scansynth.errors import ScansynthError

COLUMNS = ("findings", "view", "sex", "age")  # of a table; several findings are joined by |, empty is unknown


@dataclass(frozen=True)
class Vocabulary:
    """What a model can be asked for, in the order of its condition vector: the labels of the data that it learnt."""

    findings: list[str]
    views: list[str]
    sexes: list[str]
    ages: list[float]  # the youngest and the oldest of the training images, in years; empty where none is known

    def __len__(self) -> int:
        return len(self.findings) + len(self.views) + len(self.sexes) + (2 if self.ages else 0)

    @property
    def kinds(self) -> range:
        """Elements of the condition of which one is 1: the views."""
        return range(len(self.findings), len(self.findings) + len(self.views))

    def encode(self, rows: Sequence[Mapping[str, str]]) -> np.ndarray:
        """The ``COLUMNS`` of ``rows`` as vectors, float32 (n, len(self)).

        One element each for findings, views and sexes, 1 for those that a row has; then its age, from -1 (the youngest
        of the training images) to 1 (the oldest), and whether that is known. What is unknown is 0 throughout, so that
        an unknown age is not the middle one.

        Raises:
            ScansynthError: if a row has a label that the vocabulary lacks, or an age that is no number.
        """
        vectors = np.zeros((len(rows), len(self)), dtype=np.float32)
        labels = {"finding": self.findings, "view": self.views, "sex": self.sexes}
        places = {label: i for i, label in enumerate((kind, name) for kind in labels for name in labels[kind])}
        for vector, row in zip(vectors, rows, strict=True):
            shown = [("finding", name) for name in row["findings"].split("|")]
            for kind, name in (*shown, ("view", row["view"]), ("sex", row["sex"])):
                if name and (kind, name) not in places:
                    known = ", ".join(labels[kind]) or "none"
                    raise ScansynthError(f"the {kind} {name!r} is not one that the model knows; known: {known}")
                if name:
                    vector[places[kind, name]] = 1
            if self.ages and row["age"]:
                vector[-2:] = self._scaled(row["age"]), 1
        return vectors

    def _scaled(self, age: str) -> float:
        try:
            years = float(age)
        except ValueError:
            raise ScansynthError(f"the age {age!r} is not a number of years") from None
        youngest, oldest = self.ages
        return (2 * years - youngest - oldest) / max(oldest - youngest, 1)


def age_range(rows: Sequence[Mapping[str, str]]) -> list[int]:
    """The youngest and the oldest age of the training images, in years; empty where none is known."""
    known = [int(row["age"]) for row in rows if row["split"] == "train" and row["age"]]
    return [min(known), max(known)] if known else []


def labelled(row: Mapping[str, str], no_finding: str) -> bool:
    """Whether it is known what an image shows: where absence has a label (``no_finding``), no label says nothing."""
    return bool(row["findings"]) or not no_finding


def vocabulary(manifest: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary of an image store's manifest, or of a model's description."""
    return Vocabulary(manifest["findings"], manifest["views"], manifest["sexes"], manifest["ages"])
