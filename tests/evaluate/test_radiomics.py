import numpy as np
import pytest
from scipy import ndimage

from scansynth.errors import ScansynthError
from scansynth.evaluate.extractors import RadiomicsExtractor, make
from scansynth.evaluate.frechet import Gaussian, frechet_distance
from scansynth.evaluate.radiomics import radiomics
from scansynth.store import evenly


@pytest.fixture(scope="module")
def extractor(toy_store):
    chosen = toy_store.indices("train")
    return RadiomicsExtractor(toy_store.pixels[chosen], [toy_store.table[i] for i in chosen])


def blurred(pixels, strength):
    return ndimage.gaussian_filter(pixels.astype(float), (0, 0, strength, strength)).astype(np.uint8)


def noisy(pixels, strength):
    noise = np.random.default_rng(0).normal(0, 6 * strength, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def blocky(pixels, strength):
    """Each image more and more replaced by the mean of its 8x8 blocks, as by too strong a compression."""
    n, c, h, w = pixels.shape
    blocks = pixels.reshape(n, c, h // 8, 8, w // 8, 8).mean((3, 5)).repeat(8, -1).repeat(8, -2)
    share = strength / 3
    return ((1 - share) * pixels + share * blocks).astype(np.uint8)


@pytest.mark.parametrize("damage", [blurred, noisy, blocky])
def test_distance_grows_with_damage(damage, extractor, toy_store):
    reference = Gaussian.fitted(extractor.features(toy_store.pixels[toy_store.indices("test")]))
    images = toy_store.pixels[toy_store.indices("train")]
    found = [
        frechet_distance(reference, Gaussian.fitted(extractor.features(changed)))
        for changed in (images, *(damage(images, strength) for strength in (1, 2, 3)))
    ]
    assert found == sorted(found)
    assert found[1] > 1.2 * found[0]


def test_standardised_and_of_unit_scale(extractor, toy_store):
    features = extractor.features(toy_store.pixels[toy_store.indices("train")])
    assert features.dtype == np.float64
    assert np.isfinite(features).all()
    np.testing.assert_allclose(features.mean(0), 0, atol=0.5)
    assert ((features.std(0) > 0.3) & (features.std(0) < 1.2)).all()


def test_class_probabilities_tell_the_sides(extractor, toy_store):
    test = toy_store.indices("test")
    probabilities = extractor.probabilities(extractor.features(toy_store.pixels[test]))
    np.testing.assert_allclose(probabilities.sum(1), 1)
    bright = np.array([toy_store.table[i]["findings"] == "Bright" for i in test])
    assert extractor.classes == ("Bright, PA", "No Finding, PA")
    assert ((probabilities[:, 0] > 0.5) == bright).mean() > 0.9


def test_without_labels_all_images_are_of_one_class(toy_store):
    rows = [{"findings": "", "view": ""}] * 10
    extractor = RadiomicsExtractor(toy_store.pixels[:10], rows)
    assert extractor.probabilities(extractor.features(toy_store.pixels[:4])).tolist() == [[1.0]] * 4


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize(("channels", "expected"), [(1, 63), (3, 69)])
def test_finite_for_flat_black_white_and_random_images(size, channels, expected):
    shape = (channels, size, size)
    random = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    images = np.stack([np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), random])
    found = radiomics(images)
    assert found.shape == (3, expected)
    assert np.isfinite(found).all()


def test_an_image_has_the_same_statistics_alone_and_among_others(toy_store):
    np.testing.assert_array_equal(radiomics(toy_store.pixels[:5])[3], radiomics(toy_store.pixels[3:4])[0])


def test_training_images_that_are_all_the_same_are_refused(toy_store):
    with pytest.raises(ScansynthError, match="all the same"):
        RadiomicsExtractor(np.full((4, 1, 64, 64), 100, np.uint8), toy_store.table[:4])


def test_evenly_spaced_positions():
    assert evenly(np.arange(10), 5).tolist() == [0, 2, 4, 6, 8]
    assert evenly(np.arange(3), 5).tolist() == [0, 1, 2]
    assert evenly(np.arange(0), 5).tolist() == []


def test_made_by_name_without_a_probe(toy_store):
    assert make("radiomics", toy_store, {}).weights_sha256 is None
