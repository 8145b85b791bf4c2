"""One class an image, made of its labels: what a classifier of the whole set is trained to tell."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Row = dict[str, str]


@dataclass(frozen=True)
class JointClasses:
    """The pairs (rarest finding, view) of a training split.

    An image may show several findings. Its rarest one is the most telling, and gives the rare classes all they can get.
    """

    counts: Counter[str]  # training images a finding
    names: tuple[str, ...]  # those that occur in training, sorted

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "JointClasses":
        """The classes of the training rows; a single one, maybe without a name, where they bear no labels."""
        counts = Counter(finding for row in rows for finding in row["findings"].split("|"))
        return cls(counts, tuple(sorted({_name(row, counts) for row in rows})))

    def indices(self, rows: Sequence[Row]) -> np.ndarray:
        """The class of each row, int64 of shape (rows,); -1 for a class that training does not have."""
        positions = {name: i for i, name in enumerate(self.names)}
        return np.array([positions.get(_name(row, self.counts), -1) for row in rows], dtype=np.int64)


def _name(row: Row, counts: Counter[str]) -> str:
    rarest = min(row["findings"].split("|"), key=lambda finding: (counts[finding], finding))
    return ", ".join(filter(None, (rarest, row["view"])))
