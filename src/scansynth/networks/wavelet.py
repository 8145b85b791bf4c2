"""Orthonormal wavelet packets: 4 times fewer pixels a level, white noise stays white."""

from typing import Literal

import torch
from torch import Tensor, nn

# The low-pass filters. An error in one of Haar's fine bands is the edge of a block; with 8 taps (Daubechies, Ten
# Lectures on Wavelets, 1992, table 6.3: N = 4, least asymmetric) it is a ripple.
FILTERS = {
    "haar": (0.7071067811865476, 0.7071067811865476),
    "symlet": (
        *(-0.07576571478927333, -0.02963552764599851, 0.49761866763201545, 0.8037387518059161),
        *(0.29785779560527736, -0.09921954357684722, -0.012603967262037833, 0.0322231006040427),
    ),
}


class Packet(nn.Module):
    """The packet of a wavelet on square images of ``size``, which wrap around at their borders.

    Every band is split at every level, so that all lie on one grid. It is separable, so that one orthogonal matrix,
    applied to rows and columns, makes all levels at once: on any device the fastest way at these sizes.
    """

    def __init__(self, wavelet: Literal["haar", "symlet"], levels: int, size: int) -> None:
        super().__init__()
        self.levels, self.bands, self.grid = levels, 4**levels, size // 2**levels
        self.register_buffer("matrix", packet_matrix(FILTERS[wavelet], levels, size).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Coefficients (n, c * bands, grid, grid) of ``x`` (n, c, size, size); of a channel, first its coarse image."""
        if not self.levels:
            return x
        with torch.autocast(x.device.type, enabled=False):
            z = self.matrix @ x.float() @ self.matrix.T
        z = z.reshape(len(x), -1, *[2] * self.levels, self.grid, *[2] * self.levels, self.grid)
        return z.permute(0, 1, *self._together()).reshape(len(x), -1, self.grid, self.grid)

    def inverse(self, z: Tensor) -> Tensor:
        """The images that have the coefficients ``z``."""
        if not self.levels:
            return z
        order = self._together()
        back = [2 + order.index(axis) for axis in range(2, 2 + len(order))]
        x = z.reshape(len(z), -1, *[2] * (2 * self.levels), self.grid, self.grid).permute(0, 1, *back)
        x = x.reshape(len(z), -1, *[self.grid * 2**self.levels] * 2)
        with torch.autocast(z.device.type, enabled=False):
            return self.matrix.T @ x.float() @ self.matrix

    def _together(self) -> list[int]:
        """Axes of (n, c, rows' bands level by level, rows, columns' bands level by level, columns), level by level."""
        rows, columns = 2, 3 + self.levels
        bands = [axis + level for level in range(self.levels) for axis in (rows, columns)]
        return [*bands, rows + self.levels, columns + self.levels]


def packet_matrix(low: tuple[float, ...], levels: int, size: int) -> Tensor:
    """The orthogonal matrix (size, size), float64: bands by level, and in each band positions."""
    matrix = torch.eye(size, dtype=torch.float64)[None]
    for _ in range(levels):
        matrix = torch.einsum("sij,bjk->bsik", _split(low, matrix.shape[1]), matrix).flatten(0, 1)
    return matrix.flatten(0, 1)


def _split(low: tuple[float, ...], size: int) -> Tensor:
    """One level: (2, size / 2, size), low pass and high pass of a periodic signal, every second sample of each."""
    taps = len(low)
    high = [tap * (-1) ** k for k, tap in enumerate(reversed(low))]
    result = torch.zeros(2, size // 2, size, dtype=torch.float64)
    for band, filter_ in enumerate((low, high)):
        for i in range(size // 2):
            for k, tap in enumerate(filter_):
                result[band, i, (2 * i + k - (taps // 2 - 1)) % size] += tap
    return result
