import numpy as np
import pytest
import torch
from torchmetrics.image.kid import KernelInceptionDistance

from scansynth.evaluate.bootstrap import Estimate, multiplicities
from scansynth.evaluate.kernel import Kernels, squared_mmd, subsets


def whole(first, second):
    return float(squared_mmd(Kernels.of(first, second), np.ones(len(first)), np.ones(len(second))))


def test_equals_torchmetrics():
    class Identity(torch.nn.Module):
        def forward(self, values):
            return values

    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(60, 10)), generator.normal(0.3, 1.2, size=(60, 10))
    metric = KernelInceptionDistance(feature=Identity(), subsets=1, subset_size=60)
    metric.update(torch.from_numpy(first), real=True)
    metric.update(torch.from_numpy(second), real=False)
    assert whole(first, second) == pytest.approx(metric.compute()[0].item(), rel=1e-10)


def test_unbiased():
    generator = np.random.default_rng(1)
    values = np.array([whole(*generator.normal(size=(2, 20, 4))) for _ in range(300)])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))
    assert values.min() < 0


def test_grows_with_the_shift():
    generator = np.random.default_rng(2)
    first, second = generator.normal(size=(2, 100, 4))
    found = [whole(first, second + shift) for shift in (0, 0.5, 1, 2)]
    assert found == sorted(found)


def test_subsets_are_the_distance_of_the_chosen_images():
    generator = np.random.default_rng(3)
    first, second = generator.normal(size=(30, 4)), generator.normal(size=(25, 4))
    a, b = subsets(generator, 30, 10, 5), subsets(generator, 25, 10, 5)
    assert np.all(a.sum(1) == 10) and np.all(b.sum(1) == 10)
    found = squared_mmd(Kernels.of(first, second), a, b)
    expected = [whole(first[i > 0], second[j > 0]) for i, j in zip(a, b, strict=True)]
    np.testing.assert_allclose(found, expected)


def test_replicates_are_not_biased():
    generator = np.random.default_rng(4)
    first, second = generator.normal(size=(2, 80, 4))
    kernels = Kernels.of(first, second)
    drawn = [multiplicities(generator, 80, 2000) for _ in range(2)]
    estimate = Estimate(whole(first, second), squared_mmd(kernels, *drawn))
    assert abs(estimate.replicates.mean() - estimate.value) < 0.1 * estimate.replicates.std()


def test_interval_holds_the_value_and_has_the_width_of_the_spread():
    replicates = np.random.default_rng(5).normal(100, 2, 4000)
    low, high = Estimate(10.0, replicates).interval
    assert low == pytest.approx(10 - 1.96 * 2, abs=0.2)
    assert high == pytest.approx(10 + 1.96 * 2, abs=0.2)
