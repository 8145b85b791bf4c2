"""An average of the weights over the run, whose length grows with it."""

import copy

import numpy as np
import torch
from torch import nn


class PowerEMA:
    """Power-function moving average (Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models,
    2024, eq. 1 and algorithm 2): its width is a fixed share of the steps so far, so that the start is soon forgotten.

    Args:
        model: whose parameters are averaged; ``self.model`` is a copy of it that holds the averages.
        width: standard deviation of the average's profile, relative to the run's length (0.01 to 0.28).
    """

    def __init__(self, model: nn.Module, width: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.exponent = exponent(width)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after ``step`` (1, 2, ...)."""
        weight = 1 - (1 - 1 / step) ** (self.exponent + 1)
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), weight)


def exponent(width: float) -> float:
    """The power whose profile has relative standard deviation ``width``; raises ValueError outside (0, 0.288)."""
    roots = np.roots([1, 7, 16 - width**-2, 12 - width**-2])
    power = float(roots.real.max())
    if power < 0:
        raise ValueError(f"an average of relative width {width} is not a power function: at most 0.288")
    return power
