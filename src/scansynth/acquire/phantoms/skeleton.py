"""Bones and vessels of the phantom thorax, as curved tubes; same frame and units as the thorax."""

from functools import lru_cache

import numpy as np

from scansynth.acquire.phantoms.projection import Tubes
from scansynth.acquire.phantoms.thorax import BONE, LUNG, MARROW, SOFT, Body, State, span


def ribs(body: Body) -> np.ndarray:
    """Centre lines of ribs 1-11 of both sides, each from spine to cartilage; (22, n, 3)."""
    number = np.arange(1, 12)[:, None]
    ends = np.array([158, 156, 154, 152, 150, 147, 142, 130, 116, 98, 78])
    angle = np.radians(np.linspace(14, ends, 140, axis=1))
    start = body.apex + 12 - (body.reach / 12.6) * (number - 1) - 6 * (number == 1)
    drop = body.slope * np.interp(number, [1, 2, 4, 7, 11], [32, 48, 72, 92, 92])
    sine, cosine = np.sin(angle), np.cos(angle)
    # A rib is a hoop in a plane that slopes forwards, sagging at the side.
    y = start - drop * (1 - cosine) / 2 - 9 * sine**2 + 7 * np.exp(-((angle / 0.6) ** 2))
    outer, _, depth = span(body, np.minimum(y - 4, body.apex - 9))
    z = -8 - (depth + 4) * np.sign(cosine) * np.abs(cosine) ** 0.85
    left = np.stack([(outer + 3) * sine**0.8, y, z], -1)
    return np.concatenate([left, left * [-1, 1, 1]])


def bones(body: Body, tubes: Tubes, *, raised: bool = False) -> None:
    """Add ribs, clavicles, scapulae, the arches of the spine and, unless the arms are ``raised``, the humeri."""
    clavicles, blades = raised_girdle(body) if raised else girdle(body)
    # Bones of like section share a kernel, with their mass relative to the first kind's.
    groups = [
        (((ribs(body)[:, : 116 if raised else None], 1.0), (clavicles, 1.3)), (5.4, 3.7), 1.8),
        (((blades, 1.0), (arches(body), 0.5)), (4.1, 3.0), 1.2),
    ]
    if not raised:
        shafts, heads = humeri(body)
        groups += [(((shafts, 1.0),), (11.0, 11.0), 3.5), (((heads, 1.0),), (20.0, 18.0), 1.2)]
    dense = body.bone * (BONE - SOFT), MARROW - SOFT
    for kinds, radii, cortex in groups:
        points = np.concatenate([np.reshape(lines, (-1, 3)) for lines, _ in kinds])
        length = np.concatenate([share * steps(np.array(lines)).ravel() for lines, share in kinds])
        tubes.add_bone(points, length, radii, cortex, dense)


def girdle(body: Body) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Clavicles and the edges of the scapulae, with the arms at the sides."""
    top, joint = body.apex, body.width + body.wall
    clavicles, blades = [], []
    for s in (-1, 1):
        clavicles.append(
            curve(
                (s * 13, top - 36, 66), (s * 50, top - 24, 62), (s * 100, top - 6, 20), (s * (joint - 4), top - 2, -18)
            )
        )
        blades += [
            curve((s * 88, top - 20, -80), (s * 84, top - 80, -92), (s * 104, top - 150, -90)),
            curve((s * (joint - 24), top - 38, -45), (s * 128, top - 95, -75), (s * 104, top - 150, -90)),
            curve((s * 88, top - 44, -84), (s * 125, top - 26, -66), (s * (joint + 2), top - 6, -30)),
        ]
    return clavicles, blades


def raised_girdle(body: Body) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The same with the arms overhead: clavicles rise, scapulae swing outwards."""
    top, joint = body.apex, body.width + body.wall
    clavicles, blades = [], []
    for s in (-1, 1):
        clavicles.append(curve((s * 13, top - 34, 54), (s * 60, top - 6, 40), (s * (joint - 30), top + 34, -10)))
        tip = (s * (joint - 8), top - 112, -66)
        blades.append(curve((s * 96, top + 6, -66), (s * 100, top - 62, -84), tip))
        blades.append(curve((s * (joint - 24), top + 8, -30), (s * (joint - 10), top - 58, -58), tip))
    return clavicles, blades


def humeri(body: Body) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Shafts and heads of the humeri, with the arms at the sides."""
    top, joint = body.apex, body.width + body.wall
    shafts, heads = [], []
    for s in (-1, 1):
        shafts.append(
            curve(
                (s * (joint + 12), top - 44, -14),
                (s * (joint + 24 + 0.5 * body.arms), top - 150, -14),
                (s * (joint + 37 + body.arms), top - 290, -14),
            )
        )
        heads.append(curve((s * (joint - 2), top - 32, -14), (s * (joint + 12), top - 44, -14)))
    return shafts, heads


def arches(body: Body) -> list[np.ndarray]:
    """Spinous processes, laminae and transverse processes from the neck to the loins."""
    made = []
    for k in range(-4, 16):
        y = body.apex + 14 - body.reach / 12.6 * (k - 1)
        made.append(curve((0, y - 8, -104), (0, y - 26, -108), n=15))
        for s in (-1, 1):
            made.append(curve((s * 10, y + 3, -84), (s * 16, y + 1, -88), n=15))
            made.append(curve((s * 14, y, -90), (s * 32, y + 4, -100), n=15))
    return made


def levels(body: Body, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where heights ``y`` along the spine lie in vertebral bodies and not in discs, and in end plates; 0..1 each."""
    phase = np.abs(((body.apex + 14 - y) / (body.reach / 12.6)) % 1.0 - 0.5)
    return np.clip((0.40 - phase) * 7 + 0.5, 0, 1), np.exp(-(((phase - 0.37) / 0.06) ** 2))


