"""The result on augmentation for people: what it means in words, as a table, and as a plot."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scansynth.downstream.statistics import LEVEL, METRICS
from scansynth.files import atomic

HELPS, HARMS, NO_GAIN, OPEN = "helps", "harms", "no gain that matters", "cannot be told"
MEANINGS = {  # of a verdict beside the arm of this name, in the order in which they are told
    "classical": {
        HELPS: "Better than classical augmentation",
        HARMS: "Worse than classical augmentation",
        NO_GAIN: "No better than classical augmentation by as much as would matter",
        OPEN: "Too small an experiment to tell",
    },
    "real": {HELPS: "Better than real images alone", HARMS: "Worse than real images alone"},
}
COLUMNS = ("fraction", "arm", "class", "metric", "value", "low", "high", "p_holm")


def verdict(difference: float, interval: tuple[float, float], p: float, relevant: float) -> str:
    """What a difference from the arm to beat means; ``p`` is corrected for the number of comparisons."""
    if p < LEVEL and difference < 0:
        return HARMS
    if interval[1] < relevant:
        return NO_GAIN
    return HELPS if p < LEVEL else OPEN


def conclusion(fractions: dict[str, Any], relevant: float, phantom: bool) -> list[str]:
    """The result in sentences, that of the arms with synthetic images beside classical augmentation first."""
    verdicts = [
        (fraction, _beyond_both(values["beside"]))
        for fraction, at in fractions.items()
        for values in at["arms"].values()
        if values["beside"].get("classical")
    ]
    if not verdicts:
        return ["There are too few test patients of every class to say anything: see classes."]
    helped = sorted({fraction for fraction, verdict in verdicts if verdict == HELPS}, key=float)
    both = "over classical augmentation and real images alone"
    if helped:
        first = f"Synthetic images help: they gain {both} at {_shares(helped)} of the training patients"
        first += "." if len(helped) == len(fractions) else ", and at no other fraction."
    elif any(verdict == OPEN for _, verdict in verdicts):
        first = f"No gain from synthetic images {both} is shown, and some arms could not be told:"
        first += f" the experiment is too small to exclude a gain of {relevant:g}."
    else:
        first = f"Synthetic images do not help: in no arm do they gain {both} what would matter"
        first += f" ({relevant:g} of the mean AUROC)."
    sentences = [first]
    for fraction, at in fractions.items():
        if at["arms"]["real"]["auroc"]:
            sentences += _at_fraction(fraction, at)
    sentences.append(
        "A true difference below what stands under detectable would mostly have been missed; seeds are few, and the "
        "test patients are those of one data set."
    )
    return sentences + (["These are computed phantoms: nothing follows for patients."] if phantom else [])


def _beyond_both(beside: dict[str, Any]) -> str:
    """An arm's verdict beside classical augmentation; if it helps there, that beside real images alone.

    Where classical augmentation harms, to beat it is no merit.
    """
    verdict = beside["classical"]["verdict"]
    return beside["real"]["verdict"] if verdict == HELPS else verdict


def _at_fraction(fraction: str, at: dict[str, Any]) -> list[str]:
    areas = {arm: values["auroc"]["value"] for arm, values in at["arms"].items()}
    sentences = [
        f"At {_shares([fraction])} of the training patients ({at['training_patients']:,}), the mean AUROC is "
        f"{areas['real']:.3f} with real images alone and {areas['classical']:.3f} with classical augmentation."
    ]
    for other, meanings in MEANINGS.items():
        beside = {arm: values["beside"].get(other) for arm, values in at["arms"].items()}
        for word, meaning in meanings.items():
            named = [_difference(arm, one) for arm, one in beside.items() if one and one["verdict"] == word]
            if named:
                sentences.append(f"{meaning}: {'; '.join(named)}.")
    return sentences


def _difference(arm: str, one: dict[str, Any]) -> str:
    low, high = one["interval"]
    found = f", detectable from {one['detectable']:.3f}" if one["verdict"] == OPEN else ""
    return f"{arm} by {one['difference']:+.3f} [{low:+.3f}, {high:+.3f}]{found}"


def _shares(fractions: list[str]) -> str:
    return " and ".join(f"{100 * float(fraction):g}%" for fraction in fractions)


def rows(fractions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All figures, with ``COLUMNS``; a difference from an arm has the metric ``auroc - <that arm>``."""
    for fraction, at in fractions.items():
        for arm, values in at["arms"].items():
            row = {"fraction": fraction, "arm": arm}
            for name, of in {"mean": values, **values["classes"]}.items():
                for metric in METRICS:
                    if of[metric]:
                        yield row | {"class": name, "metric": metric, **_numbers(of[metric], "value")}
            for other, one in values["beside"].items():
                if one:
                    difference = {"class": "mean", "metric": f"auroc - {other}", "p_holm": one["p_holm"]}
                    yield row | difference | _numbers(one, "difference")


def _numbers(of: dict[str, Any], key: str) -> dict[str, float]:
    return {"value": of[key], "low": of["interval"][0], "high": of["interval"][1]}


def draw(path: Path, fractions: dict[str, Any]) -> None:
    """Write the mean AUROC of each arm with its interval and its seeds as SVG, atomically; a panel a fraction."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "scansynth", "svg.fonttype": "none", "font.family": "sans-serif"}):
        most = max(len(at["arms"]) for at in fractions.values())
        figure = Figure(figsize=(2 + 3.2 * len(fractions), 1.4 + 0.32 * most), layout="constrained")
        panels = figure.subplots(1, len(fractions), sharey=True, squeeze=False)[0]
        for axes, (fraction, at) in zip(panels, fractions.items(), strict=True):
            _panel(axes, at["arms"])
            axes.set_title(f"{_shares([fraction])}: {at['training_patients']:,} patients", fontsize=9)
        with atomic(path) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None})


def _panel(axes: Any, arms: dict[str, Any]) -> None:
    for place, (arm, values) in enumerate(arms.items()):
        if not values["auroc"]:
            continue
        value, (low, high) = values["auroc"]["value"], values["auroc"]["interval"]
        colour = "tab:gray" if arm in ("real", "classical") else "tab:blue"
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot(values["auroc"]["seeds"], [place] * len(values["auroc"]["seeds"]), "|", color=colour, markersize=8)
        axes.plot(value, place, "o", color=colour, markersize=5)
    if arms["classical"]["auroc"]:
        axes.axvline(arms["classical"]["auroc"]["value"], color="black", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(arms)), list(arms), fontsize=8)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlabel("mean AUROC of test patients", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
