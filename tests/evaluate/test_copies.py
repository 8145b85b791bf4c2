import numpy as np
import pytest

from scansynth.errors import ScansynthError
from scansynth.evaluate.copies import Audit, Nearest, Thresholds, threshold
from scansynth.evaluate.imagesets import ImageSet
from scansynth.evaluate.neighbours import aligned
from scansynth.evaluate.planted import COUNT, KINDS, plant


def smooth(count, seed):
    """Images of 64 x 64 pixels that are alike but for smooth noise."""
    generator = np.random.default_rng(seed)
    images = np.linspace(60, 140, 64) + generator.normal(0, 15, (count, 1, 16, 16)).repeat(4, -1).repeat(4, -2)
    return (images + generator.normal(0, 4, images.shape)).clip(0, 255).astype(np.uint8)


def as_set(pixels, groups=None):
    groups = np.arange(len(pixels)) if groups is None else groups
    return ImageSet(pixels, np.arange(len(pixels)), [{}] * len(pixels), groups)


def embed(pixels):
    return pixels[..., 8:56:8, 8:56:8].reshape(len(pixels), -1).astype(np.float32)


@pytest.fixture(scope="module")
def train():
    return as_set(smooth(48, seed=0))


@pytest.fixture(scope="module")
def held_out():
    return as_set(smooth(60, seed=1))


@pytest.fixture(scope="module")
def audit(train, held_out):
    return Audit.fitted(train, held_out, embed, 0.005)


def test_planted_copies_are_found_and_traced(audit, train, held_out):
    planted = plant(train, held_out, 2, seed=0)
    matches = audit.search(planted.pixels)
    for kind in KINDS:
        chosen = planted.kinds == kind
        assert matches.copies[chosen].all()
        np.testing.assert_array_equal(matches.sources[chosen], planted.sources[chosen])


def test_new_images_are_not_called_copies(audit):
    assert not audit.search(smooth(60, seed=2)).copies.any()


def test_what_an_image_is_called_does_not_depend_on_its_company(audit):
    images = smooth(40, seed=3)
    together, alone = audit.search(images), audit.search(images[37:38])
    np.testing.assert_allclose(alone.correlation, together.correlation[37:38], rtol=1e-5)
    np.testing.assert_allclose(alone.similarity, together.similarity[37:38], rtol=1e-5)


def test_a_lower_false_alarm_rate_gives_higher_thresholds(train, held_out, audit):
    lenient = Audit.fitted(train, held_out, embed, 0.2)
    assert lenient.thresholds.correlation < audit.thresholds.correlation
    assert lenient.thresholds.similarity < audit.thresholds.similarity
    assert 0.05 < lenient.held_out.copies.mean() < 0.4


def test_held_out_images_are_judged_by_other_patients(train):
    pixels = smooth(60, seed=1)
    # Two images of one patient are training images: thresholds that they had a part in would let them pass.
    pixels[:2] = train.pixels[:2]
    groups = np.maximum(np.arange(60) - 1, 0)
    audit = Audit.fitted(train, as_set(pixels, groups), embed, 0.005)
    assert audit.held_out.copies[:2].all()
    assert audit.held_out.copies[2:].mean() < 0.1


@pytest.mark.parametrize(
    ("images", "groups"), [(48, [0] * 10), (48, [0, 1] * 5), (3, range(10))], ids=["patient", "patients", "train"]
)
def test_too_little_to_search_by_is_an_error(train, images, groups):
    few = as_set(train.array[:images])
    with pytest.raises(ScansynthError, match=r"held-out patients .* needs 4 and 3"):
        Audit.fitted(few, as_set(smooth(10, seed=1), np.array(groups)), embed, 0.005)


def test_either_detector_makes_a_copy_and_names_its_source():
    nearest = Nearest(
        np.arange(4),
        np.array([0.2, 0.9, 0.2, 0.9]),
        np.zeros((4, 3)),
        10 + np.arange(4),
        np.array([0.2, 0.2, 0.9, 0.9]),
    )
    matches = Thresholds(0.5, 0.6).judge(nearest)
    np.testing.assert_array_equal(matches.copies, [False, True, True, True])
    np.testing.assert_array_equal(matches.sources, [0, 1, 12, 3])
    own = Thresholds(np.array([0.1, 0.95, 0.1, 0.95]), np.ones(4)).judge(nearest)
    np.testing.assert_array_equal(own.copies, [True, False, True, False])


@pytest.mark.parametrize("count", [20, 60, 400])
def test_the_share_above_a_threshold_is_what_was_asked_for(count):
    # Nearest neighbours' similarities are largest values: a Gumbel distribution of Fisher's z.
    generator = np.random.default_rng(0)
    draws = np.tanh(generator.gumbel(0.4, 0.06, (1000, count)))
    thresholds = np.array([threshold(draw, 0.01) for draw in draws])
    above = 1 - np.exp(-np.exp(-(np.arctanh(thresholds) - 0.4) / 0.06))
    assert above.mean() == pytest.approx(0.01, rel=0.25)


def test_many_false_alarms_are_a_plain_quantile():
    values = np.linspace(0, 0.9, 101)
    assert values[70] <= threshold(values, 0.3) < values[71]


def test_similarities_that_are_all_the_same_are_the_threshold():
    assert threshold(np.full(30, 0.5), 0.005) == pytest.approx(0.5)


def test_planted_copies_are_changed_as_they_say(train, held_out):
    planted = plant(train, held_out, 2, seed=4)
    count = min(COUNT, len(train))
    assert [*planted.kinds] == [kind for kind in KINDS for _ in range(count)]
    originals = train.pixels[planted.sources]
    difference = np.abs(planted.pixels.astype(float) - originals)
    by_kind = {kind: planted.kinds == kind for kind in KINDS}
    assert not difference[by_kind["exact"]].any()
    mirrored = by_kind["mirrored"]
    np.testing.assert_array_equal(planted.pixels[mirrored], originals[mirrored][..., ::-1])
    assert difference[by_kind["noisy"]].std() == pytest.approx(10 * np.sqrt(1 - 2 / np.pi), rel=0.1)
    middle = planted.pixels[by_kind["shifted"]][..., 16:48, 16:48]
    for image, original in zip(middle, originals[by_kind["shifted"]], strict=True):
        moves = [np.roll(original, move, (1, 2))[:, 16:48, 16:48] for move in np.argwhere(np.ones((9, 9))) - 4]
        assert any(np.array_equal(image, moved) for moved in moves)
    blend = planted.pixels[by_kind["blended"]].astype(float) - 0.6 * originals[by_kind["blended"]]
    assert blend.std((1, 2, 3)).mean() == pytest.approx(0.4 * held_out.pixels.std((1, 2, 3)).mean(), rel=0.05)


def test_a_planted_copy_depends_on_the_seed_and_its_number(train, held_out):
    first, again, other = (plant(train, held_out, 8, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.pixels, other.pixels)


def test_an_alignment_of_no_shift_changes_nothing(train):
    np.testing.assert_array_equal(aligned(train.pixels[:2], np.array([[0, 4, 4]] * 2)), train.pixels[:2])
