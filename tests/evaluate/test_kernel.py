import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.image.kid import KernelInceptionDistance

from scansynth.evaluate import kernel
from scansynth.evaluate.bootstrap import Estimate, multiplicities
from scansynth.evaluate.kernel import kernel_distance, kernel_estimates, subsets


def estimates(first, second, drawn, size=2, count=1, seed=0):
    features = {"reference": first, "samples": second}
    found, over_subsets = kernel_estimates(features, dict(zip(features, drawn, strict=True)), size, count, seed)
    return found["samples"], over_subsets["samples"]


def by_definition(first, second, of_first, of_second):
    """Over all pairs one by one, with repeated images as often as they count; an image is no pair with itself."""
    a, b = (np.repeat(np.arange(len(counts)), counts) for counts in (of_first, of_second))

    def mean(left, i, right, j, same):
        values = [(left[p] @ right[q] / left.shape[1] + 1) ** 3 for p in i for q in j if not (same and p == q)]
        return np.mean(values)

    return mean(first, a, first, a, True) + mean(second, b, second, b, True) - 2 * mean(first, a, second, b, False)


def test_equals_torchmetrics():
    class Identity(torch.nn.Module):
        def forward(self, values):
            return values

    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(60, 10)), generator.normal(0.3, 1.2, size=(60, 10))
    metric = KernelInceptionDistance(feature=Identity(), subsets=1, subset_size=60)
    metric.update(torch.from_numpy(first), real=True)
    metric.update(torch.from_numpy(second), real=False)
    assert kernel_distance(first, second) == pytest.approx(metric.compute()[0].item(), rel=1e-10)


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 12), st.integers(3, 12), st.integers(1, 5), st.integers(1, 13), st.integers(0, 2**20))
def test_definition_with_repeated_images_and_any_blocks(n, m, d, rows, seed):
    generator = np.random.default_rng(seed)
    first, second = generator.normal(size=(n, d)), generator.normal(0.5, size=(m, d))
    drawn = [generator.integers(0, 3, (2, size)) for size in (n, m)]
    for counts in drawn:
        counts[:, :2] = 1  # two different images at least
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "ROWS", rows)
        found, _ = estimates(first, second, drawn)
    expected = [by_definition(first, second, a, b) for a, b in zip(*drawn, strict=True)]
    np.testing.assert_allclose(found.replicates, expected, atol=1e-10)
    assert found.value == pytest.approx(kernel_distance(first, second), abs=1e-12)


def test_unbiased():
    generator = np.random.default_rng(1)
    values = np.array([kernel_distance(*generator.normal(size=(2, 20, 4))) for _ in range(300)])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))
    assert values.min() < 0


def test_grows_with_the_shift():
    generator = np.random.default_rng(2)
    first, second = generator.normal(size=(2, 100, 4))
    found = [kernel_distance(first, second + shift) for shift in (0, 0.5, 1, 2)]
    assert found == sorted(found)


def test_subsets_are_the_distance_of_the_chosen_images():
    generator = np.random.default_rng(3)
    first, second = generator.normal(size=(30, 4)), generator.normal(size=(25, 4))
    _, found = estimates(first, second, [np.ones((1, 30)), np.ones((1, 25))], size=10, count=5, seed=7)
    a, b = (subsets(np.random.default_rng(7), n, 10, 5) for n in (30, 25))
    assert np.all(a.sum(1) == 10) and np.all(b.sum(1) == 10)
    expected = [kernel_distance(first[i > 0], second[j > 0]) for i, j in zip(a, b, strict=True)]
    np.testing.assert_allclose(found, expected)


def test_replicates_are_not_biased():
    generator = np.random.default_rng(4)
    first, second = generator.normal(size=(2, 80, 4))
    drawn = [multiplicities(generator, np.arange(80), 2000) for _ in range(2)]
    found, _ = estimates(first, second, drawn)
    assert abs(found.replicates.mean() - found.value) < 0.1 * found.replicates.std()


def test_sets_are_paired_by_the_reference_and_do_not_change_each_other():
    generator = np.random.default_rng(6)
    features = {name: generator.normal(size=(n, 4)) for name, n in (("reference", 40), ("samples", 30), ("floor", 20))}
    drawn = {name: multiplicities(generator, np.arange(len(each)), 6) for name, each in features.items()}
    found, over_subsets = kernel_estimates(features, drawn, 10, 3, seed=0)
    assert set(found) == set(over_subsets) == {"samples", "floor"}
    for name, estimate in found.items():
        alone, subset = estimates(features["reference"], features[name], [drawn["reference"], drawn[name]], 10, 3)
        assert estimate.value == alone.value
        np.testing.assert_array_equal(estimate.replicates, alone.replicates)
        np.testing.assert_array_equal(over_subsets[name], subset)


def test_float32_products_are_exact_enough_for_sets_that_are_alike(tmp_path):
    # 2,048 features none of which is negative, as Inception's: kernel values of 1 to 2, a distance below 1e-3.
    generator = np.random.default_rng(7)
    mix = generator.normal(size=(50, 2048)) / 7
    first, second = (np.maximum(generator.normal(size=(300, 50)) @ mix, 0).astype(np.float32) for _ in range(2))
    np.save(tmp_path / "features.npy", first)
    found = kernel_distance(np.load(tmp_path / "features.npy", mmap_mode="r"), second)
    expected = kernel_distance(first.astype(np.float64), second.astype(np.float64))
    assert abs(expected) < 5e-3
    assert found == pytest.approx(expected, abs=1e-8)


def test_interval_holds_the_value_and_has_the_width_of_the_spread():
    replicates = np.random.default_rng(5).normal(100, 2, 4000)
    low, high = Estimate(10.0, replicates).interval
    assert low == pytest.approx(10 - 1.96 * 2, abs=0.2)
    assert high == pytest.approx(10 + 1.96 * 2, abs=0.2)
