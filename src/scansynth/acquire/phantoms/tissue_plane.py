"""The plane that a tissue patch is drawn on, twice as fine as the patch and wider, and its random fields."""

from functools import lru_cache

import numpy as np
from scipy.interpolate import BSpline
from scipy.sparse import csr_array, diags_array

SIZE = 96  # rows and columns of a patch
PIXEL = 0.97  # um a pixel, as in PatchCamelyon
STEP = PIXEL / 2  # um a point of the plane
MARGIN = 16  # points around the patch, for cells that reach into it
PLANE = 2 * SIZE + 2 * MARGIN  # points along each side


def smooth_noise(rng: np.random.Generator, spacing: float) -> np.ndarray:
    """Gaussian noise (PLANE, PLANE) float32 of mean 0 and variance 1, correlated over about ``spacing`` um.

    White noise on a lattice of that spacing, joined by cubic B-splines. (Their matrix is sparse, so that BLAS, whose
    last bit may depend on the number of threads, has no part in it.)
    """
    splines = _splines(spacing)
    lattice = rng.standard_normal((splines.shape[1],) * 2, dtype=np.float32)
    return np.ascontiguousarray((splines @ (splines @ lattice).T).T)


@lru_cache(256)
def _splines(spacing: float) -> csr_array:
    position = np.arange(PLANE) * STEP / spacing
    knots = np.arange(-3, int(position[-1]) + 5)
    splines = BSpline.design_matrix(position, knots, 3)
    return (diags_array(1 / np.sqrt(splines.power(2).sum(1))) @ splines).astype(np.float32).tocsr()
