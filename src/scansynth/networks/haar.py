"""The orthonormal Haar wavelet packet: 4 times fewer pixels a level, white noise stays white."""

import torch
from torch import Tensor
from torch.nn import functional

# Rows: mean, horizontal, vertical and diagonal difference of a 2x2 block; orthonormal and symmetric, its own inverse.
_BLOCK = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2


def haar(x: Tensor, levels: int) -> Tensor:
    """Coefficients of ``x``, (n, c, h, w) -> (n, c * 4**levels, h / 2**levels, w / 2**levels).

    Every band is split at every level (a packet), so that all lie on one grid. A channel's first band is its coarse
    image. Negative levels invert: ``haar(haar(x, n), -n)`` is ``x``.
    """
    for _ in range(levels):
        x = _mix(functional.pixel_unshuffle(x, 2))
    for _ in range(-levels):
        x = functional.pixel_shuffle(_mix(x), 2)
    return x


def _mix(x: Tensor) -> Tensor:
    n, channels, height, width = x.shape
    blocks = x.reshape(n, channels // 4, 4, height * width)
    return (_BLOCK.to(x) @ blocks).reshape(n, channels, height, width)
