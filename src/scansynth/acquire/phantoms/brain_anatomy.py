"""The anatomy of a computed head: which tissue is where, softly."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from scansynth.acquire.phantoms import brain_parts as parts
from scansynth.acquire.phantoms.brain_shapes import GRID, MM, ellipsoid, field, inside, join, meet, ripples, within

TISSUES = (
    *("csf", "ventricles", "gray", "striatum", "pallidum", "white", "lesion"),
    *("oedema", "rim", "necrosis", "solid"),
)
MIDDLE = np.array([0, -18, 7], np.float32)  # of the head, in the frame of ``brain_parts``
FOLDS = ((23.0, 1.0, 1.0), (16.0, 0.6, 0.3))  # wavelength (mm), width and depth of the deep and of the shallow sulci


@dataclass(frozen=True)
class Tumour:
    """A tumour; lengths in mm."""

    centre: np.ndarray  # left, forward, up, in the frame of ``brain_parts``
    radius: float  # of its solid part
    necrotic: float | None  # radius of the dead core as a share of it; None: it does not enhance, and has no such core
    oedema: float  # how far it goes beyond
    push: float  # how far it pushes the brain away


@dataclass(frozen=True)
class Head:
    """A subject's head; lengths in mm."""

    age: int
    female: bool
    scale: np.ndarray  # left, forward, up; 1 is the frame of ``brain_parts``
    narrowing: float  # of the forehead against the back of the head
    sulci: float  # half the width of the sulci
    depth: float  # of the deep sulci
    ventricles: float  # size, 1 in youth
    ribbon: float  # thickness of the cortex
    lesions: float  # load of white-matter hyperintensities, 0 for none
    tumour: Tumour | None
    turn: np.ndarray  # rad
    shift: np.ndarray
    fields: int  # seed of the random fields


class Mixture:
    """Voxels that are shared out: whichever tissue comes first takes its share of what is left."""

    def __init__(self, left: np.ndarray) -> None:
        self.left = left
        self.shares: dict[str, np.ndarray] = {}

    def take(self, tissue: str, share: np.ndarray | float) -> None:
        """Give ``tissue`` its share of what is left."""
        taken = self.left * np.float32(share)
        self.shares[tissue] = self.shares.get(tissue, 0) + taken
        self.left = self.left - taken


@dataclass(frozen=True)
class Surfaces:
    """Signed distances (mm, about) to the surfaces of a head, (n,) each; only voxels in or near it are looked at."""

    near: np.ndarray  # which voxels of the grid these are
    at: np.ndarray  # where they are in the frame of ``brain_parts``, (3, n)
    side: np.ndarray  # the same without the sign of the first coordinate
    skull: np.ndarray  # all that is left of the head when it has been stripped
    cerebrum: np.ndarray
    cerebellum: np.ndarray
    stem: np.ndarray
    hemisphere: np.ndarray  # the cerebrum without the fissure in its middle
    gap: np.ndarray  # half the width of that fissure, mm
    callosum: np.ndarray
    ventricles: np.ndarray
    nuclei: dict[str, np.ndarray]


@dataclass(frozen=True)
class Sheet:
    """Fluid between folds of the cortex, (n,) each."""

    away: np.ndarray  # distance from its middle, 0 or more
    half: np.ndarray | float  # half its width
    end: np.ndarray  # signed distance to where it ends; negative where it is


