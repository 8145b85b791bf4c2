import numpy as np

from scansynth.baselines.pca import gaussian_draws


def test_mean_and_covariance_are_those_of_the_images():
    random = np.random.default_rng(0)
    mixing = random.normal(0, 8, (9, 9))
    images = (random.normal(0, 1, (400, 9)) @ mixing + 128).round().clip(0, 255).astype(np.uint8).reshape(400, 1, 3, 3)
    draws = gaussian_draws(images, 40_000, 0).reshape(-1, 9).astype(float)
    flat = images.reshape(-1, 9).astype(float)
    np.testing.assert_allclose(draws.mean(0), flat.mean(0), atol=0.5)
    np.testing.assert_allclose(np.cov(draws.T), np.cov(flat.T), atol=0.05 * np.cov(flat.T).max())


def test_a_draw_depends_on_seed_and_place_alone():
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 4, 4), dtype=np.uint8)
    np.testing.assert_array_equal(gaussian_draws(images, 3, 1), gaussian_draws(images, 9, 1)[:3])
    assert (gaussian_draws(images, 3, 1) != gaussian_draws(images, 3, 2)).any()
