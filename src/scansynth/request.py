"""What a user asks of a model: held against what the model has learnt, and completed image by image."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scansynth.conditions import COLUMNS, vocabulary
from scansynth.errors import ScansynthError

NONE = "none"  # asked for: none of the findings


@dataclass(frozen=True)
class Learnt:
    """What a model's training images showed: the shares of them that had each label, and their ages."""

    shares: dict[str, dict[str, float]]  # by column (findings, view, sex) and label
    no_finding: str  # the label that says that there is no other finding; empty where that has none
    ages: tuple[float, float] | None  # the youngest and the oldest, in years; None where the model knows no age
    age: float  # the mean of those that are known
    aged: float  # the share of those that are

    @classmethod
    def of(cls, description: Mapping[str, Any], mean: np.ndarray, source: Path) -> "Learnt":
        """From a model's description and the mean of its training images' condition vectors.

        Raises:
            ScansynthError: if the description is of a version that did not say enough.
        """
        if missing := [key for key in ("channels", "no_finding") if key not in description]:
            raise ScansynthError(
                f"{source}: trained by another version of scansynth, which did not keep {' and '.join(missing)}; "
                "train it anew"
            )
        known = vocabulary(description)

        def share(column: str, label: str) -> float:
            return float(known.encode([dict.fromkeys(COLUMNS, "") | {column: label}])[0] @ mean)

        labels = {"findings": known.findings, "view": known.views, "sex": known.sexes}
        shares = {column: {label: share(column, label) for label in labels[column]} for column in labels}
        if not known.ages:
            return cls(shares, description["no_finding"], None, 0.0, 0.0)
        # An age is the place between the youngest (-1) and the oldest (1), and a 1 that says that it is known.
        youngest, oldest = known.ages
        low, high = share("age", str(youngest)), share("age", str(oldest))
        aged = (low + high) / 2
        place = (high - low) / 2 / aged if aged > 0 else 0.0
        age = (youngest + oldest + place * (oldest - youngest)) / 2
        return cls(shares, description["no_finding"], (youngest, oldest), age, aged)

    def check(self, asked: Mapping[str, str | float | None]) -> dict[str, str]:
        """What is asked for, of ``COLUMNS``, as a table has it; what is None is not asked for, and left out.

        Raises:
            ScansynthError: if the model cannot know what that looks like.
        """
        wanted = {column: str(value) for column, value in asked.items() if value is not None}
        if "findings" in wanted:
            wanted["findings"] = self._findings(wanted["findings"])
        for column in ("view", "sex"):
            if column in wanted:
                self._known(column, wanted[column])
        if asked.get("age") is not None:
            wanted["age"] = self._age(float(asked["age"]))
        return wanted

    def complete(self, wanted: Mapping[str, str], seed: int, index: int) -> dict[str, str]:
        """What image ``index`` is to show: what is asked for, and of the rest what training images showed.

        Each column that is left out is drawn by its labels' shares, one finding at most; of an age the mean is taken.
        A model has seen no image of which nothing is said there where all of its training images said something.
        """
        random = np.random.default_rng([seed, index, 1])
        drawn = {column: _draw(shares, random.random()) for column, shares in self.shares.items()}
        drawn["age"] = f"{self.age:.0f}" if random.random() < self.aged else ""
        return drawn | dict(wanted)

    def _findings(self, text: str) -> str:
        if text == NONE and not self.no_finding:
            shares = self.shares["findings"]
            if abs(sum(shares.values()) - 1) < 1e-6:
                raise ScansynthError(f"--findings {NONE}: each training image shows one of {', '.join(shares)}")
            return ""
        text = self.no_finding if text == NONE else text
        findings = text.split("|")
        for finding in findings:
            self._known("findings", finding)
        if self.no_finding in findings and len(findings) > 1:
            raise ScansynthError(f"--findings {text!r}: {self.no_finding!r} says that there is none of the others")
        return "|".join(name for name in self.shares["findings"] if name in findings)

    def _known(self, column: str, label: str) -> None:
        shares = self.shares[column]
        seen = [name for name, share in shares.items() if share > 0]
        if label in seen:
            return
        if not seen:
            raise ScansynthError(
                f"--{column} {label!r}: the model's training images say nothing of that: leave --{column} out"
            )
        hint = "(next to) no training image of the model shows it; " if label in shares else ""
        folded = {name.casefold(): name for name in seen}
        close = difflib.get_close_matches(label.casefold(), folded, 1)
        hint += f"did you mean {folded[close[0]]!r}? " if close else ""
        more = f", or {NONE}; several are joined by |" if column == "findings" else ""
        raise ScansynthError(f"--{column} {label!r}: {hint}the model knows: {', '.join(seen)}{more}")

    def _age(self, age: float) -> str:
        if self.ages is None:
            raise ScansynthError(f"--age {age:g}: the model's training images say nothing of ages: leave --age out")
        youngest, oldest = self.ages
        if not youngest <= age <= oldest:
            raise ScansynthError(
                f"--age {age:g}: the model's training images are of {youngest:g} to {oldest:g} years: ask within these"
            )
        return f"{age:g}"


def _draw(shares: Mapping[str, float], number: float) -> str:
    """The label that ``number`` (0 to 1) falls on, where each has its share; empty beyond them all."""
    total = sum(shares.values())
    ends = np.cumsum(list(shares.values())) / (total if total > 1 - 1e-6 else 1)
    place = int(np.searchsorted(ends, number, side="right"))
    return list(shares)[place] if place < len(shares) else ""
