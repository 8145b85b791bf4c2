"""How metrics answer to damage: what is said of it in a result file, a table and a picture."""

import csv
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from scansynth.evaluate.bootstrap import rounded
from scansynth.evaluate.damages import Damage
from scansynth.evaluate.panel import Metric
from scansynth.files import atomic

BEYOND = 3.0  # spreads: by chance one in 700, where some hundred pairs of damage and metric are looked at
STEADY = 0.9  # Spearman's rank correlation of strength and change
DARK, MOST = 30, 300  # spreads: from where on the map's colours need white letters, and where they end

SEES, WRONG_WAY, UNSTEADY, BLIND = "yes", "wrong way", "unsteady", "no"
WORDS = {WRONG_WAY: "wrong", UNSTEADY: "?", BLIND: ""}  # on the map
CRITERION = (
    "A change is that from the same images undamaged, the mean over some random divisions of the held-out patients, in "
    "standard deviations (spreads) of the metric among many divisions of undamaged images: how far apart two sets of "
    "this size are that differ by chance alone. A metric sees a damage (yes) where its change at the strongest is for "
    f"the worse by {BEYOND:g} spreads or more, and rises with the strength: Spearman's rank correlation is {STEADY:g} "
    "or more, or no step goes back by more than one spread. It sees it from that strength on from which the change "
    "stays so large. wrong way: the same, but the damaged images come out as the better ones. unsteady: so large a "
    "change somewhere, in no such order. no: neither; the metric is blind to the damage at this number of images."
)


@dataclass(frozen=True)
class Response:
    """How a metric answers to a damage: see ``CRITERION``."""

    strengths: tuple[float, ...]  # (k,), from 0
    values: np.ndarray  # (seeds, k)
    spread: float
    worse: int  # the sign of a change for the worse

    @cached_property
    def changes(self) -> np.ndarray:
        """Mean change at each strength in spreads, (k,): positive where it is for the worse."""
        return self.worse * (self.values - self.values[:, :1]).mean(0) / self.spread + 0.0  # no -0.0

    @property
    def correlation(self) -> float:
        """Spearman's rank correlation of the strength with the change; 0 where nothing changes."""
        changes = rankdata(self.changes)
        return rounded(np.corrcoef(rankdata(self.strengths), changes)[0, 1]) if np.ptp(changes) else 0.0

    @cached_property
    def verdict(self) -> str:
        """``SEES``, ``WRONG_WAY``, ``UNSTEADY`` or ``BLIND``."""
        for sign, word in ((1, SEES), (-1, WRONG_WAY)):
            changes = sign * self.changes
            steady = sign * self.correlation >= STEADY or np.diff(changes).min(initial=0) >= -1
            if steady and changes[-1] >= BEYOND:
                return word
        return UNSTEADY if np.abs(self.changes).max() >= BEYOND else BLIND

    @property
    def seen_from(self) -> float | None:
        """The weakest strength from which on the change stays beyond; None where the damage is not seen."""
        if self.verdict != SEES:
            return None
        return self.strengths[np.flatnonzero(self.changes < BEYOND)[-1] + 1]


@dataclass(frozen=True)
class Study:
    """All responses, and how many images they are of."""

    metrics: tuple[Metric, ...]
    damages: tuple[Damage, ...]
    responses: dict[tuple[str, str], Response]  # by the names of damage and metric
    counts: dict[str, dict[str, int]]  # images and patients of each part
    missing: tuple[str, ...]  # metrics that cannot be had of undamaged images, or are the same for all


def summary(found: Study) -> dict[str, Any]:
    """The result file but for its header: who sees what, and from which strength on."""
    responses = found.responses

    def by(verdict: str, damage: str | None = None, metric: str | None = None) -> list[str]:
        """Metrics with this verdict on the damage, or damages on which the metric has it."""
        chosen = [key for key, response in responses.items() if response.verdict == verdict]
        return [m for d, m in chosen if d == damage] + [d for d, m in chosen if m == metric]

    damages = {
        damage.name: {
            "meaning": damage.meaning,
            "unit": damage.unit,
            "strengths": list(damage.strengths),
            "seen_from": {m: responses[damage.name, m].seen_from for m in by(SEES, damage=damage.name)},
            "taken_for_improvement_by": by(WRONG_WAY, damage=damage.name),
            "unsteady": by(UNSTEADY, damage=damage.name),
            "not_seen_by": by(BLIND, damage=damage.name),
        }
        for damage in found.damages
    }
    metrics = {
        metric.name: {
            "worse": "higher" if metric.worse > 0 else "lower",
            "sees": by(SEES, metric=metric.name),
            "takes_for_improvement": by(WRONG_WAY, metric=metric.name),
            "unsteady": by(UNSTEADY, metric=metric.name),
            "blind_to": by(BLIND, metric=metric.name),
        }
        for metric in found.metrics
    }
    unseen = [name for name, values in damages.items() if not values["seen_from"]]
    return {
        "unit": "of a damage's strength, as each says",
        "damages": damages,
        "metrics": metrics,
        "seen_by_no_metric": unseen,
        "not_to_be_had": list(found.missing),
        "verdicts": verdicts(damages, metrics, unseen),
    }


