"""Stains and nuclei with known answers."""

import numpy as np
import pytest

from scansynth.acquire.phantoms import tissue as phantoms
from scansynth.evaluate.anatomy.tissue import MEASURES, measure, nuclei
from scansynth.picture import COLOUR
from scansynth.prepare.readers.stain import REFERENCE, WHITE


def patch(places, radius=4, size=96, stains=REFERENCE):
    """Round nuclei of haematoxylin at these places, on eosin that is thicker here than there; (3, size, size)."""
    y, x = np.mgrid[:size, :size]
    blue = np.zeros((size, size))
    for row, column in places:
        blue[np.hypot(y - row, x - column) <= radius] = 1.5
    pink = np.where(blue > 0, 0.02, 0.4 + 0.3 * x / size)
    density = np.stack([blue, pink], -1) @ stains
    return np.moveaxis(np.rint(WHITE * np.exp(-density) - 1), -1, 0).clip(0, 255).astype(np.uint8)


PLACES = [(row, column) for row in (15, 40, 65) for column in (12, 30, 48, 70)]


def test_nuclei_are_counted_and_measured():
    found = measure(patch(PLACES)[None], COLOUR)
    area = np.hypot(*np.mgrid[-4:5, -4:5]) <= 4
    assert set(found) == set(MEASURES)
    assert found["nuclear_density"][0] == pytest.approx(12 / 0.9216)
    assert found["nuclear_area"][0] == pytest.approx(area.sum(), rel=0.15)
    assert found["nuclear_share"][0] == pytest.approx(12 * area.sum() / 96**2, rel=0.15)


def test_touching_nuclei_are_two():
    density = -np.log((patch([(40, 40), (40, 47)]).mean(0) + 1) / WHITE)
    assert nuclei(density).max() == 2


def test_the_standard_stains_are_at_no_angle_and_others_are():
    standard, turned = (
        measure(patch(PLACES, stains=stains)[None], COLOUR) for stains in (REFERENCE, REFERENCE[:, ::-1])
    )
    for name in ("haematoxylin_angle", "eosin_angle"):
        assert standard[name][0] < 2
    assert turned["haematoxylin_angle"][0] > 5
    expected = np.degrees(np.arccos(REFERENCE[0] @ REFERENCE[1] / np.linalg.norm(REFERENCE, axis=1).prod()))
    assert standard["stain_separation"][0] == pytest.approx(expected, abs=2)


def test_glass_has_no_stain_and_no_nuclei():
    found = measure(np.full((1, 3, 96, 96), 240, np.uint8), COLOUR)
    assert found["white"][0] == 1
    assert all(np.isnan(values[0]) for name, values in found.items() if name != "white")


def test_eosin_alone_has_no_nuclei():
    found = measure(patch([])[None], COLOUR)
    assert not found["nuclear_density"][0] > 0


def test_grey_images_are_not_measured():
    found = measure(np.zeros((2, 1, 96, 96), np.uint8), ["gray"])
    assert all(np.isnan(values).all() for values in found.values())


def test_counts_follow_the_truth_of_the_phantoms():
    drawn = [phantoms.render(0, i) for i in range(48)]
    truth = np.array([phantoms.measure(each)["nuclei"] for each in drawn]) / 0.9216
    found = measure(np.stack([np.moveaxis(each.image, -1, 0) for each in drawn]), COLOUR)["nuclear_density"]
    assert np.corrcoef(found, truth)[0, 1] > 0.8
    assert abs(found.mean() / truth.mean() - 1) < 0.25
