"""What a tissue patch shows: its regions and the cells in them."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from scansynth.acquire.phantoms import tissue_cells as cells
from scansynth.acquire.phantoms.tissue_cells import Cells, Mosaic, scatter
from scansynth.acquire.phantoms.tissue_plane import MARGIN, PLANE, STEP, smooth_noise
from scansynth.acquire.phantoms.tissue_slide import Slide

CENTRE = slice(MARGIN + 64, MARGIN + 128)  # the patch's central 32 pixels, which its label is about


class Region(IntEnum):
    """What a point of the plane belongs to."""

    LYMPHOID = 0
    FOLLICLE = 1
    SINUS = 2
    STROMA = 3
    FAT = 4
    TUMOUR = 5


@dataclass(frozen=True)
class Plot:
    """What there is to a patch, before it is drawn: shares of the plane in 0..1, and how it is built."""

    positive: bool
    tumour: float
    depth: float  # least share of a positive patch's centre that is tumour
    nest: float  # size of the tumour's nests in um
    septa: float  # how much the tumour keeps away from stroma
    stroma: float
    sinus: float
    follicle: float
    fat: float
    packing: float  # of lymphocytes
    oedema: float  # clefts between collagen fibres
    bleeding: bool


@dataclass
class Scene:
    """The region of each point (PLANE, PLANE), the cells, and the fields that they follow.

    ``across`` is how far across the collagen fibres a point lies, in um.
    """

    region: np.ndarray
    wave: np.ndarray
    bend: np.ndarray
    across: np.ndarray
    mosaic: Mosaic


def draw_plot(rng: np.random.Generator) -> Plot:
    """Draw the kind of a patch; half of them are positive, and one negative in seven has tumour beside its centre."""
    positive = bool(rng.random() < 0.5)
    spread = 1.0 if rng.random() < 0.35 else rng.uniform(0.2, 0.95)
    beside = rng.uniform(0.1, 0.5) if rng.random() < 0.15 else 0.0
    kind = rng.choice(5, p=[0.42, 0.14, 0.18, 0.16, 0.1])
    return Plot(
        positive=positive,
        tumour=spread if positive else beside,
        depth=rng.uniform(0.15, 0.9),
        nest=float(rng.integers(18, 45)),
        septa=rng.uniform(0, 1.5),
        stroma=rng.uniform(0.3, 0.95) if kind == Region.STROMA else max(rng.uniform(-0.2, 0.22), 0.0),
        sinus=rng.uniform(0.2, 0.6) if kind == Region.SINUS else max(rng.uniform(-0.1, 0.08), 0.0),
        follicle=rng.uniform(0.4, 1.0) if kind == Region.FOLLICLE else 0.0,
        fat=rng.uniform(0.2, 0.8) if kind == Region.FAT else 0.0,
        packing=rng.uniform(0.25, 1.0),
        oedema=0.6 * rng.random() ** 2,
        bleeding=bool(rng.random() < 0.2),
    )


def draw_scene(plot: Plot, slide: Slide, rng: np.random.Generator) -> Scene:
    """Lay out the regions of ``plot``, and fill them with cells."""
    wave, bend = smooth_noise(rng, 45.0), smooth_noise(rng, 16.0)
    ridge = smooth_noise(rng, 38.0) + 0.2 * bend
    region = np.full(wave.shape, Region.LYMPHOID, np.uint8)
    region[highest(-wave, plot.follicle)] = Region.FOLLICLE
    if plot.sinus:
        region[middle(smooth_noise(rng, 22.0) + 0.3 * bend, plot.sinus)] = Region.SINUS
    region[middle(ridge, plot.stroma)] = Region.STROMA
    region[highest(wave, plot.fat)] = Region.FAT
    if plot.tumour:
        nests = smooth_noise(rng, plot.nest) + 0.15 * bend + plot.septa * np.minimum(np.abs(ridge), 1)
        region[place_tumour(plot, nests)] = Region.TUMOUR
    along, angle = np.arange(PLANE, dtype=np.float32) * np.float32(STEP), rng.uniform(0, np.pi)
    across = float(np.cos(angle)) * along[:, None] - float(np.sin(angle)) * along + 8 * wave + 2 * bend
    scene = Scene(region, wave, bend, across, Mosaic())
    populate(scene, plot, slide, rng)
    return scene


def middle(field: np.ndarray, share: float) -> np.ndarray:
    """The ``share`` of the plane where ``field`` is nearest to its mean: winding bands."""
    return highest(-np.abs(field), share)


def highest(field: np.ndarray, share: float) -> np.ndarray:
    """The ``share`` of the plane where ``field`` is highest: rounded spots."""
    return field > np.quantile(field[::4, ::4], 1 - share) if share else np.zeros(field.shape, bool)


def place_tumour(plot: Plot, field: np.ndarray) -> np.ndarray:
    """The mask of the tumour: the share of the plane where ``field`` is highest, made to agree with the label."""
    level, centre = np.quantile(field[::4, ::4], 1 - plot.tumour), field[CENTRE, CENTRE]
    return field > (min(level, np.quantile(centre, 1 - plot.depth)) if plot.positive else max(level, centre.max()))


def populate(scene: Scene, plot: Plot, slide: Slide, rng: np.random.Generator) -> None:
    """Fill the regions with cells, large ones first: what comes later takes the room that is left."""
    if plot.fat:
        grow(scene, cells.FAT, rng, 1.0, {Region.FAT: 30.0})
    if plot.tumour:
        if slide.glandular:
            grow(scene, cells.LUMEN, rng, 1.0, {Region.TUMOUR: 0.12})
        grow(scene, cells.TUMOUR, rng, slide.nucleus * slide.tumour, {Region.TUMOUR: 4.0})
    blasts = {Region.FOLLICLE: 1.3, Region.LYMPHOID: 0.1, Region.SINUS: 0.18}
    grow(scene, cells.BLAST, rng, slide.nucleus, blasts)
    spindles = {Region.STROMA: 0.11, Region.LYMPHOID: 0.015, Region.TUMOUR: 0.02, Region.FAT: 0.02}
    grow(scene, cells.SPINDLE, rng, slide.nucleus, spindles)
    if plot.bleeding:
        grow(scene, cells.RED, rng, 1.0, dict.fromkeys(Region, 1.2), np.exp(-50 * smooth_noise(rng, 30.0) ** 2))
    small = {Region.LYMPHOID: 3.0, Region.FOLLICLE: 0.4, Region.SINUS: 0.4, Region.STROMA: 0.1, Region.TUMOUR: 0.07}
    grow(scene, cells.LYMPHOCYTE, rng, slide.nucleus, small, np.clip(plot.packing + 0.25 * scene.bend, 0.1, 1))


def grow(
    scene: Scene,
    kind: cells.Kind,
    rng: np.random.Generator,
    size: float,
    crowding: dict[Region, float],
    chance: np.ndarray | None = None,
) -> None:
    """Try to place cells of ``kind``, as crowded as each region has it, times the ``chance`` of the point."""
    most = max(crowding.values())
    found = scatter(rng, kind, most, size)
    likely = np.array([crowding.get(region, 0.0) / most for region in Region])[scene.region[found.place]]
    if chance is not None:
        likely *= chance[found.place]
    found = found.take(rng.random(len(found)) < likely)
    if kind is cells.SPINDLE:
        align(found, scene.across, rng)
    scene.mosaic.add(found)


def align(found: Cells, across: np.ndarray, rng: np.random.Generator) -> None:
    """Turn cells along the fibres."""
    row, column = (np.clip(c, 1, PLANE - 2) for c in found.place)
    down = across[row + 1, column] - across[row - 1, column]
    right = across[row, column + 1] - across[row, column - 1]
    found.angle = np.arctan2(right, -down) + rng.normal(0, 0.12, len(found))
