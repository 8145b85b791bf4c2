"""One exposure of the phantom: every organ's line integral, the truth that goes with it, and the displayed film."""

from dataclasses import dataclass

import numpy as np

from scansynth.acquire.phantoms import skeleton, thorax
from scansynth.acquire.phantoms.projection import Rays, Tubes, chord, expose, hull, smooth, union_length
from scansynth.acquire.phantoms.thorax import FAT, LUNG, SOFT, Body, State

LETTERS = {  # lead side markers, 5 x 7
    "L": ("10000", "10000", "10000", "10000", "10000", "10000", "11111"),
    "R": ("11110", "10001", "10001", "11110", "10100", "10010", "10001"),
}


@dataclass
class Film:
    """Line integrals (N, N) float32 with what is known of them: masks (N, N) bool and measurements.

    ``lungs`` is aerated lung, ``heart`` its shadow, ``solid`` the body where there is none.
    """

    integral: np.ndarray
    lungs: np.ndarray
    heart: np.ndarray
    solid: np.ndarray
    truth: dict


def integrate(rays: Rays, body: Body, state: State, rng: np.random.Generator) -> Film:
    """Line integrals of attenuation along ``rays`` and the truth of the projection; ``rng`` places nodules."""
    half = thorax.trunk(body, *rays.at(0.0))
    # The chord of a circle of radius 110 mm less that of one a fat layer smaller.
    fat = half - np.sqrt(np.maximum(half**2 - 220 * body.fat, 0))
    chest = Chest(rays, body, state)
    lung, gas = chest.air()
    total = 2 * (SOFT * half - (SOFT - FAT) * fat) + breasts(rays, body)
    total -= (SOFT - chest.parenchyma()) * lung + SOFT * gas
    total += SOFT * chest.pleura(lung, gas) - 0.6 * SOFT * stomach_gas(rays, body, state)

    tubes = Tubes(rays)
    skeleton.bones(body, tubes)
    skeleton.airways(body, tubes)
    total += tubes.image() + skeleton.vertebrae(rays, body)
    tubes = Tubes(rays)
    skeleton.vessels(body, state, tubes)
    total += tubes.image() * np.clip(lung / 110, 0, 1)

    truth = chest.measure() | {"nodules": []}
    for radius in state.nodules:
        centre, where = chest.place(lung, radius, rng)
        # Small nodules are seen when they are denser (calcified); larger ones are soft tissue.
        contrast = max(SOFT - LUNG, 0.55 / (2 * radius)) * rng.uniform(1.1, 1.6)
        total += contrast * chord(rays, centre, np.eye(3) / radius**2)
        truth["nodules"].append((*where, radius))
    return Film(np.maximum(total, 0), lung > 12, chest.heart_shadow, (half > 5) & (lung + gas < 12), truth)


