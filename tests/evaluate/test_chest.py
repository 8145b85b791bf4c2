import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scansynth.evaluate.anatomy import chest
from scansynth.evaluate.anatomy.chest import HEART, LEFT_LUNG, MEASURES, RIGHT_LUNG

SIZE = 128
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE]


def ellipse(row, column, tall, wide):
    """Whether each pixel is in an ellipse with these half-axes."""
    return ((ROWS - row) / tall) ** 2 + ((COLUMNS - column) / wide) ** 2 <= 1


def drawn(heart=(80, 70, 16, 20), right=(60, 35, 34, 18), left=(64, 95, 34, 18)):
    """A mask of two lungs and a heart, each (row, column, half height, half width)."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    for structure, place in ((RIGHT_LUNG, right), (LEFT_LUNG, left), (HEART, heart)):
        mask[ellipse(*place)] = structure
    return mask


def shaded(masks):
    """Images (n, 1, size, size) of masks: dark lungs, a bright heart."""
    return np.array([100, 30, 30, 180], np.uint8)[masks][:, None]


def one(mask):
    return {name: values[0] for name, values in chest.of_masks(mask[None], shaded(mask[None])).items()}


def test_known_answers_on_drawn_ellipses():
    found = one(drawn())
    assert list(found) == list(MEASURES)
    # The heart spans columns 50 to 90; the lungs reach their outer borders, 17 and 113, in rows 60 and 64 alone.
    assert found["cardiothoracic_ratio"] == pytest.approx(41 / 96, abs=0.006)
    assert found["right_lung_area"] == pytest.approx(np.pi * 34 * 18 / SIZE**2, rel=0.1)
    assert found["heart_area"] == pytest.approx(np.pi * 16 * 20 / SIZE**2, rel=0.02)
    assert found["heart_offset"] == pytest.approx((70 - 65) / 97, abs=0.006)
    assert found["heart_on_left"] == 1
    assert found["plausible"] == 1


def test_the_higher_diaphragm_is_the_one_whose_lung_ends_higher():
    assert one(drawn(left=(64, 95, 34, 18)))["dome_difference"] == pytest.approx(4 / 97, abs=0.01)
    assert one(drawn(left=(56, 95, 34, 18)))["dome_difference"] == pytest.approx(-4 / 97, abs=0.01)


def test_symmetry_is_the_ratio_of_the_lungs_areas():
    without_heart = drawn(heart=(80, 65, 16, 13))
    assert one(without_heart)["lung_symmetry"] == pytest.approx(1, abs=0.02)
    smaller = drawn(heart=(80, 65, 16, 13), left=(64, 95, 17, 18))
    assert one(smaller)["lung_symmetry"] == pytest.approx(0.5, abs=0.02)


def test_a_mirrored_chest_has_its_heart_on_the_other_side():
    swapped = np.array([0, LEFT_LUNG, RIGHT_LUNG, HEART], np.uint8)
    found, mirrored = one(drawn()), one(swapped[drawn()[:, ::-1]])
    assert mirrored["heart_offset"] == pytest.approx(-found["heart_offset"])
    assert mirrored["heart_on_left"] == 0
    assert mirrored["dome_difference"] == pytest.approx(-found["dome_difference"], abs=0.01)
    for name in ("cardiothoracic_ratio", "heart_area", "lung_symmetry", "plausible"):
        assert mirrored[name] == pytest.approx(found[name])


@settings(max_examples=30, deadline=None)
@given(wide=st.integers(8, 24), column=st.integers(55, 75), row=st.integers(75, 90))
def test_the_ratio_is_that_of_the_widths_wherever_the_heart_lies(wide, column, row):
    mask = drawn(heart=(row, column, 14, wide))
    found = chest.cardiothoracic_ratio(mask[None])[0]
    assert found == pytest.approx((2 * wide + 1) / 96, abs=0.012)


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((SIZE, SIZE), np.uint8),
        np.where(drawn() == HEART, 0, drawn()),
        np.where(drawn() == LEFT_LUNG, 0, drawn()),
        drawn(heart=(20, 65, 12, 12)),  # above the lungs
        drawn(heart=(80, 20, 12, 12)),  # outside them
        drawn(left=(64, 95, 8, 8)),  # one lung far too small
        drawn()[::-1],
        np.random.default_rng(0).integers(0, 4, (SIZE, SIZE)).astype(np.uint8),
    ],
    ids=["nothing", "no heart", "one lung", "heart above", "heart aside", "tiny lung", "upside down", "noise"],
)
def test_what_is_no_chest_is_implausible_and_not_measured(mask):
    found = one(mask)
    assert found.pop("plausible") == 0
    assert np.isnan(list(found.values())).all()


def test_outlines_without_an_image_to_match_are_implausible():
    masks = drawn()[None]
    noise = np.random.default_rng(0).integers(0, 256, (1, 1, SIZE, SIZE)).astype(np.uint8)
    for pixels in (noise, 255 - shaded(masks), np.full((1, 1, SIZE, SIZE), 90, np.uint8)):
        assert chest.of_masks(masks, pixels)["plausible"] == 0


def test_no_outlines_have_no_ratio():
    assert np.isnan(chest.cardiothoracic_ratio(np.zeros((2, 8, 8), np.uint8))).all()


class Drawn:
    """Outlines every image as two lungs and a heart."""

    def outline(self, pixels):
        return np.repeat(drawn()[None], len(pixels), 0)


def test_measures_come_for_each_image_and_channels_are_averaged():
    pixels = np.repeat(shaded(drawn()[None]), 2, 0)
    gray = chest.measure(pixels, ["gray"], Drawn())
    colour = chest.measure(np.repeat(pixels, 3, 1), ["red", "green", "blue"], Drawn())
    for name in MEASURES:
        assert gray[name].shape == (2,) and gray[name].dtype == np.float64
        np.testing.assert_array_equal(gray[name], colour[name])


def test_no_images_have_no_measures():
    found = chest.measure(np.zeros((0, 1, SIZE, SIZE), np.uint8), ["gray"], Drawn())
    assert all(values.shape == (0,) for values in found.values())


def test_channels_have_to_be_named():
    with pytest.raises(ValueError, match="1 channels, but 2 names"):
        chest.measure(shaded(drawn()[None]), ["t1", "t2"], Drawn())
