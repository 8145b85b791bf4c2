"""Classical augmentation: images turned, scaled, moved, and shown darker or brighter, a function of (seed, step)."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

TURN = math.radians(7)  # largest angle
SCALE = 0.08  # largest change of scale
SHIFT = 0.05  # of the side, at most
CONTRAST = 0.15  # change of contrast and of brightness, at most
GAMMA = 0.2  # largest change of the exponent's logarithm
NOISE = 0.01  # largest standard deviation


def augmented(images: Tensor, random: np.random.Generator, flips: bool) -> Tensor:
    """Images (n, channels, size, size) in 0 to 1, each changed in its own way, in 0 to 1.

    The ranges are small, as films differ: wider ones took longer than an arm has steps, and did worse than none on all
    patients. Nothing is mirrored, since left is not right; with ``flips``, for tissue, images are mirrored and turned
    by quarters as well.
    """
    n = len(images)
    if flips:
        whole = zip(images, random.integers(0, 4, n), random.integers(0, 2, n), strict=True)
        images = torch.stack([image.rot90(turns, (1, 2)).flip([2] * mirror) for image, turns, mirror in whole])
    angle, scale = random.uniform(-TURN, TURN, n), 1 + random.uniform(-SCALE, SCALE, n)
    down, right = random.uniform(-2 * SHIFT, 2 * SHIFT, (2, n))  # the side is 2 long
    rows = np.stack(
        [
            np.stack([np.cos(angle) * scale, -np.sin(angle) * scale, right], 1),
            np.stack([np.sin(angle) * scale, np.cos(angle) * scale, down], 1),
        ],
        1,
    )
    grid = F.affine_grid(torch.from_numpy(rows).float(), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    contrast, brightness, gamma, noise = (
        torch.from_numpy(random.uniform(low, high, (n, 1, 1, 1))).float()
        for low, high in ((1 - CONTRAST, 1 + CONTRAST), (-CONTRAST, CONTRAST), (-GAMMA, GAMMA), (0, NOISE))
    )
    drawn = torch.from_numpy(random.standard_normal(tuple(images.shape), dtype=np.float32))
    shaded = ((moved - 0.5) * contrast + 0.5 + brightness / 2).clamp(0, 1) ** gamma.exp()
    return (shaded + noise * drawn).clamp(0, 1)
