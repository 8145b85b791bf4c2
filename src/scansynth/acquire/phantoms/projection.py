"""Projection radiography: diverging rays through solids and tubes, Beer-Lambert attenuation, display processing.

Lengths are millimetres. Two frames are used, both with x to the patient's left, y cranial and z anterior: the room, in
which the detector is the plane of constant z, and the patient, which is turned and shifted in the room. Images are
shown as the reader sees them: the patient's left on the right-hand side, for PA and AP alike, and the patient's back on
the right-hand side in a lateral.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy import fft, special

MARGIN = 16  # pixels around the detector that tubes are drawn on, so that nothing wraps round in the transform


@dataclass(frozen=True)
class Rays:
    """One ray per detector pixel, in the patient's frame: ``source + t * (u * right + v * up + forward)``.

    ``t`` runs from 0 at the source to 1 at the detector; ``u`` (1, N) and ``v`` (N, 1) are detector coordinates in mm
    from the foot of the central ray; ``turn`` is the rotation from the patient's frame to the room's.
    """

    source: np.ndarray
    turn: np.ndarray
    u: np.ndarray
    v: np.ndarray
    distance: float
    pixel: float

    @property
    def size(self) -> int:
        """Rows, and columns, of the square detector."""
        return self.u.size

    @cached_property
    def axes(self) -> np.ndarray:
        """The detector's right, its up and the vector from source to detector, in the patient's frame; (3, 3)."""
        return self.turn * np.array([[1.0], [1.0], [self.distance]])

    @cached_property
    def direction(self) -> tuple[np.ndarray, ...]:
        """The x, y and z of every ray's direction; three (N, N) float32."""
        # Python floats, so that float32 arrays stay float32.
        return tuple((self.u * r + f) + self.v * u for r, u, f in self.axes.T.tolist())

    @cached_property
    def length(self) -> np.ndarray:
        """Distance in mm from the source to each pixel; (N, N) float32."""
        return np.sqrt(self.u**2 + (self.v**2 + self.distance**2))

    @cached_property
    def along(self) -> int:
        """The patient's axis that the rays run along: 2 (z) through front and back, 0 (x) through the sides."""
        return int(np.abs(self.axes[2]).argmax())

    @property
    def middle(self) -> float:
        """The ray parameter of the plane through the patient's origin."""
        return float(abs(self.source[self.along] / self.distance))

    def depth(self, place: np.ndarray | float) -> np.ndarray:
        """The ray parameter ``t`` at which every ray crosses the patient's plane(s) z (or x, side on) = ``place``."""
        return (place - float(self.source[self.along])) / self.direction[self.along]

    def at(self, place: float) -> tuple[np.ndarray, np.ndarray]:
        """Patient x (or z, side on) and y at which every ray crosses the plane ``place``; two (N, N) arrays."""
        t = self.depth(place)
        return tuple(float(self.source[k]) + t * self.direction[k] for k in (2 - self.along, 1))

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Column and row (fractional pixels) of points (n, 3) given in the patient's frame, and their ``t``."""
        seen = np.einsum("ij,nj->ni", self.turn, points - self.source)
        t = seen[:, 2] / self.distance
        column = (seen[:, 0] / t - self.u[0, 0]) / self.pixel
        row = (self.v[0, 0] - seen[:, 1] / t) / self.pixel
        return column, row, t


def cone_beam(
    view: str,
    *,
    distance: float,
    gap: float,
    pixel: float,
    size: int,
    turn: np.ndarray,
    shift: tuple[float, float],
    aim: float = 0.0,
) -> Rays:
    """The rays of one exposure.

    ``view`` is ``"PA"`` (source behind, front of the chest to the detector), ``"AP"`` (the reverse) or ``"LATERAL"``
    (left side to the detector); ``distance`` is source to detector, ``gap`` the patient's origin to the detector,
    ``pixel`` the pixel pitch, all in mm. ``turn`` is the patient's rotation from the view's own position, ``shift``
    moves the patient (x, y) in the room and ``aim`` is the height of the source. Raises ValueError for another view.
    """
    if view not in ("PA", "AP", "LATERAL"):
        raise ValueError(f"view must be 'PA', 'AP' or 'LATERAL', not {view!r}")
    sign = -1.0 if view == "AP" else 1.0
    turn = turn @ rotation(-np.pi / 2, 0.0) if view == "LATERAL" else turn
    source = np.array([0.0, aim, -sign * (distance - gap)])
    ramp = ((np.arange(size) - (size - 1) / 2) * pixel).astype(np.float32)
    return Rays(
        source=turn.T @ (source - np.array([*shift, 0.0])),
        turn=turn,
        u=ramp[None, :],
        v=(-ramp - np.float32(aim))[:, None],
        distance=sign * distance,
        pixel=pixel,
    )


