"""H&E phantoms: patches of lymph nodes with metastases in PatchCamelyon's files (Veeling et al., MICCAI 2018).

Everything about a slide follows from (seed, slide) and everything about a patch from (seed, index), so any count and
any number of workers give the same patches. PatchCamelyon's label says whether the central 32 x 32 pixels hold tumour.
"""

import csv
import io
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import h5py
import numpy as np

from scansynth import cores
from scansynth import workers as processes
from scansynth.acquire.phantoms.tissue_cells import KINDS, TUMOUR, Cells
from scansynth.acquire.phantoms.tissue_paint import Section, paint
from scansynth.acquire.phantoms.tissue_plane import MARGIN, PIXEL, SIZE
from scansynth.acquire.phantoms.tissue_scene import Region, draw_plot, draw_scene
from scansynth.acquire.phantoms.tissue_slide import Slide, draw_slide, scan
from scansynth.files import atomic, write_text

PREFIX = "camelyonpatch_level_2_split_"
SPLITS = ("train", "valid", "test")
GROUP = 10  # slides: seven to train on, one to validate, two to test
PER_SLIDE = 16  # patches
CENTRE = slice(32, 64)
CHUNK = 16  # patches that are stored together
_SPLIT, _SLIDE, _GRID, _PATCH = range(4)  # keys that keep the random streams apart


@dataclass(frozen=True)
class Plan:
    """Which slide patch ``index`` is from, and its row in the files of its split."""

    index: int
    slide: int
    split: str
    row: int

    @property
    def name(self) -> str:
        """The slide's name."""
        return f"phantom_{self.slide:04d}"


