"""The cells of a tissue patch: where they lie, how large they are, and which point of the plane belongs to which."""

from dataclasses import dataclass, fields

import numpy as np
from scipy.spatial import cKDTree

from scansynth.acquire.phantoms.tissue_plane import PLANE, STEP

FAR = 12.0  # um, more than the reach of any cell
_FINE = 256  # distances are told apart by 1/256 um, so that one and its cell fit into an integer
_CELLS = 1 << 12


@dataclass(frozen=True)
class Kind:
    """A kind of cell. Lengths are in um, stains in natural optical density along the stain's unit vector."""

    radius: float  # of the nucleus, the geometric mean of its semi-axes
    spread: float  # standard deviation of its logarithm
    aspect: tuple[float, float]  # longer over shorter axis
    room: float  # the hard core, as a share of the radius
    reach: float  # of the cytoplasm, from the nucleus on
    chromatin: float  # haematoxylin of the nucleus
    vesicular: float  # 0: evenly dark, 1: pale with a dark rim
    content: float  # eosin of the nucleus, or of the whole where there is none
    haematoxylin: float  # of the cytoplasm
    eosin: float
    rough: float  # how far the border strays
    cleft: float  # how wide it parts from its neighbours


# In the order of the fields: radius, spread, aspect, room, reach | chromatin, vesicular, content, haematoxylin, eosin |
# rough, cleft.
LYMPHOCYTE = Kind(3.25, 0.09, (1.0, 1.45), 0.86, 1.8, 2.0, 0.2, 0.3, 0.22, 0.26, 0.28, 1.0)
BLAST = Kind(4.4, 0.14, (1.05, 1.8), 1.05, 3.0, 1.15, 0.55, 0.25, 0.16, 0.32, 0.3, 1.0)
SPINDLE = Kind(2.8, 0.18, (2.6, 6.0), 1.0, 1.5, 1.4, 0.3, 0.3, 0.1, 0.45, 0.25, 0.2)
TUMOUR = Kind(5.8, 0.16, (1.05, 1.75), 1.06, 4.5, 0.95, 0.75, 0.3, 0.16, 0.5, 0.35, 0.55)
RED = Kind(3.1, 0.06, (1.0, 1.4), 0.95, 0.0, 0.0, 0.0, 0.95, 0.0, 0.3, 0.3, 0.0)
LUMEN = Kind(8.0, 0.4, (1.0, 2.5), 1.0, 2.0, 0.0, 0.0, 0.0, 0.1, 0.4, 0.6, 0.0)
FAT = Kind(18.0, 0.35, (1.0, 1.3), 0.8, 3.0, 0.0, 0.0, 0.0, 0.0, 0.35, 0.5, 0.0)
KINDS = (LYMPHOCYTE, BLAST, SPINDLE, TUMOUR, RED, LUMEN, FAT)


@dataclass
class Cells:
    """Cells, one an element (n,): centre, semi-axes in um, angle of the longer axis in radians, index of kind."""

    x: np.ndarray
    y: np.ndarray
    long: np.ndarray
    short: np.ndarray
    angle: np.ndarray
    kind: np.ndarray

    @property
    def radius(self) -> np.ndarray:
        """Geometric mean of the semi-axes in um."""
        return np.sqrt(self.long * self.short)

    @property
    def place(self) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of the point that the centre lies in."""
        return (self.y / STEP).astype(int), (self.x / STEP).astype(int)

    def trait(self, name: str) -> np.ndarray:
        """What each one's kind has of ``name``."""
        return np.array([getattr(kind, name) for kind in KINDS])[self.kind]

    def __len__(self) -> int:
        return self.x.size

    def take(self, which: np.ndarray) -> "Cells":
        """Those cells alone."""
        return Cells(*(getattr(self, f.name)[which] for f in fields(self)))


def scatter(rng: np.random.Generator, kind: Kind, crowding: float, size: float = 1.0) -> Cells:
    """Candidates for cells of ``kind``: a Poisson process on the plane.

    Their hard cores would cover the plane ``crowding`` times. ``size`` multiplies the radii.
    """
    side = PLANE * STEP
    n = rng.poisson(crowding * side**2 / (np.pi * (kind.radius * size * kind.room) ** 2))
    x, y = rng.uniform(0, side, (2, n))
    radius = kind.radius * size * np.exp(kind.spread * np.clip(rng.standard_normal(n), -2, 2))
    stretch = np.sqrt(rng.uniform(*kind.aspect, n))
    angle = rng.uniform(0, np.pi, n)
    return Cells(x, y, radius * stretch, radius / stretch, angle, np.full(n, KINDS.index(kind)))