def rotation(yaw: float, tilt: float) -> np.ndarray:
    """Rotation by ``yaw`` about the body's long axis, then ``tilt`` in the plane of the image; radians."""
    (cy, sy), (ct, st) = (np.cos(yaw), np.sin(yaw)), (np.cos(tilt), np.sin(tilt))
    about_long = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    in_plane = np.array([[ct, -st, 0], [st, ct, 0], [0, 0, 1]])
    return in_plane @ about_long


def ellipsoid(rays: Rays, centre: np.ndarray, form: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """Where rays cross the ellipsoid ``(p - centre)' form (p - centre) <= 1``.

    Returns the window (rows, columns) of the detector in which its shadow lies and, for that window, the ``t`` at which
    each ray enters and leaves; both are NaN where a ray misses.
    """
    reach = np.sqrt(np.diag(np.linalg.inv(form)))
    corners = centre + reach * np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, -1).T
    column, row, _ = rays.project(corners)
    window = tuple(slice(*np.clip([a.min(), a.max() + 2], 0, rays.size).astype(int)) for a in (row, column))
    u, v = rays.u[:, window[1]], rays.v[window[0]]
    # The ray is centre + w + s * direction, with w in the detector's plane through the centre: all numbers stay small.
    near = np.linalg.solve(rays.axes.T, centre - rays.source)
    middle = float(near[2])
    across, along = (u - float(near[0] / middle)) * middle, (v - float(near[1] / middle)) * middle
    q = (rays.axes @ form @ rays.axes.T).tolist()
    right, up = (q[0][0] * u + q[0][2]) + q[0][1] * v, (q[0][1] * u + q[1][2]) + q[1][1] * v
    square = u * right + v * up + ((q[0][2] * u + q[2][2]) + q[1][2] * v)
    linear = across * right + along * up
    rest = (q[0][0] * across**2 - 1) + along * (q[1][1] * along + 2 * q[0][1] * across)
    root = linear**2 - square * rest
    root = np.sqrt(np.where(root > 0, root, np.nan))
    return window, middle + (-linear - root) / square, middle + (-linear + root) / square


def chord(rays: Rays, centre: np.ndarray, form: np.ndarray) -> np.ndarray:
    """Length in mm of every ray inside an ellipsoid; (N, N) float32."""
    window, enter, leave = ellipsoid(rays, centre, form)
    image = np.zeros((rays.size, rays.size), np.float32)
    image[window] = np.nan_to_num(leave - enter) * rays.length[window]
    return image


