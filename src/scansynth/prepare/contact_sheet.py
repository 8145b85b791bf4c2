"""Two pictures of an image store: a contact sheet, some images of each split, and the histogram of its intensities."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from scansynth import stage
from scansynth.files import atomic
from scansynth.picture import GAP, TITLE, per_row, shown, tiled
from scansynth.prepare.split import SPLITS
from scansynth.store import Store, evenly, open_store

COLUMNS = 12  # images a row of the sheet
ROWS = {"train": 4, "val": 2, "test": 2}
COUNTED = 2000  # images of a split, at most, that the histogram counts


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage from the command line."""
    outputs = ("sheet", "histogram")
    stage.run("prepare.contact_sheet", work, inputs=("pixels", "table", "manifest"), outputs=outputs, argv=argv)


def work(job: stage.Job) -> None:
    """Draw both pictures."""
    store = open_store(job.inputs["pixels"])
    with atomic(job.outputs["sheet"]) as partial:
        sheet(store).save(partial, format="PNG")
    with (
        matplotlib.rc_context({"svg.hashsalt": "scansynth", "svg.fonttype": "none", "font.family": "sans-serif"}),
        atomic(job.outputs["histogram"]) as partial,
    ):
        histogram(store).savefig(partial, format="svg", metadata={"Date": None})


def sheet(store: Store) -> Image.Image:
    """Images of each split, evenly chosen, with how many there are."""
    names = store.manifest["channels"]
    columns = per_row(COLUMNS, names)
    parts = []
    for split in SPLITS:
        indices = store.indices(split)
        patients = len({store.table[i]["patient"] for i in indices})
        unit = store.manifest["split"]["by"]
        title = f"{split}: {len(indices):,} images" + ("" if unit == "image" else f" of {patients:,} {unit}s")
        images = shown(store.pixels[evenly(indices, columns * ROWS[split])], names)
        parts.append((title, tiled(images, columns, -(-len(images) // columns))))
    width = max(tiles.width for _, tiles in parts)
    picture = Image.new("RGB", (width, sum(tiles.height + TITLE for _, tiles in parts)), "white")
    draw, font, top = ImageDraw.Draw(picture), ImageFont.load_default(size=14), 0
    for title, tiles in parts:
        draw.text((GAP, top + 4), title, fill="black", font=font)
        picture.paste(tiles, (0, top + TITLE))
        top += tiles.height + TITLE
    return picture


def histogram(store: Store) -> Figure:
    """Shares of the intensities, a line a split, a panel a channel."""
    names = store.manifest["channels"]
    figure = Figure(figsize=(3.5 * len(names) + 1, 3), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    for split in SPLITS:
        pixels = store.pixels[evenly(store.indices(split), COUNTED)]
        for channel, panel in enumerate(axes):
            counts = np.bincount(pixels[:, channel].ravel(), minlength=256)
            panel.plot(counts / max(counts.sum(), 1), label=split, linewidth=1)
    for name, panel in zip(names, axes, strict=True):
        panel.set(title=name, xlabel="intensity", yscale="log")
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share of pixels")
    axes[-1].legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
