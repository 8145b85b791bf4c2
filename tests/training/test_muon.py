"""Muon turns a kernel by an orthogonal matrix, in steps as large as those of AdamW."""

import pytest
import torch
from torch import nn

from scansynth.training.muon import ADAM_SIZE, ITERATIONS, MOMENTUM, A, B, C, Muon, orthogonal


def kernel(out=8, width=4, memory_format=torch.contiguous_format):
    made = torch.randn(out, width, 3, 3, generator=torch.Generator().manual_seed(0))
    return nn.Parameter(made.to(memory_format=memory_format))


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (6, 6)])
def test_singular_vectors_stay_and_values_come_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    mapped = values / values.norm()
    for _ in range(ITERATIONS):
        mapped = A * mapped + B * mapped**3 + C * mapped**5
    torch.testing.assert_close(orthogonal(matrix), u * mapped @ v, atol=1e-4, rtol=1e-4)
    assert mapped.max() < 1.3
    assert mapped[values > values[0] / 4].min() > 0.5


def test_a_zero_gradient_moves_nothing_but_by_the_decay():
    parameter = kernel()
    before = parameter.detach().clone()
    parameter.grad = torch.zeros_like(parameter)
    Muon([parameter], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(parameter.detach(), before * 0.95)


def test_a_step_has_the_size_of_one_of_adamw():
    parameter = kernel(16, 32)
    before = parameter.detach().clone()
    parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    Muon([parameter], lr=0.01, weight_decay=0).step()
    size = (parameter.detach() - before).square().mean().sqrt() / 0.01
    assert size == pytest.approx(ADAM_SIZE, rel=0.35)


def test_momentum_is_that_of_nesterov():
    parameter, gradients = kernel(), torch.randn(2, 8, 4, 3, 3, generator=torch.Generator().manual_seed(3))
    optimizer, expected = Muon([parameter], lr=0.01, weight_decay=0), parameter.detach().clone()
    momentum = torch.zeros_like(expected)
    for gradient in gradients:
        parameter.grad = gradient
        optimizer.step()
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * gradient
        ahead = (1 - MOMENTUM) * gradient + MOMENTUM * momentum
        # Which of a matrix's columns are which makes no difference to what is orthogonal.
        expected -= 0.01 * ADAM_SIZE * 6 * orthogonal(ahead.flatten(1)).view_as(ahead)
    torch.testing.assert_close(parameter.detach(), expected, atol=1e-6, rtol=1e-5)


def test_the_order_in_memory_makes_no_difference():
    found = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        parameter = kernel(memory_format=memory_format)
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4))
        Muon([parameter], lr=0.1).step()
        found.append(parameter.detach())
    torch.testing.assert_close(*found)
