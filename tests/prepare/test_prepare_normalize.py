import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scansynth.prepare.decoded import Decoded, RejectedError
from scansynth.prepare.normalize import field_of_view, limits, normalize, resize, square, to_uint8
from scansynth.sections import Images


def gray(values, span=None, **known) -> Decoded:
    return Decoded(np.asarray(values, dtype=np.float32)[None], span, **known)


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
    padded, cropped = (square(image, side, side, 0) for side in (max(shape), min(shape)))
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
        rows, columns = np.nonzero(normalize(gray(disk, (0, 1)), Images(size=64, fit=fit)).pixels[0] > 127)
        assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=1)


def test_intensity_from_span():
    values = np.tile([[0, 51], [102, 204]], (32, 32))
    expected = np.tile([[0, 51], [102, 204]], (32, 32))
    np.testing.assert_array_equal(normalize(gray(values, (0, 255)), Images(size=64)).pixels[0], expected)
    twice = normalize(gray(values, (51, 153)), Images(size=64)).pixels[0]
    np.testing.assert_array_equal(twice, np.tile([[0, 0], [128, 255]], (32, 32)))


def test_intensity_from_percentiles_ignores_a_few_outliers():
    values = np.linspace(100, 200, 10_000).reshape(100, 100)
    values[0, 0], values[-1, -1] = -1e6, 1e6
    low, high = limits(gray(values))
    assert low == pytest.approx(100.5, abs=0.1) and high == pytest.approx(199.5, abs=0.1)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_the_type_of_the_values_does_not_matter(kind):
    values = np.random.default_rng(0).integers(0, 128, (1, 90, 70))
    images = [normalize(Decoded(values.astype(t), (0, 255)), Images(size=64)).pixels for t in (kind, np.float64)]
    np.testing.assert_array_equal(*images)


def test_rounding():
    np.testing.assert_array_equal(to_uint8(np.array([-0.1, 0, 0.4 / 255, 0.6 / 255, 1, 1.1])), [0, 0, 0, 1, 255, 255])


@pytest.mark.parametrize("values, span", [(np.full((5, 9), 7), None), (np.full((5, 9), 7), (0, 255))])
def test_blank_is_rejected(values, span):
    with pytest.raises(RejectedError, match="blank"):
        normalize(gray(values, span), Images(size=64))


def test_not_finite_is_rejected():
    with pytest.raises(RejectedError, match="not finite"):
        normalize(gray([[0, np.nan]]), Images(size=64))


def test_pixels_that_are_not_square_become_so():
    """A disk of 60 mm on pixels of 1 x 2 mm is one in the image too, and its size in millimetres is known."""
    y, x = np.mgrid[:100, :40]
    disk = ((y - 50) ** 2 + (2 * (x - 20)) ** 2 < 30**2).astype(np.float32)
    image = normalize(gray(disk, (0, 1), spacing=(1.0, 2.0)), Images(size=64))
    rows, columns = np.nonzero(image.pixels[0] > 127)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=1)
    assert image.spacing == pytest.approx(100 / 64)
    assert (np.ptp(rows) + 1) * image.spacing == pytest.approx(60, abs=2 * image.spacing)


@pytest.mark.parametrize("spacing", [(0.5, 0.5), (2.0, 1.0), (0.9, 1.1)])
def test_physical_size_is_the_same_whatever_the_files_pixels(spacing):
    y, x = (np.arange(side) for side in (int(160 / spacing[0]), int(200 / spacing[1])))
    down, right = (y - len(y) / 2)[:, None] * spacing[0], (x - len(x) / 2)[None] * spacing[1]
    disk = (down**2 + right**2 < 40**2).astype(np.float32)
    image = normalize(gray(disk, (0, 1), spacing=spacing), Images(size=64, pixel_mm=1.5))
    assert image.spacing == 1.5
    assert (image.pixels[0] > 127).sum() * 1.5**2 == pytest.approx(np.pi * 40**2, rel=0.03)


def test_size_in_millimetres_needs_a_spacing():
    with pytest.raises(RejectedError, match="how large its pixels are"):
        field_of_view(gray(np.eye(4)), Images(pixel_mm=1))


def test_masks_keep_their_labels():
    mask = np.zeros((50, 50), np.uint8)
    mask[10:30, 20:40] = 4
    mask[15:20, 25:30] = 2
    image = normalize(gray(np.random.default_rng(0).random((50, 50)), mask=mask), Images(size=64))
    assert set(np.unique(image.mask)) == {0, 2, 4}
    assert (image.mask > 0).mean() == pytest.approx(0.16, abs=0.01)


@pytest.mark.parametrize("size", [64, 96, 128, 256])
def test_an_image_of_the_wanted_size_stays_as_it_is(size):
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size), dtype=np.uint8)
    image = normalize(Decoded(pixels.astype(np.float32), (0, 255)), Images(size=size, channels="rgb"))
    np.testing.assert_array_equal(image.pixels, pixels)


def test_channels():
    one = np.random.default_rng(0).random((1, 8, 8)).astype(np.float32)
    three = np.random.default_rng(1).random((3, 8, 8)).astype(np.float32)
    wanted = {"gray": 1, "rgb": 3, ("t1", "t2", "flair"): 3}
    for channels, count in wanted.items():
        assert len(normalize(Decoded(three if count == 3 else one, (0, 1)), Images(channels=channels)).pixels) == count
    assert len(normalize(Decoded(one, (0, 1)), Images(channels="rgb")).pixels) == 3
    with pytest.raises(RejectedError, match="set it to rgb"):
        normalize(Decoded(three, (0, 1)), Images())
    with pytest.raises(RejectedError, match="1 channel"):
        normalize(Decoded(one, (0, 1)), Images(channels=("t1", "t2")))


@given(
    values=arrays(np.float64, (1, 64, 64), elements=st.floats(-1000, 1000), fill=st.floats(-1000, 1000)),
    slope=st.floats(0.01, 100),
    offset=st.floats(-1000, 1000),
)
def test_intensities_rise_and_do_not_depend_on_the_unit(values, slope, offset):
    values[0, 0, :2] = -1000, 1000
    pixels = normalize(Decoded(values, (-1000, 1000)), Images(size=64)).pixels
    order = np.argsort(values.ravel())
    assert (np.diff(pixels.ravel()[order].astype(int)) >= 0).all()
    assert pixels.min() == 0 and pixels.max() == 255
    span = (offset - 1000 * slope, offset + 1000 * slope)
    scaled = normalize(Decoded(values * slope + offset, span), Images(size=64)).pixels
    assert np.abs(scaled.astype(int) - pixels).max() <= 1
