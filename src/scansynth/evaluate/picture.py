"""Two pictures: real images beside synthetic ones, and the losses of the training."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scansynth import stage
from scansynth.files import atomic, read_json
from scansynth.picture import GAP, TITLE, per_row, shown, tiled
from scansynth.store import read_table

SIDE = 6  # images a row and a column of each half


def grid(real: np.ndarray, synthetic: np.ndarray, titles: tuple[str, str], channels: Sequence[str]) -> Image.Image:
    """Real images at the left and synthetic ones at the right, each 6 x 6 of (n, channels, size, size), uint8.

    Of images with several contrasts fewer fit in a row.
    """
    columns = per_row(SIDE, channels)
    halves = [tiled(shown(images, channels), columns, SIDE) for images in (real, synthetic)]
    width, height = halves[0].size
    picture = Image.new("RGB", (2 * width + 4 * GAP, height + TITLE), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=14)
    for half, title, left in zip(halves, titles, (0, width + 4 * GAP), strict=True):
        draw.text((left + GAP, 4), title, fill="black", font=font)
        picture.paste(half, (left, TITLE))
    return picture


def alike(rows: list[dict[str, str]], conditions: list[dict[str, str]]) -> list[int]:
    """For each condition the position of a row that shows the same findings and view; one is used once.

    Where no such row is left, the first unused one; the list is shorter where rows are fewer.
    """
    unused = list(range(len(rows)))
    chosen = []
    for wanted in conditions[: len(rows)]:
        same = (i for i in unused if all(rows[i][key] == wanted[key] for key in ("findings", "view")))
        chosen.append(next(same, unused[0]))
        unused.remove(chosen[-1])
    return chosen


def read_losses(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation losses from JSON Lines: arrays of (step, loss) of shapes (n, 2) and (m, 2)."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    train, val = ([(row["step"], row[key]) for row in rows if key in row] for key in ("loss", "val_loss"))
    return np.array(train, dtype=float).reshape(-1, 2), np.array(val, dtype=float).reshape(-1, 2)


def smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over the ``window`` values around each, fewer at both ends; the same shape (n,)."""
    kernel = np.ones(window)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones_like(values), kernel, "same")


def draw_losses(path: Path, train: np.ndarray, val: np.ndarray) -> None:
    """Write the curves of (step, loss) as SVG, atomically; the same losses give the same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "scansynth", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(6, 3.5), layout="constrained")
        axes = figure.add_subplot()
        if len(train):
            # Odd, so that the window has a middle.
            window = len(train) // 40 * 2 + 1
            axes.plot(*train.T, color="tab:blue", alpha=0.25, linewidth=1)
            axes.plot(train[:, 0], smoothed(train[:, 1], window), color="tab:blue", label="training")
        if len(val):
            axes.plot(*val.T, color="tab:orange", marker="o", markersize=4, label="validation")
        axes.set(xlabel="step", ylabel="loss", yscale="log")
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        with atomic(path) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None})


def work(job: stage.Job) -> None:
    """Draw both pictures."""
    table = read_table(job.inputs["table"])
    pixels = np.load(job.inputs["pixels"], mmap_mode="r", allow_pickle=False)
    samples = np.load(job.inputs["samples"], mmap_mode="r", allow_pickle=False)
    test = [i for i, row in enumerate(table) if row["split"] == "test"]
    # The first samples, as they come: they are not chosen. The real ones show the same findings and views.
    conditions = read_table(job.inputs["conditions"])[: SIDE**2]
    chosen = [test[i] for i in alike([table[i] for i in test], conditions)]
    titles = (f"real, held out (n = {len(test):,})", f"synthetic (n = {len(samples):,})")
    picture = grid(pixels[chosen], samples[: SIDE**2], titles, read_json(job.inputs["manifest"])["channels"])
    with atomic(job.outputs["grid"]) as partial:
        picture.save(partial, format="PNG")
    draw_losses(job.outputs["loss"], *read_losses(job.inputs["metrics"]))


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    inputs = ("pixels", "table", "manifest", "samples", "conditions", "metrics")
    # The loss first: the record lies beside it, since that beside samples.png would be the record of samples.npy.
    stage.run("evaluate.picture", work, inputs=inputs, outputs=("loss", "grid"), argv=argv)


if __name__ == "__main__":
    main()
