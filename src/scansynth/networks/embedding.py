"""What a network is told beside the image, as one vector: noise level, condition, augmentation."""

import math

import torch
from torch import Tensor, nn

from scansynth.training.geometry import AUGMENTS


class Noise(nn.Module):
    """The noise level by sines and cosines (Ho et al., Denoising Diffusion Probabilistic Models, 2020) and an MLP."""

    def __init__(self, frequencies: int, width: int) -> None:
        super().__init__()
        # log-SNR spans about 20: wavelengths from 1.6 to 100.
        angular = 4 * torch.exp(-math.log(64) * torch.arange(frequencies // 2) / (frequencies // 2))
        self.register_buffer("frequencies", angular, persistent=False)
        self.mlp = mlp(frequencies, width)

    def forward(self, log_snr: Tensor) -> Tensor:
        """Embed ``log_snr`` (n) as (n, width)."""
        angles = log_snr[:, None] * self.frequencies
        return self.mlp(torch.cat([angles.sin(), angles.cos()], dim=1))


class Told(nn.Module):
    """The condition, a sum of its elements' vectors, or the null token where it is unknown; plus the augmentation.

    An element's vector has unit variance from the start, as the noise level's has, however many elements there are:
    torch's own initial weights make it so faint that learning to heed it takes most of a short run. The augmentation
    counts for nothing at first (after Karras et al., EDM, 2022, appendix F).
    """

    def __init__(self, conditions: int, width: int) -> None:
        super().__init__()
        self.condition = nn.Linear(conditions, width) if conditions else None
        if self.condition is not None:
            nn.init.normal_(self.condition.weight)
        self.null = nn.Parameter(torch.zeros(width))
        self.augment = nn.Linear(AUGMENTS, width, bias=False)
        nn.init.zeros_(self.augment.weight)

    def forward(
        self, log_snr: Tensor, condition: Tensor | None, known: Tensor | None, augment: Tensor | None
    ) -> Tensor:
        """Embed ``condition`` (n, conditions) where ``known`` (n, bool), and ``augment`` (n, AUGMENTS): (n, width).

        Without a condition all images get the null token; without ``known`` all conditions are heeded; without
        ``augment`` the images are as they are in the data. ``log_snr`` (n) says how many images there are, and where.
        """
        token = self.null.expand(len(log_snr), -1)
        if self.condition is not None and condition is not None:
            told = self.condition(condition)
            token = told if known is None else torch.where(known[:, None], told, token.to(told))
        # Without one the embedding of zeros is added all the same, so that every weight has a gradient.
        return token + self.augment(log_snr.new_zeros(len(log_snr), AUGMENTS) if augment is None else augment)


def mlp(inputs: int, width: int) -> nn.Sequential:
    """Two linear layers that keep the variance of their input (He et al., Delving Deep into Rectifiers, 2015)."""
    first, second = nn.Linear(inputs, width), nn.Linear(width, width)
    for layer in (first, second):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    return nn.Sequential(first, nn.SiLU(), second)