def verdicts(damages: dict[str, Any], metrics: dict[str, Any], unseen: list[str]) -> list[str]:
    """Plain sentences: which damage goes unseen, which metrics see each one, what each metric is blind to."""
    sentences = [
        f"No metric sees: {', '.join(unseen)}. Of images with such damage these metrics say nothing."
        if unseen
        else "At the strongest, every damage is seen by one metric at least."
    ]
    for name, values in damages.items():
        seen = values["seen_from"]
        if seen:
            first = min(seen.values())
            soonest = ", ".join(metric for metric, strength in seen.items() if strength == first)
            sentences.append(
                f"{name} ({values['meaning']}) is seen by {len(seen)} of {len(metrics)} metrics, "
                f"soonest, from {first:g} on ({values['unit']}), by: {soonest}."
            )
        if values["taken_for_improvement_by"]:
            sentences.append(f"{name} is taken for an improvement by: {', '.join(values['taken_for_improvement_by'])}.")
    for name, values in metrics.items():
        blind = values["blind_to"]
        sentences.append(f"{name} is blind to: {', '.join(blind)}." if blind else f"{name} is blind to none of them.")
    return [
        *sentences,
        "A metric that sees a damage here may miss a weaker one, or one of another kind. To see is not to name: a "
        "large distance does not say what is wrong.",
    ]


def table(found: Study) -> str:
    """All values as CSV: a row each damage, strength and metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ("damage", "strength", "unit", "metric", "value", "low", "high", "change", "spread", "correlation", "sees")
    )
    units = {damage.name: damage.unit for damage in found.damages}
    for (damage, metric), response in found.responses.items():
        for k, strength in enumerate(response.strengths):
            values = response.values[:, k]
            numbers = (values.mean(), values.min(), values.max(), response.changes[k], response.spread)
            row = (damage, f"{strength:g}", units[damage], metric, *map(rounded, numbers))
            writer.writerow((*row, response.correlation, response.verdict))
    return text.getvalue()


def draw(path: Path, found: Study) -> None:
    """Write a map of metrics and damages as SVG, atomically: colours for the change at the strongest damage.

    A number is the strength from which on the metric sees the damage.
    """
    import matplotlib
    from matplotlib.colors import SymLogNorm
    from matplotlib.figure import Figure

    rows = {metric.name: row for row, metric in enumerate(found.metrics)}
    columns = {damage.name: column for column, damage in enumerate(found.damages)}
    changes = np.full((len(rows), len(columns)), np.nan)
    with matplotlib.rc_context({"svg.hashsalt": "scansynth", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(3.5 + 0.72 * len(columns), 2.2 + 0.24 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for (damage, metric), response in found.responses.items():
            column, row, change = columns[damage], rows[metric], response.changes[-1]
            changes[row, column] = change
            word = f"{response.seen_from:g}" if response.verdict == SEES else WORDS[response.verdict]
            colour = "white" if abs(change) > DARK else "black"
            axes.text(column, row, word, ha="center", va="center", fontsize=7, color=colour)
        norm = SymLogNorm(linthresh=BEYOND, vmin=-MOST, vmax=MOST)
        colours = axes.pcolormesh(changes, cmap="RdBu_r", norm=norm, shading="nearest")
        axes.invert_yaxis()
        axes.set_yticks(range(len(rows)), rows, fontsize=8)
        labels = [f"{damage.name}\n{damage.unit}" for damage in found.damages]
        axes.set_xticks(range(len(columns)), labels, fontsize=8, rotation=45, ha="left", rotation_mode="anchor")
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(colours, ax=axes, location="bottom", fraction=0.02, aspect=60, pad=0.01, extend="both")
        bar.set_ticks(ticks := (-100, -30, -10, -3, 0, 3, 10, 30, 100), labels=map(str, ticks), fontsize=8)
        bar.ax.minorticks_off()
        bar.set_label(
            "change at the strongest damage, in spreads of undamaged images; red: worse, blue: better\n"
            "number: from which strength on the metric sees the damage; wrong: taken for better; ?: in no order",
            fontsize=8,
        )
        with atomic(path) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None})
