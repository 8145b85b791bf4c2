import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from scansynth.prepare.decoded import Image
from scansynth.prepare.readers import stain
from scansynth.sections import Patches


def paint(stains, seed: int = 0, strength: float = 1.0, size: int = 64) -> np.ndarray:
    """A patch of nuclei on a ground, by Beer and Lambert's law; ``stains`` (2, 3) absorb red, green and blue."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    nuclei = np.zeros((size, size))
    for across, down in random.uniform(0, size, (12, 2)):
        nuclei = np.maximum(nuclei, np.exp(-((((x - across) ** 2 + (y - down) ** 2) / 16) ** 2)))
    ground = np.clip(0.5 + 0.3 * np.sin(x / 9) * np.cos(y / 7), 0, None) * (x > size // 6)
    amount = np.stack([1.8 * nuclei, 0.9 * ground * (1 - nuclei)]) * strength
    light = stain.WHITE * np.exp(-np.tensordot(np.asarray(stains), amount, (0, 0))) - 1
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def unit(*vectors) -> np.ndarray:
    return np.array(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)


RUIFROK = unit((0.650, 0.704, 0.286), (0.072, 0.990, 0.105))
OTHER = unit((0.510, 0.745, 0.430), (0.250, 0.800, 0.545))


def test_stains_are_found_and_told_apart():
    for stains in (RUIFROK, OTHER):
        density = -np.log((paint(stains).reshape(3, -1).T + 1.0) / stain.WHITE)
        found = stain.stains_of(density[density.mean(axis=1) > stain.STAINED])
        assert np.degrees(np.arccos((found * stains).sum(axis=1))).max() < 5


def test_one_tissue_looks_the_same_from_two_laboratories():
    pictures = [paint(RUIFROK), paint(OTHER, strength=0.75)]
    before = np.abs(np.subtract(*pictures, dtype=float)).mean()
    after = np.abs(np.subtract(*map(stain.macenko, pictures), dtype=float)).mean()
    assert before > 12
    assert after < before / 4


def test_the_reference_hardly_changes_and_nuclei_stay_blue():
    picture = paint(unit(*stain.REFERENCE), strength=1.1)
    again = stain.macenko(stain.macenko(picture))
    assert np.abs(again - stain.macenko(picture).astype(float)).mean() < 4
    for stains in (RUIFROK, OTHER):
        red, _, blue = paint(stains)
        dark = red < np.percentile(red, 10)
        red, _, blue = stain.macenko(paint(stains)).astype(int)
        assert (blue - red)[dark].mean() > (blue - red)[~dark].mean() + 10


@given(st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(0, 60))
def test_any_picture_gives_one_or_none(seed, level, noise):
    random = np.random.default_rng(seed)
    pixels = np.clip(random.normal(level, noise, (3, 16, 16)), 0, 255).astype(np.uint8)
    result = stain.macenko(pixels)
    assert result is None or (result.shape == pixels.shape and result.dtype == np.uint8)


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((3, 32, 32), 240, np.uint8),
        np.zeros((3, 32, 32), np.uint8),
        np.full((3, 32, 32), 100, np.uint8),  # one colour
        np.broadcast_to(np.arange(32, dtype=np.uint8) * 7, (3, 32, 32)),  # gray: one stain
    ],
)
def test_where_stains_cannot_be_told_nothing_is_made_up(pixels):
    assert stain.macenko(pixels) is None


def test_a_little_tissue_on_glass_is_left_alone():
    picture = np.full((3, 128, 128), 240, np.uint8)
    picture[:, :20, :20] = paint(RUIFROK, size=20)
    assert stain.macenko(picture) is None
    assert stain.macenko(picture[:, :32, :32]) is not None


def test_black_borders_stay_and_count_for_nothing():
    picture = paint(RUIFROK)
    framed = np.pad(picture, [(0, 0), (20, 20), (0, 0)])
    result = stain.macenko(framed)
    assert not result[:, :20].any() and not result[:, -20:].any()
    np.testing.assert_array_equal(result[:, 20:-20], stain.macenko(picture))


def test_only_where_asked_for_and_in_colour():
    image = Image(paint(RUIFROK), suffix="_1", findings=("Tumour",))
    assert stain.normalized(image, Patches()) is image
    gray = Image(image.pixels[:1])
    assert stain.normalized(gray, Patches(stain="macenko")) is gray
    blank = Image(np.full((3, 32, 32), 240, np.uint8))
    assert stain.normalized(blank, Patches(stain="macenko")) is blank
    changed = stain.normalized(image, Patches(stain="macenko"))
    np.testing.assert_array_equal(changed.pixels, stain.macenko(image.pixels))
    assert (changed.suffix, changed.findings) == ("_1", ("Tumour",))


def test_real_patches_get_the_reference_stains(shared_data):
    files = sorted((shared_data / "histo" / "camelyon16-96" / "images").iterdir())[::12]
    pictures = [np.moveaxis(np.asarray(Pillow.open(file).convert("RGB")), -1, 0) for file in files]
    stains = []
    for picture in pictures:
        density = -np.log((stain.macenko(picture).reshape(3, -1).T + 1.0) / stain.WHITE)
        stains.append(stain.stains_of(density[density.mean(axis=1) > stain.STAINED]))
    assert np.abs(np.mean(stains, axis=0) - stain.REFERENCE).max() < 0.1