def hull(rays: Rays, solids: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """First entry to and last exit from a cluster of ellipsoids (centre, form).

    Returns two (N, N) float32 arrays, (inf, -inf) for rays that miss.
    """
    shape = (rays.size, rays.size)
    first, last = np.full(shape, np.inf, np.float32), np.full(shape, -np.inf, np.float32)
    for centre, form in solids:
        window, enter, leave = ellipsoid(rays, centre, form)
        first[window], last[window] = np.fmin(first[window], enter), np.fmax(last[window], leave)
    return first, last


def union_length(intervals: list[tuple[np.ndarray, np.ndarray]], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Length of the union of a few intervals (enter, leave) per ray between ``low`` and ``high``; all (n,).

    By inclusion and exclusion, so meant for at most six or so.
    """
    total = np.zeros_like(low)
    overlaps = [(low, high, -1)]
    for begin, end in intervals:
        # Every overlap found so far, again with this interval, and with the other sign.
        for enter, leave, sign in overlaps[:]:
            enter, leave = np.maximum(enter, begin), np.minimum(leave, end)
            overlaps.append((enter, leave, -sign))
            total -= sign * np.maximum(leave - enter, 0)
    return total


class Tubes:
    """Thin curved solids (ribs, vessels, airways), summed as line integrals on the detector.

    Points along a curve are projected and their mass shared among the four nearest pixels; a disc-shaped kernel of the
    tube's projected radius then spreads it. The projection of a uniform disc is the chord of a circle, so a straight
    tube gets its true profile, and mass is conserved. Discs are applied as their transform, 2 J1(k) / k.
    """

    def __init__(self, rays: Rays, bend: Callable[[np.ndarray], np.ndarray] | None = None):
        """Start with nothing in front of the detector; ``bend`` moves points (n, 3) before they are projected."""
        self.rays, self.bend = rays, bend
        self.side = rays.size + 2 * MARGIN
        self.spectrum = np.zeros((self.side, self.side // 2 + 1), np.complex64)
        self.frequency = _radial_frequency(self.side)

    def splat(self, points: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """Share ``mass`` (attenuation x mm^3) at points (n, 3) among pixels, as line integrals; (side, side)."""
        column, row, t = self.rays.project(self.bend(points) if self.bend else points)
        column, row = column + MARGIN, row + MARGIN
        left, top = np.floor(column).astype(int), np.floor(row).astype(int)
        inside = (left >= 0) & (left < self.side - 1) & (top >= 0) & (top < self.side - 1)
        left, top = left[inside], top[inside]
        fx, fy = column[inside] - left, row[inside] - top
        # A pixel covers (pixel * t)^2 of the plane that the point lies in.
        weight = mass[inside] / (self.rays.pixel * t[inside]) ** 2
        flat = top * self.side + left
        index = np.concatenate([flat, flat + 1, flat + self.side, flat + self.side + 1])
        share = np.concatenate([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy])
        total = np.bincount(index, share * np.tile(weight, 4), minlength=self.side**2)
        return total.reshape(self.side, self.side).astype(np.float32)

    def add(self, points: np.ndarray, mass: np.ndarray, radius: float) -> None:
        """Add solid tubes of one ``radius`` (mm); ``mass`` as for ``splat``."""
        self.spectrum += fft.rfft2(self.splat(points, mass)) * self.kernel(radius)

    def add_bone(self, points: np.ndarray, length: np.ndarray, radii: tuple[float, float], wall: float, dense) -> None:
        """Add hollow tubes of elliptic section.

        ``radii`` are the half-width across the film and along the ray, ``wall`` the cortex's thickness (mm), ``dense``
        the attenuation per mm of cortex and of what it encloses; ``length`` the mm of tube at each point.
        """
        whole, core = np.pi * radii[0] * radii[1], np.pi * (radii[0] - wall) * (radii[1] - wall)
        kernel = whole * dense[0] * self.kernel(radii[0]) + core * (dense[1] - dense[0]) * self.kernel(radii[0] - wall)
        self.spectrum += fft.rfft2(self.splat(points, length)) * kernel

    def kernel(self, radius: float) -> np.ndarray:
        """Transform of the disc that a point of a tube becomes, at the magnification of the body's middle."""
        return disc(self.frequency * float(radius / (self.rays.pixel * self.rays.middle)))

    def image(self) -> np.ndarray:
        """The line integral of everything added; (N, N) float32."""
        whole = fft.irfft2(self.spectrum, s=(self.side, self.side))
        return whole[MARGIN:-MARGIN, MARGIN:-MARGIN]


@lru_cache(maxsize=4)
def _radial_frequency(side: int) -> np.ndarray:
    """Radians per pixel of every term of a (side, side) real transform."""
    return (2 * np.pi * np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))).astype(np.float32)


_TABLE_STEP = 0.01
_TABLE = np.concatenate([[1.0], (lambda k: 2 * special.j1(k) / k)(np.arange(1, 6000) * _TABLE_STEP)]).astype(np.float32)


def disc(k: np.ndarray) -> np.ndarray:
    """Transform of a unit-mass disc, 2 J1(k) / k, by table; float32 like ``k``."""
    return _TABLE[np.minimum((k * (1 / _TABLE_STEP) + 0.5).astype(np.int32), _TABLE.size - 1)]


def smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur by ``sigma`` pixels with mirrored borders, through the cosine transform."""
    ramp = [np.exp(-0.5 * (np.pi * np.arange(n) / n * sigma) ** 2).astype(np.float32) for n in image.shape]
    return fft.idctn(fft.dctn(image) * ramp[0][:, None] * ramp[1][None, :])


def expose(
    integral: np.ndarray, rng: np.random.Generator, *, scatter: float, photons: float, sharpness: float
) -> np.ndarray:
    """The negative log signal of a detector behind ``integral`` (Beer-Lambert), with scatter, blur and quantum noise.

    ``scatter`` is the scattered part relative to the primary's broad mean behind matter, ``photons`` the count per
    pixel in the open beam and ``sharpness`` the detector's blur in pixels. Returns the apparent line integral,
    float32, shape kept.
    """
    primary = smooth(np.exp(-integral), sharpness)
    # The open beam scatters nothing: what matter lets through is the measure of what it scatters.
    fog = smooth(primary * np.minimum(0.5 * integral, 1), integral.shape[0] / 9)
    signal = np.maximum(primary + scatter * fog, 1e-6)
    noise = rng.standard_normal(integral.shape, dtype=np.float32) * np.sqrt(signal / photons)
    return -np.log(np.maximum(signal + noise, 1e-4))
