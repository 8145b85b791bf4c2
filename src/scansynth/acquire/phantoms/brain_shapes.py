"""Soft shapes on a grid: signed distances (mm, about; negative inside), shares of voxels, smooth random fields."""

from functools import cache
from itertools import pairwise

import numpy as np
from scipy import fft

MM = 2.0  # a voxel
GRID = (84, 100, 78)  # voxels to the left, to the back, up: all that a head needs


def ellipsoid(at: np.ndarray, centre: tuple, half_axes: tuple, power: float = 2.0) -> np.ndarray:
    """Distance of positions (3, ...) to an ellipsoid, or to one that is boxier where ``power`` is above 2."""
    radius = np.zeros(at.shape[1:], np.float32)
    for part, middle, half in zip(at, centre, half_axes, strict=True):
        scaled = (part - np.float32(middle)) / np.float32(half)
        radius += scaled * scaled if power == 2 else np.abs(scaled) ** np.float32(power)
    return (radius ** np.float32(1 / power) - 1) * np.float32(min(half_axes))


def chain(at: np.ndarray, *knots: tuple[float, float, float, float], size: float = 1.0) -> np.ndarray:
    """Distance of positions (3, ...) to a tube through ``knots``: x, y, z and radius, which ``size`` multiplies."""
    links = []
    for (*start, thick), (*end, thin) in pairwise(knots):
        way = np.subtract(end, start).astype(np.float32)
        offset = [part - np.float32(first) for part, first in zip(at, start, strict=True)]
        along = np.clip((offset[0] * way[0] + offset[1] * way[1] + offset[2] * way[2]) / (way @ way), 0, 1)
        x, y, z = (part - along * step for part, step in zip(offset, way, strict=True))
        links.append(np.sqrt(x * x + y * y + z * z) - np.float32(size) * (thick + along * np.float32(thin - thick)))
    return np.minimum.reduce(links)


def join(a: np.ndarray, b: np.ndarray, fillet: float) -> np.ndarray:
    """The union of two shapes; where they meet, ``fillet`` mm or less apart, the corner is filled smoothly."""
    near = np.maximum(np.float32(fillet) - np.abs(a - b), 0)
    return np.minimum(a, b) - near * near * np.float32(0.25 / fillet)


def meet(a: np.ndarray, b: np.ndarray, fillet: float) -> np.ndarray:
    """The intersection of two shapes, its edge rounded likewise."""
    return -join(-a, -b, fillet)


def inside(distance: np.ndarray) -> np.ndarray:
    """Share of a voxel within a surface, of the signed distance of the voxel's middle."""
    return np.clip(0.5 - distance / np.float32(MM), 0, 1)


def within(distance: np.ndarray, half: float | np.ndarray) -> np.ndarray:
    """Share of a voxel within ``half`` mm of a sheet on either side, which may be thinner than the voxel."""
    reach = np.float32(MM / 2)
    overlap = np.minimum(distance + reach, half) - np.maximum(distance - reach, -half)
    return np.clip(overlap / np.float32(MM), 0, 1)


def field(rng: np.random.Generator, spacing: float) -> np.ndarray:
    """A smooth random field on the grid, mean 0 and variance 1: cubic B-splines with knots ``spacing`` mm apart."""
    bases = [_splines(side, spacing) for side in GRID]
    values = rng.standard_normal([basis.shape[1] for basis in bases], dtype=np.float32)
    for basis in bases:  # each turn takes the first axis to the end
        values = np.tensordot(values, basis, (0, 1))
    return values * np.float32((315 / 151) ** 1.5)  # the squares of an axis' weights add up to 151/315 on average


@cache
def _splines(side: int, spacing: float) -> np.ndarray:
    """Weights of the knots (columns) at each voxel (rows) along an axis."""
    at = np.arange(side) * MM / spacing
    away = np.abs(at[:, None] + 1 - np.arange(int(at[-1]) + 4))
    return np.where(away < 1, 2 / 3 - away**2 + away**3 / 2, np.maximum(2 - away, 0) ** 3 / 6).astype(np.float32)


def ripples(rng: np.random.Generator, wavelength: float) -> np.ndarray:
    """A random field on the grid that varies over about one ``wavelength`` (mm) in all directions, and is periodic."""
    return fft.irfftn(fft.rfftn(rng.standard_normal(GRID, dtype=np.float32)) * _band(wavelength), GRID)


@cache
def _band(wavelength: float) -> np.ndarray:
    """Gaussian pass band about a wavelength."""
    axes = [fft.fftfreq(side, MM) for side in GRID[:2]] + [fft.rfftfreq(GRID[2], MM)]
    waves = np.sqrt(sum(part**2 for part in np.meshgrid(*axes, indexing="ij", sparse=True))) * wavelength
    return np.exp(-(((waves - 1) / 0.22) ** 2)).astype(np.float32)