def steps(lines: np.ndarray) -> np.ndarray:
    """Length of curve that each point of lines (..., n, 3) stands for; (..., n)."""
    half = np.sqrt((np.diff(lines, axis=-2) ** 2).sum(-1)) / 2
    ends = np.zeros((*half.shape[:-1], 1))
    return np.concatenate([half, ends], -1) + np.concatenate([ends, half], -1)


def curve(*knots: tuple[float, float, float], n: int = 140) -> np.ndarray:
    """A smooth line through two, three or four points, evenly spread; (n, 3)."""
    return _through(len(knots), n) @ np.array(knots)


@lru_cache
def _through(count: int, n: int) -> np.ndarray:
    return np.vander(np.linspace(0, 1, n), count) @ np.linalg.inv(np.vander(np.linspace(0, 1, count)))


def vessels(body: Body, state: State, tubes: Tubes) -> None:
    """Add both pulmonary trees, each grown from its hilum.

    Each vessel forks in two and narrows by Murray's law (the cube root of 2) down to what a film resolves; twigs that
    leave the lung are cut off. In a collapsed lung the tree shrinks towards the hilum with it.
    """
    rng = np.random.default_rng(body.vessels)
    trunks = 9
    place, heading, sides = [], [], np.repeat([-1, 1], trunks)
    for s in (-1, 1):
        fan = np.radians(np.linspace(-80, 74, trunks)) + rng.normal(0, 0.15, trunks)
        heading.append(np.stack([s * np.cos(fan), np.sin(fan), rng.normal(0, 0.7, trunks)], 1))
        place.append(hilum(body, s) + np.stack([s * rng.uniform(0, 6, trunks), 18 * np.sin(fan), 0 * fan], 1))
    place, heading = np.concatenate(place), np.concatenate(heading)
    t = np.linspace(0, 1, 8)[:, None, None]
    grown = []
    lengths = (17, 25, 25, 22, 19, 16, 13)
    for level, mean in enumerate(lengths):
        radius = 5.2 * 2 ** (-level / 3)
        heading = heading / np.linalg.norm(heading, axis=1, keepdims=True)
        length = mean * rng.uniform(0.5, 1.35, len(place))
        bend = heading + rng.normal(0, 0.28, place.shape)
        path = place + (t * heading + t**2 * (bend - heading)) * length[:, None]
        inside = within(body, path, sides)
        points, mass = collapse(path, body, state, sides)[inside], (inside * length)[inside] * np.pi * radius**2 / 8
        grown.append((points, mass * (SOFT - LUNG)))
        alive = inside[-1]
        place, bend, sides = path[-1][alive], bend[alive], sides[alive]
        fork = rng.normal(0, 1, bend.shape)
        fork -= np.sum(fork * bend, 1, keepdims=True) * bend
        fork *= rng.uniform(0.3, 0.75, (len(fork), 1)) / np.linalg.norm(fork, axis=1, keepdims=True)
        place, sides = np.concatenate([place, place]), np.concatenate([sides, sides])
        heading = np.concatenate([bend + fork, bend - 0.8 * fork])
    # Generations of like width share a kernel; below a pixel, width no longer shows.
    for some, width in ((grown[:2], 4.6), (grown[2:4], 2.9), (grown[4:], 1.3)):
        tubes.add(np.concatenate([p for p, _ in some]), np.concatenate([m for _, m in some]), width)


def hilum(body: Body, side: np.ndarray) -> np.ndarray:
    """Root of one lung (-1 right, +1 left, any shape ...) as (..., 3); the left lies higher."""
    side = np.asarray(side)
    return np.stack([side * 30.0, body.apex - 109.0 + 5.0 * side, np.full(side.shape, -6.0)], -1)


def within(body: Body, points: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Whether points (..., n, 3) lie in the pleural cavity of ``side`` (n,)."""
    outer, inner, depth = span(body, points[..., 1] + 3)
    x = points[..., 0] * side
    tip = 0.4 * body.width
    flat = 1 - np.clip((x - tip) / np.maximum(outer - tip - 3, 1), 0, 1) ** 2
    return (x > inner) & (np.abs(points[..., 2] + 8) < 0.96 * depth * np.sqrt(flat)) & (points[..., 1] < body.apex - 4)


def collapse(points: np.ndarray, body: Body, state: State, side: np.ndarray) -> np.ndarray:
    """Draw points (..., n, 3) towards the hilum where their side's lung has collapsed."""
    where, size = state.pneumothorax
    if not where:
        return points
    hurt = side == (1 if where == "L" else -1)
    root = hilum(body, side)
    return root + (points - root) * np.where(hurt, size, 1.0)[:, None]


def airways(body: Body, tubes: Tubes) -> None:
    """Take the trachea and main bronchi out of the soft tissue around them."""
    top = body.apex
    fork = top - 84
    trachea = curve((0, top + 110, 10), (1, top + 10, -10), (-3, fork, -22))
    right = curve((-3, fork, -22), (-20, fork - 22, -20), (-32, fork - 34, -14))
    left = curve((-3, fork, -22), (18, fork - 16, -20), (34, fork - 26, -14))
    lines, area = np.array([trachea, right, left]), np.pi * np.array([[8.0], [5.8], [5.3]]) ** 2
    tubes.add(lines.reshape(-1, 3), (-SOFT * area * steps(lines)).ravel(), 7.0)
