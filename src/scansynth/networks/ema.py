"""An average of the weights over the run, whose length grows with it.

One is kept for each length that validation is to choose from. Reconstructing them after the run from the snapshots of
two (Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models, 2024, algorithm 3) gives the same
choice only to the accuracy of a least-squares fit, and takes more disk; it pays where lengths are thought of later.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn


class PowerEMA:
    """Power-function moving average (Karras et al., 2024, eq. 1 and algorithm 2).

    Its width is a fixed share of the steps so far, so that the start is soon forgotten.

    Args:
        model: whose parameters are averaged; ``self.values`` are the averages, in the order of its parameters.
        width: standard deviation of the average's profile, relative to the run's length (0.01 to 0.28).
    """

    def __init__(self, model: nn.Module, width: float) -> None:
        self.values = [parameter.detach().clone() for parameter in model.parameters()]
        self.exponent = exponent(width)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after ``step`` (1, 2, ...)."""
        weight = 1 - (1 - 1 / step) ** (self.exponent + 1)
        torch._foreach_lerp_(self.values, list(model.parameters()), weight)


@torch.no_grad()
def assign(model: nn.Module, values: Iterable[Tensor]) -> None:
    """Give ``model`` the parameters ``values``, in the order of its own."""
    for parameter, value in zip(model.parameters(), values, strict=True):
        parameter.copy_(value)


def exponent(width: float) -> float:
    """The power whose profile has relative standard deviation ``width``; raises ValueError outside (0, 0.288)."""
    roots = np.roots([1, 7, 16 - width**-2, 12 - width**-2])
    power = float(roots.real.max())
    if power < 0:
        raise ValueError(f"an average of relative width {width} is not a power function: at most 0.288")
    return power
