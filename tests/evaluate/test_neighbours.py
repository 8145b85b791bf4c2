import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scansynth.evaluate import neighbours
from scansynth.evaluate.imagesets import ImageSet
from scansynth.evaluate.neighbours import EmbeddingSearch, PixelSearch, Whitening, aligned, nearest, symmetric


def smooth(count, seed):
    """Images of 64 x 64 pixels that are alike but for smooth noise."""
    generator = np.random.default_rng(seed)
    images = np.linspace(60, 140, 64) + generator.normal(0, 15, (count, 1, 16, 16)).repeat(4, -1).repeat(4, -2)
    return (images + generator.normal(0, 4, images.shape)).clip(0, 255).astype(np.uint8)


def as_set(pixels):
    return ImageSet(pixels, np.arange(len(pixels)), [{}] * len(pixels), np.arange(len(pixels)))


@pytest.fixture(scope="module")
def train():
    return smooth(40, seed=0)


@pytest.fixture(scope="module", params=[2, 8])
def search(request, train):
    return request.param, PixelSearch(as_set(train), request.param)


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_an_image_is_found_in_every_pose(search, train, data):
    symmetries, pixel_search = search
    source = data.draw(st.integers(0, len(train) - 1))
    number = data.draw(st.integers(0, symmetries - 1))
    corner = [data.draw(st.integers(0, 8)) for _ in range(2)]
    changed = symmetric(aligned(train[[source]], np.array([[0, *corner]])), number)
    found = pixel_search.nearest(changed)
    assert found.neighbour == source
    assert found.correlation == pytest.approx(1, abs=1e-4)
    # Laid on its neighbour, it is the same but for the edge that was lost.
    np.testing.assert_array_equal(aligned(changed, found.pose)[..., 8:-8, 8:-8], train[[source], :, 8:-8, 8:-8])


def test_an_image_is_found_the_same_alone_and_among_others(search):
    images = smooth(9, seed=3)
    together = search[1].nearest(images)
    for i in range(len(images)):
        alone = search[1].nearest(images[i : i + 1])
        assert alone.neighbour == together.neighbour[i]
        assert alone.correlation == pytest.approx(together.correlation[i], abs=1e-5)


@pytest.mark.parametrize("size", [96, 128])
def test_other_sizes_are_searched_by_the_pixel(size):
    train = np.random.default_rng(0).integers(0, 256, (12, 3, size, size), dtype=np.uint8)
    margin = size // 16
    found = PixelSearch(as_set(train), 2).nearest(aligned(train[4:5], np.array([[1, 0, 2 * margin - 1]])))
    assert found.neighbour == 4
    assert found.correlation == pytest.approx(1, abs=1e-4)


def test_images_of_no_training_image_are_not_near(search):
    assert search[1].nearest(smooth(20, seed=5)).correlation.max() < 0.9


def test_the_embedding_looks_at_the_aligned_image_too(train):
    def embed(pixels):
        return pixels[..., 24:40:2, 8:56:4].reshape(len(pixels), -1).astype(np.float32)

    search = EmbeddingSearch(as_set(train), embed, 2)
    pose = np.array([[0, 1, 6]])
    moved = aligned(train[7:8], pose)
    back = np.array([[0, 8 - 1, 8 - 6]])
    positions, similarities = search.nearest(moved, back)
    assert positions == 7
    assert similarities == pytest.approx(1, abs=1e-4)
    assert search.nearest(moved, np.array([[0, 4, 4]]))[1] < 0.99


@pytest.mark.parametrize("block", [3, 7, 100])
def test_the_nearest_are_those_of_all_products(monkeypatch, block):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    generator = np.random.default_rng(0)
    vectors, gallery = (generator.normal(size=shape).astype(np.float32) for shape in ((5, 4, 6), (20, 6)))
    positions, similarities, variants = nearest(vectors, gallery, 3)
    products = vectors @ gallery.T
    np.testing.assert_array_equal(positions, np.argsort(-products.max(1), axis=1)[:, :3])
    images = np.arange(5)[:, None]
    np.testing.assert_allclose(similarities, products.max(1)[images, positions], rtol=1e-5)
    np.testing.assert_array_equal(variants, products.argmax(1)[images, positions])


def test_a_small_gallery_has_fewer_neighbours():
    assert nearest(np.ones((2, 1, 3), np.float32), np.ones((2, 3), np.float32), 4)[0].shape == (2, 2)


def test_whitening_leaves_unit_variance_above_the_noise_and_little_below():
    values = np.random.default_rng(0).normal(size=(5000, 3)) * [100, 10, 0.1] + 7
    whitening = Whitening.fitted(values, noise=1.0)
    variances = ((values - whitening.mean) @ whitening.basis).var(0)
    np.testing.assert_allclose(variances, [1, 0.99, 0.01], rtol=0.05)
    np.testing.assert_allclose(np.linalg.norm(whitening(values[:5]), axis=1), 1, rtol=1e-5)


def test_symmetries_are_the_eight_of_the_square():
    square = np.arange(9).reshape(3, 3)
    assert len({symmetric(square, number).tobytes() for number in range(8)}) == 8
    np.testing.assert_array_equal(symmetric(square, 0), square)
    np.testing.assert_array_equal(symmetric(square, 1), square[:, ::-1])
