import numpy as np
import pytest

from scansynth.prepare.gray import Gray, RejectedError
from scansynth.prepare.normalize import normalize, resize, square, to_uint8, to_unit


def gray(values, span=None) -> Gray:
    return Gray(np.asarray(values, dtype=np.float32), span)


@pytest.mark.parametrize("side", [64, 100, 512, 1000])
def test_resize_keeps_constant_and_mean_of_gradient(side):
    constant = resize(np.full((side, side), 0.3, np.float32), 64)
    np.testing.assert_allclose(constant, 0.3, atol=1e-6)
    assert constant.dtype == np.float32
    gradient = np.tile(np.linspace(0, 1, side, dtype=np.float32), (side, 1))
    assert resize(gradient, 64).mean() == pytest.approx(0.5, abs=1e-4)


def test_resize_does_not_alias():
    """Stripes finer than the target's pixels become their mean, not other stripes."""
    stripes = np.tile(np.array([0, 1], np.float32), (640, 320))
    np.testing.assert_allclose(resize(stripes, 64)[8:-8, 8:-8], 0.5, atol=0.01)


@pytest.mark.parametrize("shape", [(60, 100), (100, 60), (61, 100), (80, 80)])
def test_square_keeps_aspect(shape):
    image = np.random.default_rng(0).random(shape, dtype=np.float32) + 0.1
    padded, cropped = square(image, "pad"), square(image, "crop")
    assert padded.shape == (max(shape),) * 2
    assert cropped.shape == (min(shape),) * 2
    rows, columns = np.nonzero(padded)
    inside = padded[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    np.testing.assert_array_equal(inside, image)
    # As much on either side, to a pixel.
    assert abs(rows.min() - (padded.shape[0] - 1 - rows.max())) <= 1
    top, left = ((size - min(shape)) // 2 for size in shape)
    np.testing.assert_array_equal(cropped, image[top : top + min(shape), left : left + min(shape)])


def test_a_circle_stays_one():
    y, x = np.mgrid[:200, :300]
    disk = ((y - 100) ** 2 + (x - 150) ** 2 < 80**2).astype(np.float32)
    for fit in ("pad", "crop"):
        rows, columns = np.nonzero(normalize(gray(disk, (0, 1)), 64, fit) > 127)
        assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=1)


def test_intensity_from_span():
    np.testing.assert_allclose(to_unit(gray([[0, 51], [102, 204]], (0, 255))), [[0, 0.2], [0.4, 0.8]], atol=1e-7)


def test_intensity_from_percentiles_ignores_a_few_outliers():
    values = np.linspace(100, 200, 10_000).reshape(100, 100)
    values[0, 0], values[-1, -1] = -1e6, 1e6
    unit = to_unit(gray(values))
    assert unit.min() == 0
    assert unit.max() == 1
    assert np.median(unit) == pytest.approx(0.5, abs=0.01)


def test_rounding():
    np.testing.assert_array_equal(to_uint8(np.array([-0.1, 0, 0.4 / 255, 0.6 / 255, 1, 1.1])), [0, 0, 0, 1, 255, 255])


@pytest.mark.parametrize("values, span", [(np.full((5, 9), 7), None), (np.full((5, 9), 7), (0, 255))])
def test_blank_is_rejected(values, span):
    with pytest.raises(RejectedError, match="blank"):
        normalize(gray(values, span), 64, "pad")


def test_not_finite_is_rejected():
    with pytest.raises(RejectedError, match="not finite"):
        normalize(gray([[0, np.nan]]), 64, "pad")