class Chest:
    """The pleural cavities along each ray, and what fills them."""

    def __init__(self, rays: Rays, body: Body, state: State):
        """Intersect every ray with the cavities and with each solid that lies in them."""
        self.rays, self.body, self.state = rays, body, state
        self.x, self.y = rays.at(-8.0)
        self.low, self.high = thorax.lung_interval(rays, body, self.x, self.y)
        self.inside = self.high > self.low
        self.index = np.flatnonzero(self.inside)
        heart = hull(rays, thorax.heart(body, state))
        self.heart_shadow = heart[1] > heart[0]
        solids = [heart, *(hull(rays, part) for part in thorax.mediastinum(body))]
        solids.append(thorax.dome_interval(rays, body, state))
        self.solids = [self.pick(*solid) for solid in solids]
        self.fluid = [self.effusion()] if any(state.effusion) else []

    def effusion(self) -> tuple[np.ndarray, np.ndarray]:
        """Interval of pleural fluid: from the back forwards, climbing along the lateral wall as a meniscus."""
        x, y, low, high = self.pick(self.x, self.y, self.low, self.high)
        tall = np.where(x > 0, np.float32(self.state.effusion[1]), np.float32(self.state.effusion[0]))
        aside = np.minimum(np.abs(x) / self.body.width, 1)
        floor = thorax.dome_top(self.body, self.state) - self.body.domes[0]
        level = floor + tall * (0.5 + 0.5 * aside**3)
        part = np.clip((level - y) / (0.25 * tall + 4), 0, 1) * (tall > 0)
        part = part * part * (3 - 2 * part)
        if self.rays.distance > 0:  # PA: the back is nearest the source
            return low, low + part * (high - low)
        return high - part * (high - low), high

    def filled(self, low: np.ndarray, high: np.ndarray, fluid: bool = True) -> np.ndarray:
        """Length of solids (and fluid) between ``low`` and ``high`` (n,), in units of t."""
        return union_length(self.solids + self.fluid * fluid, low, high)

    def pick(self, *images: np.ndarray) -> tuple[np.ndarray, ...]:
        """Values (n,) of images (N, N) at the rays through the cavities."""
        return tuple(image.ravel()[self.index] for image in images)

    def whole(self, values: np.ndarray) -> np.ndarray:
        """Values of the rays through the cavities (n,), back in the image (N, N)."""
        image = np.zeros(self.x.shape, np.float32)
        image.ravel()[self.index] = values
        return image

    def air(self) -> tuple[np.ndarray, np.ndarray]:
        """Length in mm of inflated lung, and of free air in a pneumothorax, along each ray."""
        low, high = self.pick(self.low, self.high)
        free = self.whole((high - low) - self.filled(low, high)) * self.rays.length
        if not self.state.pneumothorax[0]:
            return free, np.zeros_like(free)
        low, high = self.pick(*self.shrunk(self.state.pneumothorax[1]))
        lung = self.whole((high - low) - self.filled(low, high)) * self.rays.length
        return lung, np.maximum(free - lung, 0)

    def parenchyma(self) -> np.ndarray | float:
        """Attenuation per mm of lung; a collapsed lung holds the same tissue in less room."""
        where, size = self.state.pneumothorax
        hurt = (self.x > 0) == (where == "L")
        return np.where(hurt, np.float32(LUNG / size**2), np.float32(LUNG)) if where else LUNG

    def shrunk(self, size: float) -> tuple[np.ndarray, np.ndarray]:
        """Intervals of the lungs with the collapsed one drawn towards its hilum to ``size``."""
        side = 1 if self.state.pneumothorax[0] == "L" else -1
        root = skeleton.hilum(self.body, side)
        x, y = root[0] + (self.x - root[0]) / size, root[1] + (self.y - root[1]) / size
        low, high = thorax.lung_interval(self.rays, self.body, x.astype(np.float32), y.astype(np.float32))
        low, high = np.clip(low, self.low, self.high), np.clip(high, self.low, self.high)
        here = self.x * side > 0
        # Medially and below, the collapsed lung keeps to its cavity.
        keep = here & ((self.x - root[0]) * side > 0)
        return np.where(keep, low, self.low), np.where(keep, high, self.high)

    def pleura(self, lung: np.ndarray, gas: np.ndarray) -> np.ndarray:
        """Length of visceral pleura, a shell of 1.6 mm around a collapsed lung; lost in the shadow of the dome."""
        if not self.state.pneumothorax[0]:
            return np.zeros_like(gas)
        size = self.state.pneumothorax[1]
        outer, inner = self.shrunk(size), self.shrunk(size * (1 - 1.6 / self.body.width))
        shell = ((outer[1] - outer[0]) - (inner[1] - inner[0])) * self.rays.length
        return np.clip(shell, 0, 30) * np.clip(gas / 10, 0, 1) * np.clip((gas + lung - 25) / 40, 0, 1)

    def place(self, lung: np.ndarray, radius: float, rng: np.random.Generator) -> tuple[np.ndarray, tuple]:
        """A point in 3-D whose ray runs mostly through lung, and its (x, y, radius) as fractions of the image."""
        span = (self.high - self.low) * self.rays.length
        clear = (lung > 0.8 * span) & (lung > 2 * radius + 40)
        rows, columns = np.nonzero(clear if clear.any() else lung >= lung.max())
        pick = rng.integers(rows.size)
        row, column = rows[pick], columns[pick]
        t = self.low[row, column] + rng.uniform(0.35, 0.65) * (self.high - self.low)[row, column]
        centre = self.rays.source + t * np.array([self.rays.direction[k][row, column] for k in range(3)])
        n = self.rays.size
        return centre, ((column + 0.5) / n, (row + 0.5) / n, radius / t / self.rays.pixel / n)

    def measure(self) -> dict:
        """Cardiothoracic ratio in the projection, widths in 3-D, and the volume of any effusion."""
        columns = np.nonzero(self.heart_shadow.any(0))[0]
        floor = thorax.dome_top(self.body, self.state) - self.body.domes[0]
        cavity = self.inside & (self.y > floor)
        order = np.arange(self.rays.size)
        widths = np.where(cavity, order, -1).max(1) - np.where(cavity, order, self.rays.size).min(1) + 1
        truth = {
            "cardiothoracic_ratio": float((np.ptp(columns) + 1) / widths.max()),
            "heart_width_mm": 2 * self.body.heart * self.body.width,
            "thorax_width_mm": 2 * self.body.width,
        }
        wet = self.wet() if any(self.state.effusion) else np.zeros_like(self.x)
        for side, here in (("right", self.x < 0), ("left", self.x > 0)):
            truth[f"effusion_{side}_ml"] = float(wet[here].sum())
        return truth

    def wet(self) -> np.ndarray:
        """Millilitres of pleural fluid along each ray."""
        low, high = self.pick(self.low, self.high)
        depth = self.whole(self.filled(low, high) - self.filled(low, high, fluid=False)) * self.rays.length
        return depth * (self.rays.pixel * (self.low + self.high) / 2) ** 2 / 1000


