"""Classical augmentation."""

import numpy as np
import torch

from scansynth.downstream.classical import augmented


def spot():
    images = torch.full((6, 1, 32, 32), 0.4)
    images[:, :, 14:18, 20:24] = 0.9
    return images


def centre(image):
    weights = (image[0] - image[0].median()).clamp(0.1) - 0.1
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    return torch.stack([(weights * y).sum(), (weights * x).sum()]) / weights.sum()


def test_images_change_each_in_its_own_way_and_stay_images():
    changed = augmented(spot(), np.random.default_rng(0), flips=False)
    assert changed.shape == (6, 1, 32, 32) and changed.min() >= 0 and changed.max() <= 1
    places = torch.stack([centre(image) for image in changed])
    assert len(torch.unique(places.round(decimals=3), dim=0)) == 6
    assert changed.flatten(1).median(1).values.std() > 0.02  # brightness
    assert (places[:, 1] > 16).all()  # nothing is mirrored, and nothing moves far
    assert ((places - torch.tensor([15.5, 21.5])).norm(dim=1) < 7).all()


def test_it_is_a_function_of_the_generator():
    first, again, other = (augmented(spot(), np.random.default_rng([seed, 7]), flips=True) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_tissue_is_mirrored_and_turned():
    changed = augmented(spot().repeat(8, 1, 1, 1), np.random.default_rng(0), flips=True)
    places = torch.stack([centre(image) for image in changed]) - 15.5
    sides = {(int(place.abs().argmax()), bool(place[place.abs().argmax()] > 0)) for place in places}
    assert len(sides) == 4
