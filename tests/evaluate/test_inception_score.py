import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.image.inception import InceptionScore

from scansynth.evaluate.inception_score import inception_score, split_scores


@pytest.mark.parametrize("k", [2, 5, 10])
def test_one_image_sharply_of_each_class_scores_k(k):
    assert inception_score(np.eye(k)) == pytest.approx(k)


def test_images_that_are_all_alike_score_1():
    assert inception_score(np.tile([0.7, 0.2, 0.1], (20, 1))) == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 2**20))
def test_between_1_and_k(n, k, seed):
    probabilities = np.random.default_rng(seed).dirichlet(np.full(k, 0.3), n)
    assert 1 - 1e-9 <= inception_score(probabilities) <= k + 1e-9


def test_equals_torchmetrics():
    class Identity(torch.nn.Module):
        def forward(self, values):
            return values

    probabilities = np.random.default_rng(0).dirichlet(np.ones(6), 40)
    metric = InceptionScore(feature=Identity(), splits=1)
    metric.update(torch.from_numpy(np.log(probabilities)))
    assert inception_score(probabilities) == pytest.approx(metric.compute()[0].item(), rel=1e-10)


def test_counts_are_repeated_images():
    probabilities = np.random.default_rng(1).dirichlet(np.ones(4), 6)
    counts = np.array([[3, 0, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1]])
    expected = [inception_score(probabilities.repeat(row, axis=0)) for row in counts]
    np.testing.assert_allclose(inception_score(probabilities, counts), expected)


def test_splits_are_parts_of_the_images():
    probabilities = np.tile(np.eye(4), (25, 1))
    assert len(split_scores(probabilities, seed=0)) == 10
    assert len(split_scores(probabilities[:3], seed=0)) == 3
    np.testing.assert_array_equal(split_scores(probabilities, seed=0), split_scores(probabilities, seed=0))