def breasts(rays: Rays, body: Body) -> np.ndarray:
    """Extra line integral of the breasts, half-ellipsoids on the front of the chest."""
    total = np.zeros((rays.size, rays.size), np.float32)
    for side in (-1, 1) if body.breast else ():
        centre = np.array([side * 0.62 * body.width, -62.0 - 0.3 * body.breast, body.depth + 10])
        total += 0.5 * FAT * chord(rays, centre, thorax.form((0.52 * body.width, 62.0, body.breast), side * 0.35))
    return total


def stomach_gas(rays: Rays, body: Body, state: State) -> np.ndarray:
    """Length in mm of gas under the left dome."""
    if not state.bubble:
        return np.zeros((rays.size, rays.size), np.float32)
    radii = (1.3 * state.bubble, 0.7 * state.bubble, state.bubble)
    top = thorax.dome_top(body, state) - state.left_lower - 12 - radii[1]
    return chord(rays, np.array([0.45 * body.width, top, 20.0]), thorax.form(radii, -0.2))


def develop(film: Film, rng: np.random.Generator, *, noise: float, scatter: float) -> np.ndarray:
    """The film as a reader sees it: (N, N) float32 in 0..1, bone bright, lung dark.

    Beer-Lambert and detector, then local contrast is raised and the log signal passes a sigmoid set, like automatic
    exposure control, by the lungs and the rest of the trunk.
    """
    seen = expose(film.integral, rng, scatter=scatter, photons=noise, sharpness=rng.uniform(0.3, 0.7))
    broad = smooth(seen, 22.0)
    seen = broad + rng.uniform(1.2, 1.8) * (seen - broad)
    lung, dense = np.percentile(seen[film.lungs], 35), np.percentile(seen[film.solid], 80)
    dark, bright = rng.uniform(0.26, 0.42), rng.uniform(0.78, 0.88)
    low, high = (np.log(p / (1 - p)) for p in (dark, bright))
    gain = (high - low) / max(dense - lung, 0.8)
    return 1 / (1 + np.exp(float(lung * gain - low) - seen * float(gain)))
