"""A thorax in three dimensions: its measures, its solids, and the curves that its closed forms share.

Millimetres in the patient's frame: x to the patient's left, y cranial, z anterior, the origin mid-chest. Organs are
ellipsoids or closed-form depth intervals, bones and vessels are tubes. Each ray's air is the lung's interval less the
union of every solid that crosses it, so contours (heart border, dome, costophrenic angle) arise as they do in a film.
"""

from dataclasses import dataclass, field

import numpy as np

from scansynth.acquire.phantoms import projection

# Linear attenuation per mm near 60 keV effective (NIST XCOM, rounded): soft tissue, fat, inflated lung, bone.
SOFT, FAT, LUNG, BONE, MARROW = 0.0200, 0.0178, 0.0055, 0.054, 0.0285


@dataclass(frozen=True)
class Body:
    """One patient's anatomy: lengths in mm, the same in every image of that patient."""

    female: bool
    age: int
    width: float  # widest half-width of the rib cage's inside
    depth: float  # half-depth of the same
    apex: float  # height of the lung apices
    reach: float  # apex to lung base along y
    wall: float  # muscle and fat outside the ribs
    fat: float
    heart: float  # heart width over inner thoracic width, in three dimensions
    upright: float  # tilt of the heart's long axis, radians
    knob: float  # radius of the aortic arch
    slope: float  # how steeply ribs fall, relative
    bone: float  # mineral density, relative
    breast: float
    arms: float  # how far the upper arms are held out
    vessels: int  # seed of the vascular trees
    domes: tuple[float, float]  # curvature of the diaphragm: sideways fall, fall to the back
    heart_shape: tuple[float, float] = field(default=(0.0, 0.0))


@dataclass(frozen=True)
class State:
    """What changes between two images of one patient: breath and acute findings."""

    breath: float  # height of the right dome, mm above its usual place
    left_lower: float  # how far the left dome lies below the right
    bubble: float  # radius of the stomach's gas, 0 for none
    nodules: tuple[float, ...] = ()  # radii
    effusion: tuple[float, float] = (0.0, 0.0)  # height of fluid at the wall, right and left
    pneumothorax: tuple[str, float] = ("", 1.0)  # side, and the collapsed lung's relative size


def span(body: Body, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lung's outer and inner half-width and its half-depth at height ``y``; zero width at the apex."""
    t = np.clip((body.apex - y) / body.reach, 1e-4, 1.0)
    grow = (1 - (1 - t) ** 2.7) ** 0.55
    tip = 0.40 * body.width
    outer = tip + (body.width - tip) * grow
    inner = tip - (tip - 7.0) * np.minimum(1.5 * grow, 1.0)
    return outer, inner, body.depth * np.sqrt(1 - (1 - t) ** 3)


def dome_top(body: Body, state: State) -> float:
    """Height of the right dome."""
    return body.apex - 0.70 * body.reach + state.breath


def sulcus(body: Body, state: State) -> float:
    """Height of the costophrenic angles at the side."""
    return dome_top(body, state) - body.domes[0]


def form(radii: tuple[float, float, float], roll: float = 0.0, pitch: float = 0.0) -> np.ndarray:
    """Matrix of an ellipsoid with ``radii``, rolled in the coronal plane and pitched about the vertical."""
    turn = projection.rotation(pitch, roll)
    return turn @ np.diag(1.0 / np.square(radii)) @ turn.T


def heart(body: Body, state: State) -> list[tuple[np.ndarray, np.ndarray]]:
    """The heart as (centre, form) of ellipsoids: ventricles with the apex to the left, right atrium, base."""
    wide = 2 * body.heart * body.width
    tall, plump = body.heart_shape
    low = dome_top(body, state) - 0.6 * state.left_lower
    lie = -0.62 - body.upright
    parts = [  # centre (x right border to left, in widths), radii, roll
        ((0.14, 0.28, 0.20), (0.52, 0.36 + plump, 0.42), lie),
        ((-0.13, 0.38, 0.12), (0.30, 0.38 + tall, 0.35), 0.15),
        ((0.06, 0.56 + tall, 0.06), (0.29, 0.30, 0.35), 0.0),
    ]
    made = [(np.array(c), form(r, roll, 0.25 if k == 0 else 0.0)) for k, (c, r, roll) in enumerate(parts)]
    reach = [np.sqrt(np.linalg.inv(f)[0, 0]) for _, f in made]
    left = max(c[0] + r for (c, _), r in zip(made, reach, strict=True))
    right = min(c[0] - r for (c, _), r in zip(made, reach, strict=True))
    size = wide / (left - right)  # exact width whatever the shape
    # Two thirds of the heart lie left of the midline. Its height grows less than its width.
    lift = size * (0.75 + 0.25 * 0.45 / body.heart)
    stretch = np.array([size, lift, size])
    start = np.array([-0.34 * wide - size * right, low - 0.06 * lift, 2.0])
    return [(start + stretch * c, f / np.outer(stretch, stretch)) for c, f in made]


def mediastinum(body: Body) -> tuple[list, list]:
    """Great vessels with the tissue about them, and the spine with the descending aorta, as (centre, form)."""
    arch, knob = body.apex - 66.0, body.knob
    front = [
        ((0, arch - 10, 4), (25, 120, 60)),
        ((-16, arch - 18, 8), (15, 80, 16)),
        ((14 + 0.6 * knob, arch, -8), (knob, knob * 1.05, 22)),
        ((26, arch - 34, 14), (16, 24, 22)),
    ]
    back = [
        ((13 + 0.35 * knob, arch - 90, -48), (13, 105, 14)),
        ((0, -20, -66), (21, 420, 34)),
    ]
    return tuple([(np.array(c, float), form(r)) for c, r in solids] for solids in (front, back))


def breasts(body: Body) -> list[tuple[np.ndarray, np.ndarray]]:
    """The breasts as (centre, form) of ellipsoids, half in the front of the chest."""
    made = []
    for side in (-1, 1) if body.breast else ():
        centre = np.array([side * 0.62 * body.width, -62.0 - 0.3 * body.breast, body.depth + 10])
        made.append((centre, form((0.52 * body.width, 62.0, body.breast), side * 0.35)))
    return made


def stomach_gas(body: Body, state: State) -> list[tuple[np.ndarray, np.ndarray]]:
    """The gas under the left dome as (centre, form) of an ellipsoid, if any."""
    if not state.bubble:
        return []
    radii = (1.3 * state.bubble, 0.7 * state.bubble, state.bubble)
    top = dome_top(body, state) - state.left_lower - 12 - radii[1]
    return [(np.array([0.45 * body.width, top, 20.0]), form(radii, -0.2))]


def capsule(x, y, start, end, first: float, last: float) -> np.ndarray:
    """Half-chord, squared, of a round limb from ``start`` to ``end`` (x, y), its radius going ``first`` to ``last``."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy), 0, 1)
    squared = (x - start[0] - along * dx) ** 2 + (y - start[1] - along * dy) ** 2
    return np.maximum((first + along * (last - first)) ** 2 - squared, 0)
