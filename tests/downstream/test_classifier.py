"""The classifier of an arm: what it is shown, and that it repeats itself."""

import numpy as np
import pytest

from scansynth.downstream.classifier import Images, Phase, _batch, mean_auroc, train
from scansynth.sections import Arm

OPTIONS = Arm(steps=10, batch=4)


def numbered(first, count):
    pixels = np.arange(first, first + count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 32, 32), np.uint8)
    return Images(pixels, (np.arange(count) % 2 == 0)[:, None])


def seen(phase, steps, seed=0):
    return np.concatenate([_batch(0, step, phase, seed)[0][:, 0, 0, 0] for step in range(steps)])


def test_every_image_is_shown_once_before_any_is_again():
    phase = Phase(10, [(numbered(0, 10), 4)])
    order = seen(phase, 10)
    for start in (0, 10, 20, 30):
        assert sorted(order[start : start + 10]) == list(range(10))
    assert order[:10].tolist() != order[10:20].tolist() and order.tolist() != seen(phase, 10, seed=1).tolist()


def test_a_batch_has_so_many_of_each_source_and_their_labels():
    phase = Phase(10, [(numbered(0, 10), 1), (numbered(100, 6), 3)])
    for step in range(10):
        pixels, shown = _batch(0, step, phase, 0)
        assert (pixels[:, 0, 0, 0] >= 100).tolist() == [False, True, True, True]
        assert (pixels[:, 0, 0, 0] % 2 == 0).tolist() == shown[:, 0].tolist()


def test_areas_are_of_classes_that_are_told_apart():
    shown = np.array([[1, 1, 0], [0, 1, 0]], dtype=bool)
    assert mean_auroc(np.array([[0.9, 0, 0], [0.1, 1, 1]]), shown) == 1
    assert mean_auroc(np.zeros((2, 2)), shown[:, 1:]) == 0.5


def test_training_repeats_itself_and_keeps_its_best_state():
    random = np.random.default_rng(0)
    images = Images(random.integers(0, 255, (24, 1, 32, 32), dtype=np.uint8), random.random((24, 2)) < 0.5)
    runs = [train([Phase(10, [(images, 4)])], images, True, OPTIONS, seed) for seed in (0, 0, 1)]
    said = [run.probabilities(images.pixels, OPTIONS.size) for run in runs]
    np.testing.assert_array_equal(said[0], said[1])
    assert not np.array_equal(said[0], said[2])
    for run, probabilities in zip(runs, said, strict=True):
        assert run.history[:, 0].tolist() == list(range(1, 11))
        assert mean_auroc(probabilities, images.shown) == pytest.approx(run.history[:, 2].max())
        assert run.history[run.chosen - 1, 2] == run.history[:, 2].max()
