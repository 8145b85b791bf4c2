"""The sweep of the guidance scale as a picture: what is gained in labels, and lost in distance."""

from pathlib import Path
from typing import Any

import numpy as np

from scansynth.files import atomic


def draw(path: Path, result: dict[str, Any]) -> None:
    """Write the picture of a ``results/guidance_<name>.json`` as SVG, atomically; the same values, the same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "scansynth", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        _curve(left, result)
        _classes(right, result)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
        with atomic(path) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None})


def _curve(axes, result: dict[str, Any]) -> None:
    """Mean area under the ROC curves against the distance, a point a scale, with intervals."""
    found, chosen = result["validation"], result["chosen"]["scale"]
    points = []
    for scale in result["scales"]:
        distance, fidelity = found["frechet_distance"][f"{scale:g}"], found["label_fidelity"][f"{scale:g}"]
        if (area := fidelity["mean_auroc"]) is None:
            continue
        x, y = distance["value"], area
        errors = [
            np.abs(np.subtract(interval, value))[:, None]
            for interval, value in ((distance["interval"], x), (fidelity["mean_auroc_interval"], y))
        ]
        axes.errorbar(x, y, xerr=errors[0], yerr=errors[1], color="0.7", linewidth=1)
        colour = "tab:orange" if scale == chosen else "tab:blue"
        axes.plot(x, y, marker="o", linestyle="", color=colour, zorder=3)
        axes.annotate(f"{scale:g}", (x, y), xytext=(5, 5), textcoords="offset points")
        points.append((x, y))
    axes.plot(*np.reshape(points, (-1, 2)).T, color="tab:blue", linewidth=1)
    axes.axvline(found["frechet_distance"]["floor"]["value"], color="tab:gray", linestyle="--", label="real (floor)")
    if (ceiling := found["label_fidelity"]["reference"]["mean_auroc"]) is not None:
        axes.axhline(ceiling, color="black", linestyle=":", label="real (ceiling)")
    axes.set(xlabel="Frechet distance, probe features", ylabel="mean AUROC of the labels", title="by guidance scale")
    axes.legend(frameon=False, fontsize="small")


def _classes(axes, result: dict[str, Any]) -> None:
    """The area of each class by scale."""
    found, scales = result["validation"]["label_fidelity"], result["scales"]
    for name in found["reference"]["classes"]:
        areas = [found[f"{scale:g}"]["classes"][name]["value"] for scale in scales]
        known = [(scale, area) for scale, area in zip(scales, areas, strict=True) if area is not None]
        if known:
            axes.plot(*np.transpose(known), marker="o", markersize=4, label=name)
    axes.axvline(result["chosen"]["scale"], color="tab:orange", linewidth=1)
    axes.axhline(0.5, color="0.7", linestyle=":", linewidth=1)
    axes.set(xlabel="guidance scale", ylabel="AUROC", title="labels read in samples")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
