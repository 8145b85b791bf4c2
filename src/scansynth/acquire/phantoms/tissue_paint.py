"""How much haematoxylin and eosin each point of a tissue patch holds."""

from dataclasses import dataclass

import numpy as np

from scansynth.acquire.phantoms.tissue_cells import BLAST, KINDS, TUMOUR, Cells
from scansynth.acquire.phantoms.tissue_plane import MARGIN, PLANE, SIZE, STEP, smooth_noise
from scansynth.acquire.phantoms.tissue_scene import Plot, Region, Scene
from scansynth.acquire.phantoms.tissue_slide import Slide

SEEN = (slice(MARGIN - 2, MARGIN + 2 * SIZE + 2),) * 2  # the patch and one pixel around it, for the lens

WEB = {  # eosin between the cells of each region, and how much it varies
    Region.LYMPHOID: (0.26, 0.12),
    Region.FOLLICLE: (0.3, 0.1),
    Region.SINUS: (0.0, 0.15),
    Region.STROMA: (0.5, 0.1),
    Region.FAT: (0.15, 0.1),
    Region.TUMOUR: (0.5, 0.1),
}


@dataclass
class Section:
    """A drawn patch on (196, 196) points: concentrations ``stain`` (2, ...), ``region`` and ``nuclei``.

    ``nuclei`` is 0 outside them and else 1 + the index in ``cells``; ``area`` is that of each cell's nucleus, in um^2.
    """

    stain: np.ndarray
    region: np.ndarray
    nuclei: np.ndarray
    cells: Cells
    area: np.ndarray


def ramp(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 at ``low``, 1 at ``high``, linear between and level beyond."""
    return np.clip((value - low) * (1 / (high - low)), 0, 1)


def paint(scene: Scene, plot: Plot, slide: Slide, rng: np.random.Generator) -> Section:
    """Stain the cells of ``scene`` and what lies between them."""
    everyone, owner = scene.mosaic.cells(), scene.mosaic.owner()
    own, other = scene.mosaic.nearest()
    area = STEP**2 * np.bincount(owner[own < 0], minlength=len(everyone))
    spots = nucleoli(everyone, slide, rng)[SEEN]
    fine, coarse, cracks = (smooth_noise(rng, s)[SEEN] for s in (0.9, 2.6, 9.0))
    owner, own, gap = owner[SEEN].astype(np.intp), own[SEEN], (other - own)[SEEN]

    def trait(name: str, spread: float = 0.0, tumour: float = 1.0) -> np.ndarray:
        """What the cell of each point has of ``name``; it varies from cell to cell by ``spread``."""
        values = everyone.trait(name) * np.where(everyone.kind == KINDS.index(TUMOUR), tumour, 1)
        values *= np.exp(rng.normal(0, spread, len(everyone)))
        return values.astype(np.float32)[owner]

    # What is inside of the border has its own stain, what is outside the cytoplasm's, as far as that reaches.
    edge = own + trait("rough") * coarse
    inside = ramp(edge, 0.4, -0.4)
    body = inside * (0.35 + 0.65 * ramp(gap, 0, 0.8))
    clefts = 1 - ramp(gap, 1.6, 0.2) * ramp(cracks + 2.4 * slide.shrinkage, 0.5, 2.5) * trait("cleft")
    plasm = ramp(trait("reach") - own, 0, 1.5)
    grain = 1 + 0.15 * (fine + coarse)
    between = ground(scene, plot, coarse, fine, rng)
    pale = trait("vesicular")
    rim = ramp(np.abs(edge + 0.45), 1.0, 0.2)
    pattern = 1 + 0.12 * fine - pale * (0.58 - 0.6 * rim - 0.22 * np.maximum(coarse, 0) - 0.2 * fine)
    chromatin = trait("chromatin", 0.18, slide.dark) * np.maximum(pattern, 0.1) + spots * (pale > 0.5)
    plain = 1 - body
    blue = body * chromatin + plain * clefts * (plasm * trait("haematoxylin") * grain + (1 - plasm) * 0.2 * between)
    pink = plain * clefts * (plasm * trait("eosin", 0.15, slide.pink) * grain + (1 - plasm) * between)
    pink += body * trait("content", 0.1)
    thickness = np.maximum(1 + 0.07 * scene.wave[SEEN], 0.7)
    nuclei = np.where((inside > 0.5) & (everyone.trait("chromatin") > 0)[owner], owner + 1, 0)
    stain = np.stack([blue, pink]) * thickness
    return Section(np.maximum(stain, 0), scene.region[SEEN], nuclei, everyone, area)


def ground(scene: Scene, plot: Plot, coarse: np.ndarray, fine: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Eosin of what lies between the cells: collagen in stroma, a fine web elsewhere, next to nothing in a sinus."""
    table = 0.7 * np.repeat(rng.standard_normal(128), 8) + 0.5 * rng.standard_normal(1024)
    thread = table.astype(np.float32)[(2.2 * scene.across[SEEN]).astype(int) & 1023] + 0.6 * coarse
    collagen = (0.5 + 0.07 * thread) * ramp(thread + 2.8 - 2.4 * plot.oedema, -0.6, 0.3)
    region = scene.region[SEEN].astype(np.intp)
    amount, mottle = (np.array(c, np.float32)[region] for c in zip(*WEB.values(), strict=True))
    web = amount + mottle * (coarse + 0.5 * fine)
    return np.maximum(np.where(region == Region.STROMA, collagen, web), 0.02)


def nucleoli(everyone: Cells, slide: Slide, rng: np.random.Generator) -> np.ndarray:
    """Haematoxylin (PLANE, PLANE) of one or two nucleoli a cell; they show in pale nuclei alone."""
    hosts = everyone.take(np.isin(everyone.kind, [KINDS.index(TUMOUR), KINDS.index(BLAST)]))
    hosts = hosts.take(np.repeat(np.arange(len(hosts)), rng.integers(1, 3, len(hosts))))
    x, y = ((c + 0.35 * hosts.short * rng.standard_normal(len(hosts))) / STEP for c in (hosts.x, hosts.y))
    sigma = rng.uniform(0.1, 0.17, len(hosts)) * hosts.radius / STEP
    spread = np.arange(-5, 6)
    column, row = (np.clip(c.astype(int)[:, None] + spread, 0, PLANE - 1) for c in (x, y))
    across = np.exp(-0.5 * ((column + 0.5 - x[:, None]) / sigma[:, None]) ** 2).astype(np.float32)
    down = np.exp(-0.5 * ((row + 0.5 - y[:, None]) / sigma[:, None]) ** 2).astype(np.float32)
    image = np.zeros(PLANE**2, np.float32)
    where = PLANE * row[:, :, None] + column[:, None, :]
    np.add.at(image, where.ravel(), (down[:, :, None] * across[:, None, :]).ravel())
    return slide.nucleoli * np.minimum(image, 1.2).reshape(PLANE, PLANE)