def tissues(head: Head) -> dict[str, np.ndarray]:
    """Shares of each tissue in each voxel of the grid, float32; they add up to 1 in the head and to 0 outside."""
    rng = np.random.default_rng(head.fields)
    found = _surfaces(head, rng)
    near, side, nuclei = found.near, found.side, found.nuclei
    sheets = _sheets(head, found, rng)
    mixture = Mixture(inside(found.skull))
    if head.tumour:
        solid = _solid(head.tumour, found, field(rng, 9)[near], field(rng, 4)[near])
        if head.tumour.necrotic:
            mixture.take("necrosis", inside(solid + (1 - head.tumour.necrotic) * head.tumour.radius))
        mixture.take("rim" if head.tumour.necrotic else "solid", inside(solid))
    mixture.take("ventricles", inside(found.ventricles))
    mixture.take("csf", 1 - inside(np.minimum.reduce([found.cerebrum, found.cerebellum, found.stem])))
    mixture.take("pallidum", inside(nuclei["pallidum"]))
    mixture.take("striatum", inside(nuclei["striatum"]))
    mixture.take("gray", np.maximum(0.6 * inside(nuclei["thalamus"]), inside(nuclei["hippocampus"])))
    mixture.take("white", inside(nuclei["thalamus"]))
    mixture.take("gray", 0.2 * inside(found.stem))
    mixture.take("white", inside(found.stem))
    mixture.take("white", inside(np.maximum(np.abs(found.callosum + 3.5) - 3, side[0] - 14)))
    _share_cerebellum(mixture, head, side, found.cerebellum, field(rng, 16)[near])
    mixture.take("csf", _covered(found.cerebrum, sheets, 0))
    mixture.take("gray", _covered(found.cerebrum, sheets, head.ribbon))
    if head.tumour:
        mixture.take("oedema", inside(solid - head.tumour.oedema * (1 + 0.5 * field(rng, 12)[near])))
    if head.lesions > 0:
        likely = field(rng, 4.5)[near] + 2.6 * np.exp(-np.maximum(found.ventricles, 0) / 6) + head.lesions - 3.4
        mixture.take("lesion", np.clip(1.5 * likely, 0, 1) * (found.hemisphere < -7))
    mixture.take("white", 1.0)
    return {tissue: _volume(near, mixture.shares.get(tissue, 0)) for tissue in TISSUES}


def _surfaces(head: Head, rng: np.random.Generator) -> Surfaces:
    at = _positions(head)
    near = ellipsoid(at, MIDDLE, (80, 104, 94)) < 0
    at = at[:, near] + np.float32(1.8) * np.stack([field(rng, 38)[near] for _ in range(3)])
    if head.tumour:
        at -= _push(head.tumour, at)
    side = np.stack([np.abs(at[0]), at[1], at[2]])
    base, stem = parts.floor(side), parts.stem(side)
    cerebrum, cerebellum = parts.cerebrum(side, base, head.narrowing), parts.cerebellum(side, base)
    skull = join(join(cerebrum, cerebellum, 10), stem, 10) - 0.1 - 0.4 * head.sulci + 0.7 * field(rng, 9)[near]
    close = skull < 6
    near[near] = close
    at, side = at[:, close], side[:, close]
    cerebrum, callosum = cerebrum[close], parts.callosum(side)
    gap = 0.4 + 0.5 * head.sulci + 2 * np.exp(cerebrum / 5)  # it opens to the outside
    return Surfaces(
        near=near,
        at=at,
        side=side,
        skull=skull[close],
        cerebrum=cerebrum,
        cerebellum=cerebellum[close],
        stem=stem[close],
        hemisphere=meet(cerebrum, np.minimum(gap - side[0], callosum), 2),
        gap=gap,
        callosum=callosum,
        ventricles=parts.ventricles(side, head.ventricles),
        nuclei=parts.nuclei(side),
    )


def _sheets(head: Head, found: Surfaces, rng: np.random.Generator) -> list[Sheet]:
    """The fissures and sulci of the cerebrum; sulci keep away from what is in its middle."""
    depth = -found.hemisphere
    limit = head.depth * (1 + 0.3 * field(rng, 11)[found.near]) * np.clip(0.55 + found.side[0] / 50, 0, 1)
    clear = 6 - np.minimum.reduce([found.ventricles, *found.nuclei.values()])
    opening = head.sulci * (1 + 1.2 * np.exp(-np.maximum(depth, 0) / 3))  # they are wider at the surface
    sheets = [Sheet(found.side[0], found.gap, -found.callosum)]
    foot = _foot(found, rng)
    for wavelength, wide, deep in FOLDS:
        away = _folds(found.near, foot, ripples(rng, wavelength), wavelength)
        sheets.append(Sheet(away, wide * opening, np.maximum(depth - deep * limit, clear)))
    for away, end in parts.sylvian(found.side, field(rng, 9)[found.near]):
        sheets.append(Sheet(away, 0.3 + head.sulci, end))
    return sheets


def _covered(cerebrum: np.ndarray, sheets: list[Sheet], thickness: float) -> np.ndarray:
    """Share of each voxel that is less than ``thickness`` mm from the fluid around the cerebrum."""
    layers = [within(sheet.away, sheet.half + thickness) * inside(sheet.end - thickness) for sheet in sheets]
    return np.maximum.reduce([inside(-cerebrum - thickness), *layers])


