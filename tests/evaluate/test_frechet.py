import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torchmetrics.image.fid import FrechetInceptionDistance

from scansynth.evaluate import frechet
from scansynth.evaluate.bootstrap import multiplicities
from scansynth.evaluate.frechet import Gaussian, frechet_distance, frechet_estimates


def features(n, d, seed, shift=0.0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, d)) @ generator.normal(size=(d, d)) + shift


def distance(first, second):
    return frechet_distance(Gaussian.fitted(first), Gaussian.fitted(second))


def weighted(values, shares):
    """The Gaussian of images that have these shares, of their number; not by way of the code under test."""
    mean = shares @ values
    scale = shares * len(values) / (len(values) - 1)
    return Gaussian(mean, np.sqrt(scale)[:, None] * (values - mean))


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


@pytest.mark.parametrize("n", [9, 100])
def test_fitted_in_blocks_has_the_covariance_of_numpy_and_its_rank(n, monkeypatch):
    # Far from 0: sums of squares would lose all digits of a variance of 1e-12 of the mean's square.
    values = features(n, 12, seed=5) + 1e6
    monkeypatch.setattr(frechet, "ROWS", 7)
    found = Gaussian.fitted(values)
    assert found.factor.shape == (min(n - 1, 12), 12)
    np.testing.assert_allclose(found.mean, values.mean(0))
    np.testing.assert_allclose(found.factor.T @ found.factor, np.cov(values.T), atol=1e-8)


def test_float32_in_a_file_is_fitted_in_float64(tmp_path):
    values = features(50, 6, seed=6).astype(np.float32)
    np.save(tmp_path / "features.npy", values)
    found = Gaussian.fitted(np.load(tmp_path / "features.npy", mmap_mode="r"))
    assert found.factor.dtype == np.float64
    np.testing.assert_allclose(found.factor.T @ found.factor, np.cov(values.astype(np.float64).T), rtol=1e-12)


def test_images_that_are_all_the_same():
    same, others = np.ones((5, 3)), features(20, 3, seed=7)
    assert distance(same, same + 2) == pytest.approx(12)
    values = {"reference": others, "samples": same}
    found = frechet_estimates(values, {name: np.ones((2, len(each))) for name, each in values.items()})["samples"]
    assert found.value == pytest.approx(np.sum((others.mean(0) - 1) ** 2) + np.trace(np.cov(others.T)))
    np.testing.assert_allclose(found.replicates, found.value)


def test_floor_of_equal_distributions_is_above_0_and_falls_with_the_number():
    small, large = (distance(*np.random.default_rng(6).normal(size=(2, n, 8))) for n in (50, 2000))
    assert small > large > 0


@pytest.mark.parametrize("changed", ["reference", "samples"])
@pytest.mark.parametrize(("n", "m", "d"), [(30, 40, 5), (10, 15, 20), (10, 40, 20)])
def test_replicates_follow_the_derivative_by_an_images_share(n, m, d, changed, monkeypatch):
    monkeypatch.setattr(frechet, "ROWS", 8)
    values = {"reference": features(n, d, seed=7), "samples": features(m, d, seed=8, shift=0.3)}
    count = len(values[changed])
    drawn = {name: np.ones((count, len(each))) for name, each in values.items()}
    drawn[changed] += np.eye(count)  # replicate i counts image i twice
    found = frechet_estimates(values, drawn)["samples"]

    step, numeric = 1e-5, []
    for i in range(count):
        ends = []
        for sign in (1, -1):
            shares = {name: np.full(len(each), 1 / len(each)) for name, each in values.items()}
            shares[changed] += sign * step * (drawn[changed][i] / (count + 1) - 1 / count)
            ends.append(frechet_distance(*(weighted(values[name], shares[name]) for name in ("reference", "samples"))))
        numeric.append((ends[0] - ends[1]) / (2 * step))
    assert found.value == pytest.approx(distance(values["reference"], values["samples"]), rel=1e-12)
    np.testing.assert_allclose(found.replicates - found.value, numeric, rtol=1e-4, atol=1e-5 * np.abs(numeric).max())


def test_a_set_that_is_the_reference_has_replicates_of_0():
    values = features(30, 40, seed=9)
    drawn = multiplicities(np.random.default_rng(9), np.arange(30), 5)
    found = frechet_estimates({"reference": values, "samples": values}, {"reference": drawn, "samples": drawn})
    np.testing.assert_allclose(found["samples"].replicates, 0, atol=1e-10 * np.trace(np.cov(values.T)))


@pytest.mark.parametrize(
    ("n", "shift", "least", "most"),
    [(100, 1.0, 0.85, 1.15), (25, 1.0, 0.85, 1.15), (100, 0.0, 1.1, 1.6), (25, 0.0, 1.1, 1.6)],
    ids=["far", "far, fewer images than features", "alike", "alike, fewer images than features"],
)
def test_spread_of_replicates_is_that_among_samples_or_above_it(n, shift, least, most):
    generator = np.random.default_rng(10)
    scales = np.arange(1, 33) ** -0.5  # 32 features, as unlike in their spread as those of a network

    def pair():
        first, second = generator.normal(size=(2, n, 32)) * scales
        return {"reference": first, "samples": second * (1 + 0.5 * shift) + shift * scales}

    among = np.std([distance(*pair().values()) for _ in range(300)])
    groups = {"reference": np.arange(n), "samples": np.arange(n)}
    drawn = {name: multiplicities(generator, each, 400) for name, each in groups.items()}
    spreads = [frechet_estimates(pair(), drawn)["samples"].replicates.std() for _ in range(20)]
    assert least < np.mean(spreads) / among < most


def test_difference_of_two_sets_is_paired_by_the_reference():
    values = {"reference": features(60, 4, seed=11), "samples": features(30, 4, seed=12, shift=1)}
    values["floor"] = values["samples"][::-1]
    drawn = {name: np.ones((50, len(each))) for name, each in values.items()}
    drawn["reference"] = multiplicities(np.random.default_rng(11), np.arange(60), 50)
    found = frechet_estimates(values, drawn)
    assert set(found) == {"samples", "floor"}
    assert found["samples"].replicates.std() > 0.01 * found["samples"].value
    np.testing.assert_allclose((found["samples"] - found["floor"]).replicates, 0, atol=1e-9)
