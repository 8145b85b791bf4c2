"""Geometric augmentation of training images that does not leak: the network is told what was done to each.

Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models (EDM, 2022), appendix F.2. Asked with
zeros, the network makes images as they are in the data. The parameters determine the transform, with one departure for
it: the direction of an anisotropic scaling is told by twice its angle, since axes half a turn apart are one.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# Horizontal flip; vertical flip; quarter turns (2); scaling; rotation (2); anisotropic scaling (2); translation (2).
AUGMENTS = 11
QUARTERS = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1]])  # how 0 to 3 quarter turns are told
SCALE = 0.2  # standard deviation of log2 of a scaling, isotropic or not
SHIFT = 0.125  # standard deviation of a translation, as a share of the image's side


def draw(n: int, probability: float, random: np.random.Generator) -> Tensor:
    """Parameters of ``n`` augmentations, float32 (n, AUGMENTS): each kind with ``probability``, else zeros."""
    parameters = np.zeros((n, AUGMENTS), dtype=np.float32)
    parameters[:, :2] = 1
    parameters[:, 2:4] = QUARTERS.numpy()[random.integers(1, 4, n)]
    parameters[:, 4] = random.standard_normal(n)
    angle = random.uniform(-math.pi, math.pi, n)
    parameters[:, 5:7] = np.stack([np.cos(angle) - 1, np.sin(angle)], axis=1)
    parameters[:, 7:] = random.standard_normal((n, 4))
    kinds = random.random((n, 7)) < probability
    return torch.from_numpy(parameters * kinds[:, [0, 1, 2, 2, 3, 4, 4, 5, 5, 6, 6]])


def augment(images: Tensor, parameters: Tensor) -> Tensor:
    """``images`` (n, channels, size, size) in [-1, 1], transformed as ``parameters`` (n, AUGMENTS) say.

    In the parameters' order. Flips and quarter turns (anticlockwise) move pixels as they are. All else is one bicubic
    interpolation; what lies outside the image is as its border.
    """
    # One by one: matrix products of a batch differ with its size in their last bits.
    return torch.stack([_one(image, told) for image, told in zip(images, parameters, strict=True)])


def _one(image: Tensor, told: Tensor) -> Tensor:
    flips = [axis for axis, applied in ((-1, told[0]), (-2, told[1])) if applied]
    quarters = int((told[2:4] == QUARTERS).all(dim=1).nonzero())
    image = image.flip(flips).rot90(quarters, (-2, -1))
    if not told[4:].any():
        return image
    grid = functional.affine_grid(_inverse(told[4:].double())[None].float(), [1, *image.shape], align_corners=False)
    moved = functional.grid_sample(image[None], grid, mode="bicubic", padding_mode="border", align_corners=False)
    return moved[0].clamp(-1, 1)


def _inverse(told: Tensor) -> Tensor:
    """Where each place of the result lies in the image, (2, 3), in coordinates from -1 to 1 (x right, y down)."""
    scale, cosine, sine, along, across, *shift = told.unbind()
    cosine = cosine + 1
    rotation = torch.stack([cosine, -sine, sine, cosine]).view(2, 2)
    # The exponential of a symmetric matrix without trace: a stretch along one axis, and as much of a squeeze across.
    stretch = SCALE * math.log(2) * torch.stack([along, across, across, -along]).view(2, 2)
    linear = rotation @ torch.linalg.matrix_exp(-stretch) / torch.exp2(SCALE * scale)
    return torch.cat([linear, -linear @ (2 * SHIFT * torch.stack(shift)[:, None])], dim=1)