def _share_cerebellum(mixture: Mixture, head: Head, side: np.ndarray, cerebellum: np.ndarray, bend: np.ndarray) -> None:
    """Cortex in thin sheets about a tree of white matter."""
    here = inside(cerebellum)
    away, thick = parts.folia(side, cerebellum, bend)
    mixture.take("white", here * inside(parts.arbor(side)))
    mixture.take("csf", here * inside(-cerebellum - 12) * within(0.5 * thick - away, 0.05 + 0.25 * head.sulci))
    mixture.take("white", here * within(away, 0.5))
    mixture.take("gray", here)


def _volume(near: np.ndarray, values: np.ndarray | float) -> np.ndarray:
    volume = np.zeros(GRID, np.float32)
    volume[near] = values
    return volume


def _positions(head: Head) -> np.ndarray:
    """Where the voxels are in the frame of ``brain_parts``, float32 of shape (3, *GRID)."""
    left, back, up = ((np.arange(side, dtype=np.float32) - (side - 1) / 2) * np.float32(MM) for side in GRID)
    places = np.stack(np.meshgrid(left, -back, up, indexing="ij")) - head.shift[:, None, None, None].astype(np.float32)
    a, b, c = head.turn
    turn = np.array([[1, -c, b], [c, 1, -a], [-b, a, 1]]) / head.scale[:, None]
    return np.tensordot(turn.astype(np.float32), places, 1) + MIDDLE[:, None, None, None]


def _push(tumour: Tumour, at: np.ndarray) -> np.ndarray:
    """How far the tumour pushed what is at each position now, (3, n)."""
    way = at - tumour.centre[:, None].astype(np.float32)
    square = (way**2).sum(0)
    return way * (tumour.push * np.exp(-square / (1.8 * tumour.radius) ** 2) / (np.sqrt(square) + 2)).astype(np.float32)


def _foot(found: Surfaces, rng: np.random.Generator) -> np.ndarray:
    """Where the normal through each voxel meets the surface, (3, n); the deeper, the further it strays from there."""
    volume = _volume(found.near, found.hemisphere - 20) + 20  # far outside, where it is not known
    gradient = np.stack([part[found.near] for part in np.gradient(volume, np.float32(MM))])
    strays = np.stack([field(rng, 10)[found.near] for _ in range(3)])
    way = gradient / ((gradient**2).sum(0) + np.float32(0.05)) + np.float32(0.14) * strays
    return found.at - found.hemisphere * way


def _folds(near: np.ndarray, foot: np.ndarray, waves: np.ndarray, wavelength: float) -> np.ndarray:
    """Distance (0 or more) from the nearest sulcus: a sheet that goes straight down from a line on the surface.

    The lines are the zeros of ``waves``, a random field that is looked up at the voxels' ``foot``; as it has one
    wavelength, gyri are about equally wide. The two sides are similar, not the same.
    """
    both = waves + np.float32(0.4) * waves[::-1]
    apart = np.float32(8) * np.sign(foot[:1])  # else they would be the same on either side of the fissure
    at = np.concatenate([foot[:1] + apart, -foot[1:2], foot[2:]]) / np.float32(MM)
    at += np.array(GRID, np.float32)[:, None] / 2 - 0.5
    wave = _volume(near, ndimage.map_coordinates(both, at, order=1, mode="grid-wrap") / both.std())
    slope = sum(part**2 for part in np.gradient(wave, np.float32(MM)))
    # Exact near the zeros, a quarter of the wavelength at the crests.
    return (np.abs(wave) / np.sqrt(slope + (4 / wavelength * wave) ** 2 + np.float32(1e-6)))[near]


def _solid(tumour: Tumour, found: Surfaces, coarse: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """Signed distance (mm, about) to the surface of the solid part, roughened by two random fields.

    It grows neither into the ventricles nor out of its hemisphere.
    """
    away = np.sqrt(((found.at - tumour.centre[:, None].astype(np.float32)) ** 2).sum(0))
    rough = np.float32(tumour.radius) * (1 + np.float32(0.22) * coarse + np.float32(0.08) * fine)
    return np.maximum.reduce([away - rough, found.hemisphere + 1, 2 - found.ventricles])
