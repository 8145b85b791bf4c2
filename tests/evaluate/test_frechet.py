import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torchmetrics.image.fid import FrechetInceptionDistance

from scansynth.evaluate.frechet import Gaussian, frechet_distance


def features(n, d, seed, shift=0.0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, d)) @ generator.normal(size=(d, d)) + shift


def distance(first, second):
    return frechet_distance(Gaussian.fitted(first), Gaussian.fitted(second))


def test_closed_form_of_two_gaussians():
    first, second = features(50, 6, seed=0), features(80, 6, seed=1, shift=0.5)
    a, b = np.cov(first.T), np.cov(second.T)
    expected = np.sum((first.mean(0) - second.mean(0)) ** 2) + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert distance(first, second) == pytest.approx(expected, rel=1e-10)


def test_diagonal_gaussians_by_hand():
    # Points at +-s on each axis: the mean is 0 and the covariance diagonal.
    def cross(*sides):
        return np.concatenate([np.diag(sides), -np.diag(sides)]) * np.sqrt((2 * len(sides) - 1) / 2)

    assert distance(cross(1, 2, 3), cross(2, 2, 5) + np.array([3, 0, 0])) == pytest.approx(9 + 1 + 0 + 4)


def test_equals_torchmetrics():
    class Identity(torch.nn.Module):
        num_features = 12

        def forward(self, values):
            return values

    first, second = features(200, 12, seed=2), features(150, 12, seed=3, shift=0.2)
    metric = FrechetInceptionDistance(feature=Identity())
    metric.update(torch.from_numpy(first), real=True)
    metric.update(torch.from_numpy(second), real=False)
    assert distance(first, second) == pytest.approx(metric.compute().item(), rel=1e-6)


@pytest.mark.parametrize("n", [5, 20, 200])
def test_distance_of_a_set_to_itself_is_0_even_with_fewer_images_than_features(n):
    values = features(n, 20, seed=4)
    assert distance(values, values) <= 1e-10 * np.trace(np.cov(values.T))


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 40), st.integers(3, 40), st.integers(1, 12), st.integers(0, 2**20))
def test_symmetric_and_unmoved_by_rotation(n, m, d, seed):
    first, second = features(n, d, seed), features(m, d, seed + 1, shift=1)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]
    expected = distance(first, second)
    assert distance(second, first) == pytest.approx(expected, rel=1e-7)
    assert distance(first @ rotation, second @ rotation) == pytest.approx(expected, rel=1e-7)


def test_weights_are_repeated_images():
    values = features(10, 3, seed=5)
    counts = np.array([0, 1, 2, 0, 3, 1, 1, 0, 1, 1])
    weighted = Gaussian.fitted(values, counts.astype(float))
    repeated = Gaussian.fitted(values.repeat(counts, axis=0))
    np.testing.assert_allclose(weighted.mean, repeated.mean)
    np.testing.assert_allclose(weighted.factor.T @ weighted.factor, repeated.factor.T @ repeated.factor)


def test_floor_of_equal_distributions_is_above_0_and_falls_with_the_number():
    small, large = (distance(*np.random.default_rng(6).normal(size=(2, n, 8))) for n in (50, 2000))
    assert small > large > 0
