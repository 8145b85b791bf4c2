import numpy as np
import pytest

from scansynth.evaluate.imagesets import ImageSet
from scansynth.evaluate.nearness import nearer_to_training


def smooth(count, seed):
    """Images of 64 x 64 pixels that are alike but for smooth noise."""
    generator = np.random.default_rng(seed)
    images = np.linspace(60, 140, 64) + generator.normal(0, 15, (count, 1, 16, 16)).repeat(4, -1).repeat(4, -2)
    return (images + generator.normal(0, 4, images.shape)).clip(0, 255).astype(np.uint8)


def as_set(pixels, per_patient=1):
    count = len(pixels)
    return ImageSet(pixels, np.arange(count), [{}] * count, np.arange(count) // per_patient)


@pytest.fixture(scope="module")
def found():
    train, held_out = as_set(smooth(300, seed=0), per_patient=2), as_set(smooth(200, seed=1), per_patient=2)
    blends = (0.5 * train.pixels[:200] + 0.5 * smooth(200, seed=2)).astype(np.uint8)
    sets = {"new": as_set(smooth(200, seed=3)), "blends": as_set(blends), "copies": as_set(train.pixels)}
    return nearer_to_training(sets, train, held_out, replicates=40, seed=0)


def test_galleries_are_as_large_as_the_smaller_one_allows(found):
    assert found[0] == 100


def test_new_images_and_held_out_ones_are_near_both_alike(found):
    for name in ("new", "held_out"):
        low, high = found[1][name].interval
        assert low < 0.5 < high
        assert found[1][name].value == pytest.approx(0.5, abs=0.12)


def test_images_that_training_images_went_into_are_nearer_to_these(found):
    # A third of the training images are in the gallery: their copies are nearest to themselves.
    for name in ("copies", "blends"):
        assert found[1][name].interval[0] > 0.5
    assert found[1]["copies"].value > 0.6