def settle(cells: Cells) -> np.ndarray:
    """Which cells (n,) bool find room: each one, in turn, whose hard core overlaps none that is there already.

    Random sequential adsorption (Feder, J. Theor. Biol. 87, 1980), done for all cells at once that no earlier one
    can still bar.
    """
    core = cells.radius * cells.trait("room")
    there, waiting = np.zeros(len(cells), bool), np.ones(len(cells), bool)
    if len(cells) < 2:
        return waiting
    tree = cKDTree(np.stack([cells.x, cells.y], 1), balanced_tree=False, compact_nodes=False)
    first, then = tree.query_pairs(2 * core.max(), output_type="ndarray").T
    apart = (cells.x[first] - cells.x[then]) ** 2 + (cells.y[first] - cells.y[then]) ** 2
    clash = apart < (core[first] + core[then]) ** 2
    first, then = first[clash], then[clash]
    while waiting.any():
        barred = np.zeros_like(there)
        barred[then] = True
        settled = waiting & ~barred
        there |= settled
        waiting &= ~settled
        waiting[then[settled[first]]] = False
        undecided = waiting[first] & waiting[then]
        first, then = first[undecided], then[undecided]
    return there


class Mosaic:
    """The plane shared out among cells: each point goes to the cell whose nucleus is nearest.

    Distances in um are from the border of the nucleus, negative inside.
    """

    def __init__(self):
        self.parts: list[Cells] = []
        self.count = 0
        self._first = np.full(PLANE**2, int(_code(FAR, 0)), np.int32)
        self._seen: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, cells: Cells) -> None:
        """Let ``cells`` in, as far as they find room beside one another and beside those already there."""
        row, column = cells.place
        core = cells.radius * cells.trait("room")
        cells = cells.take(_distance(self._first)[row * PLANE + column] > core)
        cells = cells.take(settle(cells))
        if not len(cells):
            return
        numbers = np.arange(self.count, self.count + len(cells), dtype=np.int32)
        where, codes = _stamp(cells, numbers)
        np.minimum.at(self._first, where, codes)
        self._seen.append((where, codes))
        self.parts.append(cells)
        self.count += len(cells)

    def cells(self) -> Cells:
        """Everyone, in the order of their numbers."""
        return Cells(*(np.concatenate([getattr(part, f.name) for part in self.parts]) for f in fields(Cells)))

    def owner(self) -> np.ndarray:
        """Number of each point's cell (PLANE, PLANE); 0 where all are out of reach."""
        return (self._first % _CELLS).reshape(PLANE, PLANE)

    def nearest(self) -> tuple[np.ndarray, np.ndarray]:
        """Distance of each point to its own cell and to the next one, (PLANE, PLANE) float32; FAR out of reach."""
        second = np.full(PLANE**2, int(_code(FAR, 0)), np.int32)
        for where, codes in self._seen:
            other = codes != self._first[where]
            np.minimum.at(second, where[other], codes[other])
        return tuple(_distance(d).reshape(PLANE, PLANE) for d in (self._first, second))


def _code(distance: np.ndarray | float, number: np.ndarray | int) -> np.ndarray:
    return ((np.asarray(distance) + 64) * _FINE).astype(np.int32) * np.int32(_CELLS) + number


def _distance(code: np.ndarray) -> np.ndarray:
    return (code // _CELLS).astype(np.float32) / _FINE - 64


def _stamp(cells: Cells, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of the plane within each cell's reach, and the codes of their distances and the cell's number."""
    reach = cells.trait("reach")
    half = int(np.ceil((cells.long + reach).max() / STEP))
    # The cells are the last axis, which numpy runs through fastest.
    row, column = (c.astype(np.int32) + np.arange(-half, half + 1, dtype=np.int32)[:, None] for c in cells.place)
    dx, dy = (column + 0.5) * STEP - cells.x, (row + 0.5) * STEP - cells.y
    cos, sin = np.cos(cells.angle), np.sin(cells.angle)
    xx = ((cos / cells.long) ** 2 + (sin / cells.short) ** 2) * dx**2
    yy = ((sin / cells.long) ** 2 + (cos / cells.short) ** 2) * dy**2
    xy = 2 * cos * sin * (cells.long**-2 - cells.short**-2) * dy
    xx, yy, xy, dx = (c.astype(np.float32) for c in (xx, yy, xy, dx))
    square = xy[:, None] * dx
    square += yy[:, None]
    square += xx
    within = square < ((1 + reach / cells.radius) ** 2).astype(np.float32)
    within &= ((row >= 0) & (row < PLANE))[:, None]
    within &= (column >= 0) & (column < PLANE)
    chosen = np.flatnonzero(within)
    which = np.broadcast_to(np.arange(len(cells)), within.shape).ravel()[chosen]
    distance = (np.sqrt(square.ravel()[chosen]) - 1) * cells.radius.astype(np.float32)[which]
    where = (row[:, None] * PLANE + column).ravel()[chosen].astype(np.intp)
    return where, _code(distance, numbers[which])
