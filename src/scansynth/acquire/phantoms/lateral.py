"""The thorax seen from the side: where each ray enters and leaves its parts, in closed form.

Rays run from the patient's right to the film on the left, through both lungs, so each lung has its own cavity. Solids
of closed form are those of the frontal view solved for x, where a ray crosses one sagittal plane, as (z, y) in mm of
the patient's frame. The arms are raised; the back is bent by its kyphosis, which hardly shows in a frontal film.
"""

from functools import cached_property, partial

import numpy as np

from scansynth.acquire.phantoms import skeleton, thorax
from scansynth.acquire.phantoms.pleura import Cavity, Interval
from scansynth.acquire.phantoms.projection import Rays, Tubes, chord, hull
from scansynth.acquire.phantoms.thorax import FAT, LUNG, MARROW, SOFT, Body, State, capsule, span

SPINE = -62.0  # z of the vertebral bodies


class Chest:
    """What a lateral film shows of one body in one state."""

    RAISED = True  # the arms
    GIRTH = 330.0  # mm; fat is the outer layer of a circle of this diameter
    VESSELS = 160.0  # mm of lung with which vessels show in full

    def __init__(self, rays: Rays, body: Body, state: State):
        """Intersect every ray with the two cavities and with each solid that lies in them."""
        self.rays, self.body, self.state = rays, body, state
        self.z, self.y = self.crossing(0.0)
        heart = hull(rays, thorax.heart(body, state))
        self.heart_shadow = heart[1] > heart[0]
        # Heart, vessels and spine adjoin in the midline: what lies between them is soft tissue too.
        parts = [heart, hull(rays, great_vessels(body, state)), self.column()]
        first, last = zip(*parts, strict=True)
        midline = np.minimum.reduce(first), np.maximum.reduce(last)
        self.cavities = [self.cavity(side, midline) for side in (-1, 1)]

    def crossing(self, x: float) -> tuple[np.ndarray, np.ndarray]:
        """Where rays cross the sagittal plane ``x``: (z, y) of the thorax before its back was bent."""
        z, y = self.rays.at(x)
        half = kyphosis(y) / 2
        return (z + 8 - half) / (1 - half / self.body.depth) - 8, y

    def between(self, side: int, near: np.ndarray, far: np.ndarray) -> Interval:
        """The interval from ``near`` to ``far`` mm beside the midline; of no length where ``far`` is not beyond."""
        ends = self.rays.depth(side * near), self.rays.depth(side * np.maximum(near, far))
        return ends[::side]

    def column(self) -> Interval:
        """The spine with the tissue about it, as in the frontal view but bent."""
        half = 21 * np.sqrt(np.maximum(1 - ((self.z + 66) / 34) ** 2, 0))
        low, high = self.rays.depth(-half), self.rays.depth(half)
        return np.where(half > 0, low, np.float32(np.inf)), np.where(half > 0, high, np.float32(-np.inf))

    def cavity(self, side: int, midline: Interval) -> Cavity:
        """The pleural cavity of one ``side`` (-1 right, +1 left); a collapsed lung is denser in less room."""
        body, state = self.body, self.state
        z, y = self.crossing(side * 0.5 * body.width)
        near, far = lung(body, z, y)
        where, size = state.pneumothorax
        hurt = where == ("L" if side > 0 else "R")
        shells = (size, size * (1 - 1.6 / body.width)) if hurt else ()  # a pleura of 1.6 mm
        return Cavity(
            self.rays,
            self.between(side, near, far),
            [midline, self.between(side, *dome(body, state, side, z, y))],
            fluid=self.between(side, *effusion(body, state, side, z, y)) if any(state.effusion) else None,
            collapsed=tuple(self.between(side, near, np.minimum(far, shrunk(body, side, z, y, s))) for s in shells),
            parenchyma=LUNG / size**2 if hurt else LUNG,
        )

    @cached_property
    def half(self) -> np.ndarray:
        """Half the thickness of soft tissue in mm along each ray."""
        return trunk(self.body, self.z, self.y)

    def tubes(self) -> Tubes:
        """The detector for bones, airways and vessels."""
        return Tubes(self.rays, partial(bend, self.body))

    def breasts(self) -> np.ndarray | float:
        """Extra line integral of the breasts where they stand out from the chest."""
        chords = [chord(self.rays, *breast) for breast in thorax.breasts(self.body)]
        return FAT * np.maximum(sum(chords) - 2 * self.half, 0) if chords else 0.0

    def axial_bones(self) -> np.ndarray:
        """Line integral of the vertebral bodies and of the sternum."""
        image = np.zeros_like(self.z)
        near = np.nonzero((np.abs(self.z - SPINE) < 26).any(0))[0]
        window = slice(near[0], near[-1] + 1)
        z, y = self.z[:, window] - np.float32(SPINE), self.y[:, window]
        lower = np.clip((self.body.apex - y) / 300, -0.15, 1.0)
        half = 13.5 + 4 * lower
        # Discs stay at right angles to the bent spine.
        slope = (kyphosis(y + 0.5) - kyphosis(y - 0.5)) * (0.5 - (SPINE + 8) / (2 * self.body.depth))
        level, plate = skeleton.levels(self.body, y + slope * z)
        edge = np.exp(-(((half - 1.5 - np.abs(z)) / 2) ** 2))
        bone = self.body.bone * (MARROW - SOFT)
        inside = np.clip((half - np.abs(z)) / 3 + 0.5, 0, 1)
        image[:, window] = inside * (level * (1 + 0.5 * edge) + 0.6 * plate) * bone * (28 + 14 * lower)
        return image + self.sternum() * bone

    def sternum(self) -> np.ndarray:
        """Length in mm along each ray of the sternum: manubrium, joint and body, on the front of the lungs."""
        top = self.body.apex - 40
        row = self.y[:, self.y.shape[1] // 2, None]
        away = np.abs(self.z - (span(self.body, row)[2] + 1.5))
        joint = 1 - 0.7 * np.exp(-(((row - top + 47) / 2.5) ** 2))
        ends = np.clip((top - row) / 4, 0, 1) * np.clip((row - top + 0.52 * self.body.reach) / 4, 0, 1)
        cortex = np.exp(-(((away - 4.2) / 1.2) ** 2))
        return 28 * np.clip((5.5 - away) / 1.5 + 0.5, 0, 1) * (1 + 0.8 * cortex) * joint * ends

    def cardiothoracic_ratio(self) -> None:
        """A ratio of frontal widths: there is none."""

    def effusions(self) -> tuple[float, float]:
        """Pleural fluid in ml, right and left."""
        return tuple(float(cavity.wet().sum()) for cavity in self.cavities)


def kyphosis(y: np.ndarray) -> np.ndarray:
    """How far (mm) the back is bent forwards at height ``y``; the front of the chest stays in its place."""
    return 26 * np.square((y + 30) / 150) * np.where(y > -30, np.float32(1), np.float32(0.4))


def bend(body: Body, points: np.ndarray) -> np.ndarray:
    """Points (n, 3) of the thorax after its back was bent."""
    x, y, z = points.T
    return np.stack([x, y, z + kyphosis(y) * (0.5 - (z + 8) / (2 * body.depth))], 1)


def lung(body: Body, z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances from the midline between which a pleural cavity lies, ignoring organs; equal where it does not."""
    outer, inner, depth = span(body, y)
    centre = np.float32(0.40 * body.width)
    room = np.maximum(1 - ((z + 8) / depth) ** 2, 0) * (y < body.apex)
    return centre - (centre - inner) * np.sqrt(np.sqrt(room)), centre + (outer - centre) * room ** np.float32(0.4)


def dome(body: Body, state: State, side: int, z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances from the midline between which rays run beneath the diaphragm."""
    middle = 18.0
    top = thorax.dome_top(body, state) - (state.left_lower if side > 0 else 0)
    fall = (top - body.domes[1] * ((z - middle) / (body.depth + middle)) ** 2 - y) / body.domes[0]
    fall = np.maximum(fall, 0)
    # The frontal fall, 1 - sqrt(1 - a^2) + a^2 / 4 sideways and 0.35 a^2 inwards, solved for a.
    rest = np.maximum(1 - fall, -0.25)
    aside = np.sqrt(np.maximum(np.sqrt((8 + 4 * rest) ** 2 - 16 * (rest**2 - 1)) - 8 - 4 * rest, 0))
    return body.width * (0.5 - 0.53 * np.sqrt(fall / 0.35)), body.width * (0.5 + 0.53 * aside)


def effusion(body: Body, state: State, side: int, z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances from the midline beyond which there is fluid: it fills the back and climbs along the side."""
    tall = state.effusion[side > 0]
    if not tall:
        return np.zeros_like(z), np.zeros_like(z)
    depth = span(body, y)[2]
    ahead = np.clip((z + 8 + depth) / (2 * depth), 0, 1)
    drop = 0.5 - np.sin(np.arcsin(1 - 2 * ahead) / 3)  # where the smooth step is ``ahead``
    level = y + drop * (0.25 * tall + 4) - thorax.sulcus(body, state)
    return body.width * np.cbrt(np.maximum(2 * level / tall - 1, 0)), np.full_like(z, body.width)


def shrunk(body: Body, side: int, z: np.ndarray, y: np.ndarray, size: float) -> np.ndarray:
    """Distance from the midline to which a lung reaches when drawn towards its hilum to ``size``."""
    x, height, _ = skeleton.hilum(body, side)
    x = abs(x)
    near, far = lung(body, z, (height + (y - height) / size).astype(np.float32))
    return np.where(far > near, np.maximum(x + size * (far - x), x), x)


def great_vessels(body: Body, state: State) -> list[tuple[np.ndarray, np.ndarray]]:
    """Aorta, its branches, pulmonary arteries and inferior vena cava as (centre, form) of ellipsoids."""
    arch, knob = body.apex - 66.0, body.knob
    thick = 0.95 * knob
    solids = [
        ((-10, arch - 52, 22), (thick + 2, 46, thick + 2)),  # ascending aorta
        ((13 + 0.35 * knob, arch - 100, -47), (13, 105, 13)),  # descending
        ((-4, arch + 44, -8), (22, 56, 26)),  # branches, with the veins and the thymus before them
        ((-24, arch - 46, 4), (17, 15, 17)),  # right pulmonary artery
        ((22, arch - 36, -22), (18, 12, 17)),  # left
        ((-20, thorax.dome_top(body, state) + 6, -14), (13, 42, 13)),  # inferior vena cava
    ]
    for angle in np.radians(np.linspace(0, 180, 6)):
        centre = (4 - 14 * np.cos(angle), arch - 18 + 24 * np.sin(angle), -13 + 34 * np.cos(angle))
        solids.append((centre, (1.3 * thick, thick, thick)))
    return [(np.array(centre, float), thorax.form(radii)) for centre, radii in solids]


def trunk(body: Body, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Half the thickness of the body's soft tissue at (z, y), both arms included."""
    top = body.apex - 4
    row = y[:, y.shape[1] // 2, None]
    up = np.clip((row - (top - 130)) / 130, 0, 1)
    wide = body.width + body.wall + 10 * up + 12 * np.clip((-70 - row) / 100, -0.4, 1) * (not body.female)
    deep = (span(body, row)[2] ** 4 + (0.62 * body.depth) ** 4) ** 0.25 + 1.05 * body.wall
    wide = wide * np.clip((top + 25 - row) / 80, 0, 1)
    ratio = np.square((z + 8 + 0.2 * body.wall) / deep)
    chest = wide * np.maximum(1 - ratio * ratio, 0) ** np.float32(0.4)
    bulk = 0.62 * body.depth + 1.05 * body.wall
    shoulders = capsule(z, y, (-8 - 0.2 * body.wall, top - 20), (-2, top + 160), bulk, 0.9 * bulk)
    return np.sqrt(np.sqrt(np.square(chest * chest) + np.square(4 * shoulders)))
