"""The anatomy of a computed head: which tissue is where, by distances to surfaces, softly."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

MM = 2.0  # a voxel
SHAPE = (120, 120, 78)  # voxels to the left, to the back, up
NAMES = ("csf", "gray", "white", "deep", "lesion", "oedema", "rim", "core")
SOFT = 0.8  # mm over which one tissue becomes another


@dataclass(frozen=True)
class Tumour:
    """A tumour; lengths in mm, the centre to the left, to the back and up from the head's."""

    centre: np.ndarray
    radius: float  # of its solid part
    necrotic: float  # radius of the core, as a share of it
    oedema: float  # how far it goes beyond
    push: float  # how far it pushes the brain away


@dataclass(frozen=True)
class Head:
    """A subject's head; lengths in mm."""

    age: int
    female: bool
    half_axes: np.ndarray  # of the brain: left, back, up
    narrowing: float  # of the forehead against the back of the head
    sulci: float  # half the width of the sulci
    ventricles: float  # size, 1 in middle age
    ribbon: float  # thickness of the cortex
    lesions: float  # load of white-matter hyperintensities, 0 for none
    tumour: Tumour | None
    turn: np.ndarray  # rad
    shift: np.ndarray
    fields: int  # seed of the random fields


# Centre (left, back, up) and half axes of the paired structures of the left side, and of those in the middle, in mm.
HORNS = (
    ((9, -4, 15), (6, 27, 7)),
    ((10, -26, 9), (5.5, 13, 9)),
    ((20, 30, 8), (6.5, 19, 7)),
    ((31, 10, -14), (4, 16, 4)),
)
MIDDLE = (((0, 8, 0), (2.4, 13, 11)), ((0, 46, -40), (6, 5, 9)))
NUCLEI = (((14, -20, 8), (4.5, 11, 9)), ((25, -3, 2), (5.5, 16, 10)), ((10, 13, 3), (8.5, 13, 8.5)))


