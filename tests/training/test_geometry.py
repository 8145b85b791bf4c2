"""Augmentation: known answers, and parameters that tell all."""

import math

import numpy as np
import pytest
import torch

from scansynth.training.geometry import AUGMENTS, SCALE, SHIFT, augment, draw


def told(**values):
    """Parameters of one image: zeros, but for those at the places named."""
    places = {
        "x": 0,
        "y": 1,
        "a": 2,
        "b": 3,
        "scale": 4,
        "cos": 5,
        "sin": 6,
        "along": 7,
        "across": 8,
        "dx": 9,
        "dy": 10,
    }
    parameters = torch.zeros(1, AUGMENTS)
    for name, value in values.items():
        parameters[0, places[name]] = value
    return parameters


def noise(size=16):
    return torch.rand(1, 2, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def smooth(size=32):
    """A bump off the centre: interpolating it is nearly exact."""
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) * 2 / size - 1] * 2, indexing="ij")
    return torch.exp(-((x - 0.3) ** 2 + (y + 0.1) ** 2) / 0.1)[None, None]


def centre(image):
    """Centre of mass (x, y) and second moments (xx, yy, xy), in coordinates from -1 to 1."""
    size = image.shape[-1]
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) * 2 / size - 1] * 2, indexing="ij")
    weight = image[0, 0] / image.sum()
    cx, cy = (weight * x).sum(), (weight * y).sum()
    moments = [
        (weight * (a - ca) * (b - cb)).sum() for a, ca, b, cb in ((x, cx, x, cx), (y, cy, y, cy), (x, cx, y, cy))
    ]
    return np.array([float(value) for value in (cx, cy, *moments)])


def test_zeros_are_the_identity():
    assert torch.equal(augment(noise(), told()), noise())


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (told(x=1), lambda image: image.flip(3)),
        (told(y=1), lambda image: image.flip(2)),
        (told(x=1, y=1), lambda image: image.rot90(2, (2, 3))),
        (told(a=1), lambda image: image.rot90(1, (2, 3))),
        (told(a=1, b=1), lambda image: image.rot90(2, (2, 3))),
        (told(b=1), lambda image: image.rot90(3, (2, 3))),
    ],
)
def test_flips_and_quarter_turns_move_pixels_as_they_are(parameters, expected):
    assert torch.equal(augment(noise(), parameters), expected(noise()))


def test_a_rotation_by_a_quarter_is_a_quarter_turn():
    quarter = augment(noise(), told(cos=-1, sin=1))
    torch.testing.assert_close(quarter, augment(noise(), told(a=1)), atol=1e-4, rtol=0)


def test_translation_moves_to_the_right_and_down():
    moved = augment(noise(), told(dx=1 / (16 * SHIFT), dy=2 / (16 * SHIFT)))
    torch.testing.assert_close(moved[..., 2:, 1:], noise()[..., :-2, :-1], atol=1e-4, rtol=0)


def test_scaling_enlarges():
    before, after = centre(smooth()), centre(augment(smooth(), told(scale=0.5)))
    factor = 2 ** (0.5 * SCALE)
    np.testing.assert_allclose(after, before * [factor, factor, factor**2, factor**2, factor**2], atol=0.004)


@pytest.mark.parametrize(("angle", "signs"), [(0, (1, -1, 0)), (math.pi / 4, (0, 0, 1)), (math.pi / 2, (-1, 1, 0))])
def test_anisotropic_scaling_stretches_along_its_axis(angle, signs):
    image = smooth().roll((-5, 1), (3, 2))  # centred
    change = centre(augment(image, told(along=math.cos(2 * angle), across=math.sin(2 * angle)))) - centre(image)
    assert change[2] * signs[0] >= 0 and change[3] * signs[1] >= 0
    expected = 0.05 * np.sinh(2 * SCALE * math.log(2))
    np.testing.assert_allclose(change[4], expected if signs[2] else 0, atol=0.004)
    np.testing.assert_allclose(change[2] - change[3], (signs[0] - signs[1]) * expected, atol=0.004)


def test_values_stay_in_range_and_images_apart():
    images, parameters = noise().repeat(8, 1, 1, 1), draw(8, 1.0, np.random.default_rng(0))
    together = augment(images, parameters)
    assert together.abs().max() <= 1
    for i in range(8):
        assert torch.equal(together[i : i + 1], augment(images[i : i + 1], parameters[i : i + 1]))


def test_draws_have_their_probability_and_are_told():
    parameters = draw(4000, 0.25, np.random.default_rng(0))
    assert parameters.dtype == torch.float32 and parameters.shape == (4000, AUGMENTS)
    for kind in ([0], [1], [2, 3], [4], [5, 6], [7, 8], [9, 10]):
        assert float(parameters[:, kind].any(dim=1).float().mean()) == pytest.approx(0.25, abs=0.03)
    turns = parameters[:, 2:4][parameters[:, 2:4].any(dim=1)].unique(dim=0)
    assert turns.tolist() == [[0, 1], [1, 0], [1, 1]]
    assert not draw(50, 0.0, np.random.default_rng(0)).any()
    np.testing.assert_allclose((parameters[:, 5] + 1) ** 2 + parameters[:, 6] ** 2, 1, atol=1e-5)
