"""Measures of brain slices with known answers."""

import numpy as np
import pytest
from scipy import ndimage

from scansynth.acquire.phantoms import brain as phantoms
from scansynth.evaluate.anatomy.brain import MEASURES, head_mask, measure

CHANNELS = ["t1", "t2", "flair"]
LEVELS = {"white": (200, 80, 100), "grey": (150, 120, 110), "csf": (50, 220, 20), "lesion": (140, 140, 220)}
DISC = np.hypot(*np.mgrid[-4:5, -4:5]) <= 4  # 49 pixels


def slice_of(folds=0.0, lesions=(), size=128):
    """White matter in a wavy ribbon of grey, with two ventricles: uint8 (3, size, size). Lesions: centres of discs."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    radius, angle = np.hypot(x / 42, y / 52), np.arctan2(y, x)
    image = np.zeros((3, size, size))
    ribbon = 0.8 + 0.08 * np.cos(12 * angle) + 0.06 * np.sin(5 * angle + 1) * folds
    ventricles = np.hypot((np.abs(x) - 9) / 5, y / 16) < 1
    for name, where in (("grey", radius < 1), ("white", radius < ribbon), ("csf", ventricles)):
        image[:, where] = np.array(LEVELS[name])[:, None]
    for row, column in lesions:
        image[:, row - 4 : row + 5, column - 4 : column + 5][:, DISC] = np.array(LEVELS["lesion"])[:, None]
    return image.astype(np.uint8)


def noisy(image, deviation, seed=0):
    added = image + np.random.default_rng(seed).normal(0, deviation, image.shape)
    return np.clip(added.round(), 0, 255).astype(np.uint8)


def of(image, channels=CHANNELS):
    return {name: values[0] for name, values in measure(image[None], channels).items()}


def test_a_head_of_known_size_and_tissues():
    found = of(noisy(slice_of(), 3) * (slice_of() > 0))
    assert set(found) == set(MEASURES)
    assert found["head_area"] == pytest.approx(np.pi * 42 * 52 / 128**2, rel=0.05)
    assert found["background"] == 0
    for i, contrast in enumerate(CHANNELS):
        white = LEVELS["white"][i]
        assert found[f"grey_white_{contrast}"] == pytest.approx(LEVELS["grey"][i] / white, rel=0.03)
        assert found[f"fluid_white_{contrast}"] == pytest.approx(LEVELS["csf"][i] / white, rel=0.1)
    assert found["lesion_load"] < 0.002
    assert found["edge_agreement"] > 0.8


@pytest.mark.parametrize(("turn", "move"), [(0, 0), (6, 0), (-9, 0), (0, 7), (5, -6)])
def test_a_symmetrical_head_is_so_however_it_lies(turn, move):
    lying = ndimage.shift(ndimage.rotate(slice_of(), turn, (1, 2), reshape=False, order=1), (0, 3, move), order=1)
    # The sharp edges of a drawing do not survive a rotation whole.
    assert of(lying)["symmetry"] > 0.75


def test_folds_that_differ_from_side_to_side_are_less_symmetrical():
    same, other = (of(slice_of(folds))["symmetry"] for folds in (0, 2))
    assert other < same - 0.05


def test_background_is_the_share_of_the_pixels_that_are_not_dark():
    image = slice_of()
    image[1, :, :16] = 20  # an eighth of the image, all of it outside
    outside = ~ndimage.binary_dilation(head_mask(image.astype(float)), iterations=5)
    assert of(image)["background"] == pytest.approx(16 * 128 / outside.sum())


def test_contrasts_of_two_people_do_not_agree():
    image, other = slice_of(), ndimage.rotate(slice_of(3), 40, (1, 2), reshape=False, order=1)
    assert of(np.stack([image[0], image[1], other[2]]))["edge_agreement"] < of(image)["edge_agreement"] - 0.3


@pytest.mark.parametrize("lesions", [[(64, 40)], [(50, 40), (80, 88)], [(50, 40), (80, 88), (90, 64)]])
def test_lesions_are_as_large_as_they_are(lesions):
    image = slice_of(lesions=lesions)
    found = of(noisy(image, 3) * (image > 0))
    # Smoothing adds a rim of less than a pixel to what is so bright: half the area of a disc of four.
    assert 1 <= found["lesion_load"] / (len(lesions) * DISC.sum() / (np.pi * 42 * 52)) < 1.7


def test_lesions_of_phantoms_are_as_large_as_their_labels_say():
    """Correlation over slices of subjects with a tumour: 0.94 over all slices of 24 subjects."""
    with_tumour = [i for i in range(20) if phantoms.draw(3, i)[0].tumour][:3]
    load, truth = [], []
    for subject in (phantoms.render(3, i) for i in with_tumour):
        planes = range(20, 60, 4)
        for z in planes:
            image = np.stack([subject.volumes[name][:, :, z] / subject.volumes[name].max() for name in CHANNELS])
            load.append(of((image * 255).astype(np.uint8))["lesion_load"])
            truth.append((subject.labels[:, :, z] > 0).sum() / (subject.volumes["t1"][:, :, z] > 0).sum())
    assert np.corrcoef(load, truth)[0, 1] > 0.8
    assert np.mean(load) == pytest.approx(np.mean(truth), rel=0.4)


def test_what_a_contrast_does_not_show_is_not_measured():
    grained = noisy(slice_of(), 3) * (slice_of() > 0)
    t1 = of(grained[:1], ["t1"])
    assert t1["grey_white_t1"] == pytest.approx(0.75, rel=0.03)
    t2 = of(grained[1:2], ["t2"])
    assert t2["grey_white_t2"] == pytest.approx(1.5, rel=0.03)
    flair = of(grained[2:], ["flair"])
    assert flair["fluid_white_flair"] == pytest.approx(0.2, rel=0.1)
    unknown = of(grained[:1], ["gray"])
    measured = {name for name, value in unknown.items() if np.isfinite(value)}
    assert measured == {"head_area", "background", "symmetry"}
    assert np.isnan([t1["edge_agreement"], t1["lesion_load"], t2["grey_white_t1"], flair["grey_white_t2"]]).all()


@pytest.mark.parametrize("level", [0, 255])
def test_flat_images_have_no_head(level):
    found = of(np.full((3, 64, 64), level, np.uint8))
    assert found.pop("head_area") == 0
    assert found.pop("background") == (level > 0)
    assert np.isnan(list(found.values())).all()


def test_an_image_is_measured_alone_as_among_others():
    images = np.stack([noisy(slice_of(i), 5, seed=i) for i in range(4)])
    together = measure(images, CHANNELS)
    for name, value in of(images[2]).items():
        assert together[name][2] == value


def test_channels_have_to_be_named():
    with pytest.raises(ValueError, match="3 channels, but 1 names"):
        measure(slice_of()[None], ["t1"])