def field(rng: np.random.Generator, wavelength: float) -> np.ndarray:
    """A smooth random field of shape ``SHAPE``, mean 0 and variance 1, that varies over ``wavelength`` mm."""
    step = max(1, int(wavelength / MM / 5))  # drawn on a coarser grid, and interpolated
    grid = [-(-side // step) + 1 for side in SHAPE]
    values = ndimage.gaussian_filter(rng.standard_normal(grid, dtype=np.float32), wavelength / MM / step / 4)
    for axis, side in enumerate(SHAPE):
        values = _interpolated(values, axis, np.arange(side, dtype=np.float32) / step)
    return (values - values.mean()) / values.std()


def _interpolated(values: np.ndarray, axis: int, at: np.ndarray) -> np.ndarray:
    """Linear interpolation along an axis."""
    below = np.minimum(at.astype(np.intp), values.shape[axis] - 2)
    share = (at - below).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    low, high = values.take(below, axis), values.take(below + 1, axis)
    return low + share * (high - low)


def smooth(volume: np.ndarray, sigma: float) -> np.ndarray:
    """A volume blurred by ``sigma`` voxels."""
    return ndimage.gaussian_filter(volume, sigma, truncate=3)


def tissues(head: Head) -> dict[str, np.ndarray]:
    """Shares of each tissue in each voxel, float32; their sum is 1 in the brain and falls to 0 at its surface."""
    rng = np.random.default_rng(head.fields)
    at = _positions(head)
    (hull, outer), fold = _hull(head, at, rng), field(rng, 15.0)
    steep = np.sqrt(sum(part**2 for part in np.gradient(fold, np.float32(MM))))
    cerebellum = _ellipsoid(at, (0, 52, -43), (50, 29, 25))
    stem = _ellipsoid(at, (0, 26, -44), (14, 13, 42))
    surface = np.minimum(hull, np.minimum(cerebellum, stem))
    # A sixth of the voxels is brain: from here on no other ones are looked at, and all arrays are flat.
    near = surface < 3
    at, hull, outer, fold, steep = at[:, near], hull[near], outer[near], fold[near], steep[near]
    cerebellum, stem, surface = cerebellum[near], stem[near], surface[near]

    depth = _sulci(head, at, hull, outer, fold, steep)
    ventricles = _structures(at, HORNS, head.ventricles, MIDDLE)
    # The cerebellum's folia are finer than the cerebrum's gyri; the brain stem has none.
    folia = 1.2 + 1.6 * np.sin(0.9 * at[2] + 1.2 * fold) - 0.12 * cerebellum
    depth = np.where(cerebellum < 0, np.minimum(-cerebellum - 0.6, folia), depth)
    depth = np.where((stem < 0) & (cerebellum >= -3), 9, depth).astype(np.float32)

    shares: dict[str, np.ndarray] = {}
    left = _inside(-surface)  # of the voxel, to be shared out from here on

    def take(tissue: str, share: np.ndarray) -> None:
        shares[tissue] = shares.get(tissue, 0) + left * share
        left[...] = left * (1 - share)

    if head.tumour:
        solid = _tumour(head.tumour, at, field(rng, 22.0)[near], field(rng, 9.0)[near])
        take("core", _inside(-(solid + (1 - head.tumour.necrotic) * head.tumour.radius)))
        take("rim", _inside(-solid))
    take("csf", _inside(-ventricles))
    take("csf", _inside(-depth))
    take("deep", _inside(-_structures(at, NUCLEI, 1.0)))
    take("gray", _inside(head.ribbon - depth))
    if head.tumour:
        take("oedema", _inside(head.tumour.oedema * (1 + 0.35 * field(rng, 30.0)[near]) - solid))
    if head.lesions > 0:
        beside = np.exp(-np.maximum(ventricles, 0) / 9)
        likely = field(rng, 14.0)[near] + 2.2 * beside + 0.9 * head.lesions - 3.1
        take("lesion", _inside(6 * likely) * (depth > 6))
    take("white", np.ones_like(left))
    return {tissue: _volume(near, shares.get(tissue, 0)) for tissue in NAMES}


def _volume(near: np.ndarray, values: np.ndarray | float) -> np.ndarray:
    volume = np.zeros(SHAPE, np.float32)
    volume[near] = values
    return volume


def _positions(head: Head) -> np.ndarray:
    """Where each voxel is in the head (left, back, up), mm, float32; before the tumour pushed it away."""
    axes = [(np.arange(side, dtype=np.float32) - (side - 1) / 2) * MM for side in SHAPE]
    at = np.stack(np.meshgrid(*axes, indexing="ij"))
    a, b, c = head.turn
    turn = np.array([[1, -c, b], [c, 1, -a], [-b, a, 1]], np.float32)
    at = np.tensordot(turn, at - head.shift[:, None, None, None].astype(np.float32), 1)
    at[2] += 4
    if head.tumour:
        way = at - head.tumour.centre[:, None, None, None].astype(np.float32)
        far = np.sqrt((way**2).sum(0)) + 1e-3
        at = at - way / far * head.tumour.push * np.exp(-((far / (1.8 * head.tumour.radius)) ** 2))
    return at.astype(np.float32)


def _hull(head: Head, at: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance (mm, about) to the surface of the cerebrum, and to it without its base; negative inside."""
    x, y, z = at
    a, b, c = head.half_axes
    width = a * (1 + head.narrowing * np.clip(y / b, -1, 1))
    height = np.where(z > 0, c, 0.72 * c)
    # Between an ellipsoid and a box, as skulls are.
    radius = (np.abs(x / width) ** 2.2 + np.abs(y / b) ** 2.2 + np.abs(z / height) ** 2.2 + 1e-9) ** (1 / 2.2)
    distance = (radius - 1) * 62 + 1.8 * field(rng, 45.0)
    # The base is flat, the frontal lobes' a little higher.
    floor = 6 * np.clip((-y - 25) / 25, 0, 1) - z - 28
    return np.maximum(distance, floor), distance


def _sulci(
    head: Head, at: np.ndarray, hull: np.ndarray, outer: np.ndarray, fold: np.ndarray, steep: np.ndarray
) -> np.ndarray:
    """Distance (mm, about) to the nearest CSF of the surface, sulci and the fissures between the lobes; negative in it.

    Sulci follow the zeros of the field ``fold``, whose distance is its value over its gradient ``steep``. The base has
    none, or a slice along it would be nothing but folds.
    """
    sulcus = np.abs(fold) / (steep + 0.02) - head.sulci
    depth = -outer
    folds = np.maximum(sulcus, depth - 17)
    x, y, z = at
    fissure = np.maximum(np.abs(x + 0.4 * fold) - 0.7 - 0.6 * head.sulci, np.maximum(depth - 30, -z - 6))
    sylvian = np.abs(z + 4 - 0.25 * y + 1.5 * fold) - 0.9 - head.sulci
    sylvian = np.maximum(sylvian, np.maximum(26 - np.abs(x), np.abs(y + 8) - 30))
    return np.minimum.reduce([-hull - 0.4 - 0.6 * head.sulci, folds, fissure, sylvian])


def _tumour(tumour: Tumour, at: np.ndarray, coarse: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """Signed distance (mm, about) to the surface of the solid part, roughened by two random fields."""
    away = np.sqrt(((at - tumour.centre[:, None].astype(np.float32)) ** 2).sum(0))
    return away - tumour.radius * (1 + 0.16 * coarse + 0.06 * fine)


def _structures(at: np.ndarray, paired: tuple, size: float, middle: tuple = ()) -> np.ndarray:
    """Signed distance (mm, about) to the nearest of some ellipsoids; paired ones are on both sides."""
    mirrored = np.stack([np.abs(at[0]), at[1], at[2]])
    found = [_ellipsoid(mirrored, centre, np.array(axes) * size) for centre, axes in paired]
    found += [_ellipsoid(at, centre, np.array(axes) * size) for centre, axes in middle]
    return np.minimum.reduce(found)


def _ellipsoid(at: np.ndarray, centre: tuple, half_axes: tuple | np.ndarray) -> np.ndarray:
    scaled = [(at[k] - np.float32(centre[k])) / np.float32(half_axes[k]) for k in range(3)]
    radius = np.sqrt(scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2)
    return (radius - 1) * np.float32(min(half_axes))


def _inside(distance: np.ndarray) -> np.ndarray:
    """The share of a voxel that is inside, of the distance (mm, about) that its middle is inside."""
    return 1 / (1 + np.exp(-np.clip(distance * np.float32(2 / SOFT), -30, 30)))
