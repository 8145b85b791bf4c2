"""The pleural cavity: how much lung, free air and fluid each ray meets between the solids that lie in it."""

import numpy as np

from scansynth.acquire.phantoms.projection import Rays, union_length
from scansynth.acquire.phantoms.thorax import LUNG

Interval = tuple[np.ndarray, np.ndarray]


class Cavity:
    """The stretch of every ray inside the pleura, ``low`` to ``high`` (N, N) in units of t, and what fills it."""

    def __init__(
        self,
        rays: Rays,
        pleura: Interval,
        solids: list[Interval],
        *,
        fluid: Interval | None = None,
        collapsed: tuple[Interval, ...] = (),
        parenchyma: np.ndarray | float = LUNG,
    ):
        """All intervals are (enter, leave), each (N, N).

        ``solids`` displace the lung; ``collapsed`` is the outside and the inside of a collapsed lung's pleura, if any;
        ``parenchyma`` is the lung's attenuation per mm.
        """
        self.rays, self.collapsed, self.parenchyma = rays, collapsed, parenchyma
        self.low, self.high = pleura
        self.index = np.flatnonzero(self.high > self.low)
        self.solids = [self.pick(*solid) for solid in solids]
        self.fluid = [self.pick(*fluid)] if fluid else []

    def pick(self, *images: np.ndarray) -> tuple[np.ndarray, ...]:
        """Values (n,) of images (N, N) at the rays through the cavity."""
        return tuple(image.ravel()[self.index] for image in images)

    def whole(self, values: np.ndarray) -> np.ndarray:
        """Values of the rays through the cavity (n,), back in the image (N, N)."""
        image = np.zeros(self.low.shape, np.float32)
        image.ravel()[self.index] = values
        return image

    def filled(self, low: np.ndarray, high: np.ndarray, fluid: bool = True) -> np.ndarray:
        """Length of solids (and fluid) between ``low`` and ``high`` (n,), in units of t."""
        return union_length(self.solids + self.fluid * fluid, low, high)

    def air(self) -> tuple[np.ndarray, np.ndarray]:
        """Length in mm of inflated lung, and of free air in a pneumothorax, along each ray."""
        low, high = self.pick(self.low, self.high)
        free = self.whole((high - low) - self.filled(low, high)) * self.rays.length
        if not self.collapsed:
            return free, np.zeros_like(free)
        low, high = self.pick(*self.collapsed[0])
        lung = self.whole((high - low) - self.filled(low, high)) * self.rays.length
        return lung, np.maximum(free - lung, 0)

    def shell(self, lung: np.ndarray, gas: np.ndarray) -> np.ndarray:
        """Length in mm of visceral pleura around a collapsed lung; lost in the shadow of the dome."""
        if not self.collapsed:
            return np.zeros_like(gas)
        outer, inner = self.collapsed
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

    def wet(self) -> np.ndarray:
        """Millilitres of pleural fluid along each ray."""
        if not self.fluid:
            return np.zeros(self.low.shape, np.float32)
        low, high = self.pick(self.low, self.high)
        depth = self.whole(self.filled(low, high) - self.filled(low, high, fluid=False)) * self.rays.length
        return depth * (self.rays.pixel * (self.low + self.high) / 2) ** 2 / 1000
