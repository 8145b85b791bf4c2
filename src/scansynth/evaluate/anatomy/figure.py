"""The measures as a picture: how they are distributed in each set, with histogram and power spectrum."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scansynth.evaluate.anatomy import spectrum
from scansynth.files import atomic

STYLES = {
    "reference": ("held-out real", "black", "-"),
    "floor": ("real training (floor)", "tab:gray", "--"),
    "samples": ("synthetic", "tab:blue", "-"),
    "pca_gaussian": ("PCA Gaussian", "tab:orange", ":"),
}
COLUMNS = 3


def draw(
    path: Path,
    values: dict[str, dict[str, np.ndarray]],
    curves: dict[str, dict[str, np.ndarray]],
    measures: Sequence[str],
) -> None:
    """Write the picture as SVG, atomically; the same values give the same bytes.

    Args:
        path: of the SVG file.
        values: by set and measure, (n,): drawn as cumulative distributions.
        curves: by set, ``histogram`` (n, 64) and ``power`` (n, size / 2).
        measures: those that are drawn.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "scansynth", "svg.fonttype": "none", "font.family": "sans-serif"}):
        rows = -(-(len(measures) + 2) // COLUMNS)
        figure = Figure(figsize=(4 * COLUMNS, 2.8 * rows), layout="constrained")
        panels = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
        for axes in panels:
            axes.spines[["top", "right"]].set_visible(False)
        _histogram(panels[0], curves)
        _spectrum(panels[1], curves)
        for axes, name in zip(panels[2:], measures, strict=False):
            _distribution(axes, name, {key: found[name] for key, found in values.items()})
        for axes in panels[len(measures) + 2 :]:
            axes.set_axis_off()
        panels[0].legend(frameon=False, fontsize="small")
        with atomic(path) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None})


def _histogram(axes, curves: dict[str, dict[str, np.ndarray]]) -> None:
    levels = (np.arange(spectrum.LEVELS) + 0.5) * (256 / spectrum.LEVELS)
    for key, (label, colour, line) in STYLES.items():
        axes.plot(levels, curves[key]["histogram"].mean(0), color=colour, linestyle=line, label=label)
    axes.set(title="grey levels", xlabel="level", ylabel="share", yscale="log")


def _spectrum(axes, curves: dict[str, dict[str, np.ndarray]]) -> None:
    real = curves["reference"]["power"].mean(0) + spectrum.TINY
    frequencies = spectrum.frequencies(2 * len(real))
    for key, (_, colour, line) in STYLES.items():
        ratio = (curves[key]["power"].mean(0) + spectrum.TINY) / real
        axes.plot(frequencies, ratio, color=colour, linestyle=line)
    axes.axvspan(spectrum.HALF_NYQUIST, frequencies[-1], color="0.95")
    axes.set(title="power, beside held-out real", xlabel="cycles per pixel", ylabel="ratio", yscale="log")


def _distribution(axes, name: str, of_sets: dict[str, np.ndarray]) -> None:
    for key, (_, colour, line) in STYLES.items():
        taken = np.sort(of_sets[key][np.isfinite(of_sets[key])])
        if len(taken):
            axes.step(taken, np.arange(1, len(taken) + 1) / len(taken), color=colour, linestyle=line, where="post")
    axes.set(title=name.replace("_", " "), ylabel="share of images", ylim=(0, 1.02))
