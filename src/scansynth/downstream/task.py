"""What the classifiers have to tell: all findings, each for itself, or one from its absence."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from scansynth.conditions import labelled
from scansynth.errors import ScansynthError
from scansynth.sections import Task as Options

Row = dict[str, str]


@dataclass(frozen=True)
class Task:
    """The classes that an image may show, and the images that are asked about."""

    classes: tuple[str, ...]
    only: Options
    no_finding: str

    def rows(self, table: list[Row], split: str) -> np.ndarray:
        """Positions of the images of a split that are asked about, ascending."""
        found = [i for i, row in enumerate(table) if row["split"] == split and self._asked(row)]
        return np.array(found, dtype=np.int64)

    def truth(self, rows: list[Row]) -> np.ndarray:
        """Whether each image shows each class: bool (n, classes)."""
        found = [[name in row["findings"].split("|") for name in self.classes] for row in rows]
        return np.array(found, dtype=bool).reshape(len(rows), len(self.classes))

    def rare(self, rows: list[Row]) -> tuple[list[Row], int]:
        """The rows that show the rarest class, and how many more show the commonest.

        Of a single target, the classes are those with it and those without.
        """
        shown = self.truth(rows)
        if self.only.target:
            shown = np.hstack([shown, ~shown])
        counts = shown.sum(0)
        rare = [row for row, shows in zip(rows, shown[:, counts.argmin()], strict=True) if shows]
        return rare, int(counts.max() - counts.min())

    def _asked(self, row: Row) -> bool:
        if not self.only.target or self.only.against == "absence":
            return labelled(row, self.no_finding)
        return self.only.target in row["findings"].split("|") or row["findings"] == self.no_finding


def task_of(table: list[Row], manifest: dict[str, Any], options: Options) -> Task:
    """The task on a store: classes are the findings that some training images show and others do not, sorted.

    That there is none (the data set's ``no_finding``) is no class.

    Raises:
        ScansynthError: if there are none.
    """
    no_finding = manifest["no_finding"]
    asked = Task((), options, no_finding)
    rows = [table[i] for i in asked.rows(table, "train")]
    names = (options.target,) if options.target else sorted({*manifest["findings"]} - {no_finding})
    shown = Task(tuple(names), options, no_finding).truth(rows)
    told = tuple(name for name, column in zip(names, shown.T, strict=True) if column.any() and not column.all())
    if not told:
        wanted = f"task.target is {options.target!r}" if options.target else "no finding"
        raise ScansynthError(
            f"{wanted}, which some of the {len(rows)} training images would have to show and others not; they may show "
            f"{', '.join(manifest['findings']) or 'nothing: no labels are known'}"
        )
    return Task(told, options, no_finding)
