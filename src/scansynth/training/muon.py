"""Muon: momentum whose matrices are made orthogonal, for the kernels of convolutions.

Jordan et al., Muon: An optimizer for hidden layers in neural networks (2024), with the scale of Liu et al., Muon is
Scalable for LLM Training (2025, eq. 4), which gives a step the size that one of AdamW has: one learning rate does for
both. A kernel (out, in, rows, columns) counts as a matrix of ``out`` rows.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
ADAM_SIZE = 0.2  # root mean square of a step of AdamW, in learning rates (Liu et al., section 2.2)
# Coefficients (Jordan et al.) that bring singular values of 0 to 1 to about 1 fast, if not exactly.
A, B, C = 3.4445, -4.7750, 2.0315
ITERATIONS = 3  # of 5 the validation loss was no lower, and a step took longer


class Muon(torch.optim.Optimizer):
    """The optimizer; for parameters of four dimensions only."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float = 1e-3, weight_decay: float = 0.01) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        """Take a step along the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
                ahead = parameter.grad.lerp(state["momentum"], MOMENTUM)  # Nesterov's
                matrix = ahead.permute(0, 2, 3, 1).flatten(1)  # in memory order where channels are last
                step = orthogonal(matrix) * ADAM_SIZE * max(matrix.shape) ** 0.5
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(group["lr"] * step.view(ahead.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2))


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix with its singular values brought near 1 by a Newton-Schulz iteration; small ones less near.

    The iteration, x <- (A + B x x' + C (x x')^2) x, is made on the small x x' alone: its factors all commute.
    """
    x = matrix.T if len(matrix) > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    square, one = x @ x.T, torch.eye(len(x), dtype=x.dtype, device=x.device)
    product = one
    for _ in range(ITERATIONS):
        factor = A * one + B * square + C * square @ square
        product, square = factor @ product, factor @ square @ factor
    x = product @ x
    return x.T if len(matrix) > matrix.shape[1] else x