def plan(seed: int, count: int) -> list[Plan]:
    """The first ``count`` patches: each ten slides are gone through in turn until they have 16 patches each."""
    items, rows = [], dict.fromkeys(SPLITS, 0)
    for index in range(count):
        slide = slide_of(index)
        split = splits(seed, slide // GROUP)[slide % GROUP]
        items.append(Plan(index, slide, split, rows[split]))
        rows[split] += 1
    return items


def slide_of(index: int) -> int:
    """Number of the slide that patch ``index`` is from."""
    return index // (GROUP * PER_SLIDE) * GROUP + index % GROUP


@lru_cache
def splits(seed: int, group: int) -> tuple[str, ...]:
    """The split of each slide of a group of ten; all three are among the first three slides."""
    rng = _stream(seed, _SPLIT, group)
    return (*rng.permutation(SPLITS).tolist(), *rng.permutation(["train"] * 6 + ["test"]).tolist())


def _stream(*key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(key))


@dataclass(frozen=True)
class Patch:
    """An image (96, 96, 3) uint8, the slide that it is from, and what was drawn."""

    image: np.ndarray
    slide: Slide
    section: Section

    def masks(self) -> dict[str, np.ndarray]:
        """``tumour`` (96, 96) bool, the tumour's region; ``nuclei`` (96, 96) uint16, 0 or a number for each nucleus."""
        region, nuclei = (plane[2:-2:2, 2:-2:2] for plane in (self.section.region, self.section.nuclei))
        return {"tumour": region == Region.TUMOUR, "nuclei": nuclei.astype(np.uint16)}


def render(seed: int, index: int) -> Patch:
    """Draw patch ``index``. Raises ValueError for a negative index."""
    if index < 0:
        raise ValueError(f"patch index must not be negative, got {index}")
    slide = draw_slide(_stream(seed, _SLIDE, slide_of(index)))
    rng = _stream(seed, _PATCH, index)
    plot = draw_plot(rng)
    section = paint(draw_scene(plot, slide, rng), plot, slide, rng)
    return Patch(scan(slide, section.stain, rng), slide, section)


def truth_mask(seed: int, index: int) -> dict[str, np.ndarray]:
    """The masks of patch ``index`` of ``seed``, as ``Patch.masks`` describes them. Raises ValueError as ``render``."""
    return render(seed, index).masks()


def measure(patch: Patch) -> dict[str, int | float | str]:
    """What is known of a patch, flat, for a table.

    The nuclei are those centred in the patch, so that their density has no edge effect; ``nuclear_area_um2`` is their
    mean and ``tumour_nuclei`` the share of the tumour's among them, blank where there are none. Areas of regions are
    shares of the patch, stains unit vectors of optical density, whites grey levels.
    """
    found, section, slide = patch.section.cells, patch.section, patch.slide
    inside = centred(found) & (found.trait("chromatin") > 0)
    nuclei = int(inside.sum())
    known = {"nuclei": nuclei, "nuclei_per_mm2": nuclei / (SIZE * PIXEL / 1000) ** 2}
    known["nuclear_area_um2"] = section.area[inside].mean() if nuclei else ""
    known["tumour_nuclei"] = (found.kind[inside] == KINDS.index(TUMOUR)).mean() if nuclei else ""
    known |= {f"{region.name.lower()}_area": (section.region[2:-2, 2:-2] == region).mean() for region in Region}
    for name, vector, strength in zip(("haematoxylin", "eosin"), slide.stains, slide.strength, strict=True):
        known |= {f"{name}_{channel}": value for channel, value in zip("rgb", vector, strict=True)}
        known[f"{name}_strength"] = strength
    known |= {f"white_{channel}": value for channel, value in zip("rgb", slide.white, strict=True)}
    return {name: round(float(value), 4) if isinstance(value, float) else value for name, value in known.items()}


def centred(cells: Cells) -> np.ndarray:
    """Which cells (n,) bool have their centre in the patch."""
    row, column = cells.place
    low, high = MARGIN, MARGIN + 2 * SIZE
    return (row >= low) & (row < high) & (column >= low) & (column < high)


def make(seed: int, item: Plan) -> tuple[np.ndarray, dict, dict]:
    """Draw one patch; returns its pixels and its rows of the meta and of the truth table."""
    patch = render(seed, item.index)
    tumour = patch.masks()["tumour"]
    label = bool(tumour[CENTRE, CENTRE].any())
    cells = _stream(seed, _GRID, item.slide).choice(256**2, PER_SLIDE, replace=False)
    y, x = divmod(int(cells[item.index % (GROUP * PER_SLIDE) // GROUP]), 256)
    meta = {"": item.row, "coord_y": 4 * SIZE * y, "coord_x": 4 * SIZE * x, "tumor_patch": bool(tumour.any())}
    meta |= {"center_tumor_patch": label, "wsi": item.name}
    truth = {"split": item.split, "index": item.row, "patch": item.index, "slide": item.name, "label": int(label)}
    return patch.image, meta, truth | measure(patch)


def generate(folder: Path, *, count: int, seed: int, workers: int | None = None) -> None:
    """Write ``count`` phantom patches as PatchCamelyon is written, with a truth table.

    Makes ``folder/camelyonpatch_level_2_split_{train,valid,test}_x.h5`` (key x: n x 96 x 96 x 3 uint8, 0.97 um a
    pixel), ``_y.h5`` (key y: n x 1 x 1 x 1 uint8, 1: tumour in the central 32 x 32 pixels) and ``_meta.csv``, and
    ``folder/truth.csv`` (see ``measure``; row ``index`` of ``split``). No slide is in two splits. ``workers`` processes
    are used (default: one per core granted); the bytes do not depend on it. Raises ValueError if ``count`` is below 3,
    one for each split, or ``workers`` below 1.
    """
    workers = cores.granted() if workers is None else workers
    if count < len(SPLITS) or workers < 1:
        raise ValueError(f"count must be at least {len(SPLITS)} and workers at least 1, got {count} and {workers}")
    items, job = plan(seed, count), partial(make, seed)
    metas, truths = {split: [] for split in SPLITS}, []
    with ExitStack() as stack:
        x, y = {}, {}
        for split in SPLITS:
            n = sum(item.split == split for item in items)
            x[split] = create(stack, folder, f"{split}_x", (n, SIZE, SIZE, 3))
            y[split] = create(stack, folder, f"{split}_y", (n, 1, 1, 1))
        if workers == 1:
            made = map(job, items)
        else:
            made = stack.enter_context(processes.pool(workers)).map(job, items, chunksize=CHUNK)
        for item, (image, meta, truth) in zip(items, made, strict=True):
            x[item.split][item.row] = image
            y[item.split][item.row] = truth["label"]
            metas[item.split].append(meta)
            truths.append(truth)
    for split in SPLITS:
        write_table(folder / f"{PREFIX}{split}_meta.csv", metas[split])
    write_table(folder / "truth.csv", truths)


def create(stack: ExitStack, folder: Path, name: str, shape: tuple[int, ...]) -> h5py.Dataset:
    """A data set of bytes in a file of its own, which is there once ``stack`` ends well, and holds no time."""
    file = stack.enter_context(h5py.File(stack.enter_context(atomic(folder / f"{PREFIX}{name}.h5")), "w"))
    chunks = (min(CHUNK, shape[0]), *shape[1:])
    return file.create_dataset(name[-1], shape, np.uint8, chunks=chunks, track_times=False)


def write_table(path: Path, rows: list[dict]) -> None:
    """Write ``rows`` as CSV."""
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, table.getvalue())
