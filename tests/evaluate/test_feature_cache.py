"""Features are computed once, and never taken for those of something else."""

import numpy as np
import pytest

from scansynth.evaluate.extractors import RadiomicsExtractor
from scansynth.evaluate.feature_cache import FeatureCache
from scansynth.evaluate.imagesets import ImageSet


class Counting:
    """An extractor that counts the images that it is given."""

    name, version, weights_sha256, fitted = "counting", "1", None, ""

    def __init__(self):
        self.images = 0

    def features(self, pixels):
        self.images += len(pixels)
        return pixels.reshape(len(pixels), -1)[:, :3].astype(np.float32)


def image_set(values):
    array = np.asarray(values, np.uint8).reshape(-1, 1, 1, 1).repeat(4, -1)
    return ImageSet(array, np.arange(len(array)), [{}] * len(array), np.arange(len(array)))


def test_features_are_computed_once(tmp_path):
    extractor, images = Counting(), image_set(np.arange(200).repeat(3))
    first = FeatureCache(tmp_path).features(extractor, images)
    second = FeatureCache(tmp_path).features(extractor, images)
    assert extractor.images == 600
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first[:, 0], np.arange(200).repeat(3))


def test_a_killed_extraction_goes_on(tmp_path):
    extractor, images = Counting(), image_set(np.arange(600) // 3)
    FeatureCache(tmp_path).features(extractor, ImageSet(images.array, np.arange(512), images.rows, images.groups))
    assert extractor.images == 512
    FeatureCache(tmp_path).features(extractor, images)
    assert extractor.images == 600


@pytest.mark.parametrize("changed", ["version", "weights_sha256", "fitted"])
def test_another_extractor_has_other_features(tmp_path, changed):
    extractor, images = Counting(), image_set([1, 2])
    FeatureCache(tmp_path).features(extractor, images)
    setattr(extractor, changed, "other")
    FeatureCache(tmp_path).features(extractor, images)
    assert extractor.images == 4


def test_other_images_have_other_features(tmp_path):
    extractor = Counting()
    FeatureCache(tmp_path).features(extractor, image_set([1, 2]))
    np.testing.assert_array_equal(FeatureCache(tmp_path).features(extractor, image_set([2, 1]))[:, 0], [2, 1])


def test_radiomics_fitted_to_other_images_are_another_space(toy_store, tmp_path):
    fits = [RadiomicsExtractor(toy_store.pixels[part], toy_store.table[part]) for part in (slice(20), slice(20, 40))]
    assert fits[0].fitted != fits[1].fitted
    images = ImageSet(toy_store.pixels, np.arange(4), toy_store.table[:4], np.arange(4))
    first, second = (FeatureCache(tmp_path).features(each, images) for each in fits)
    assert np.abs(first - second).max() > 1e-3
