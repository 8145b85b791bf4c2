import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scansynth.evaluate.damages import DAMAGES, MODES, PROTOTYPES, SHIFT, Images, Sources, applicable

BY_NAME = {damage.name: damage for damage in DAMAGES}
N = 40
# What happens to an image depends on the others of the set as well.
OF_THE_SET = {"channels", "modes", "collapse", "labels"}


def images(n, seed, channels=1, name="i"):
    """Smooth images of 32 x 32 pixels, no two alike; every third has a finding."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(40, 216, (n, channels, 4, 4)).repeat(8, -1).repeat(8, -2).astype(np.uint8)
    rows = [{"id": f"{name}{i}", "findings": "No Finding" if i % 3 else "Nodule", "view": "PA"} for i in range(n)]
    return Images(pixels, rows)


@pytest.fixture(scope="module")
def whole():
    return images(N, 0, channels=2)


@pytest.fixture(scope="module")
def sources():
    return Sources(images(60, 1, channels=2, name="t"), images(N, 2, channels=2, name="s"))


def ids(found):
    return [row["id"] for row in found.rows]


def same(first, second):
    """Which images are the same, bool of shape (n,)."""
    return (first.pixels == second.pixels).all((1, 2, 3))


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_strength_0_changes_no_byte(damage, whole, sources):
    assert damage.strengths[0] == 0
    found = damage(whole, 0, 0, sources)
    assert same(found, whole).all()
    assert found.rows == whole.rows


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_damage_grows_and_is_the_same_again(damage, whole, sources):
    before, distances = whole.pixels.copy(), []
    assert list(damage.strengths) == sorted(set(damage.strengths))
    for strength in damage.strengths:
        found = damage(whole, strength, 3, sources)
        again = damage(whole, strength, 3, sources)
        assert found.pixels.dtype == np.uint8
        assert found.pixels.shape == whole.pixels.shape
        assert same(found, again).all()
        assert found.rows == again.rows
        changed = np.mean([row != old for row, old in zip(found.rows, whole.rows, strict=True)])
        distances.append(np.abs(found.pixels.astype(float) - whole.pixels).mean() + changed)
    assert (whole.pixels == before).all()
    assert (np.diff(distances) > 0).all()


@pytest.mark.parametrize(
    "damage", [each for each in DAMAGES if each.name not in OF_THE_SET], ids=lambda each: each.name
)
def test_an_image_is_damaged_alike_among_others_or_alone(damage, whole, sources):
    few = Images(whole.pixels[:7], whole.rows[:7])
    for strength in damage.strengths[1:3]:
        found = damage(few, strength, 5, sources)
        among = damage(whole, strength, 5, sources)
        assert (found.pixels == among.pixels[:7]).all()
        assert ids(found) == ids(among)[:7]


@given(share=st.sampled_from([0.1, 0.25, 0.5, 1.0]), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_a_stronger_damage_strikes_the_same_images_and_more(share, seed):
    some, none = images(60, 0), Sources(images(1, 1), images(1, 2))
    mirrored, upside_down = (BY_NAME[name](some, share, seed, none) for name in ("mirrored", "upside down"))
    weaker = BY_NAME["mirrored"](some, share / 2, seed, none)
    struck = ~same(mirrored, some)
    assert (same(weaker, some) | struck).all()
    assert (same(upside_down, some) == ~struck).all()
    assert abs(struck.mean() - share) < 0.3
    assert struck.all() or share < 1


def test_what_each_does_to_pixels(whole, sources):
    def of(name, strength):
        return BY_NAME[name](whole, strength, 1, sources).pixels.astype(float)

    pixels = whole.pixels.astype(float)
    assert np.abs(np.diff(of("blur", 2))).max() < np.abs(np.diff(pixels)).max() / 2
    assert (of("noise", 8) - pixels).std() == pytest.approx(8, abs=0.3)
    assert (of("gamma", 1) == np.rint(pixels**2 / 255)).all()
    assert (of("mirrored", 1) == pixels[..., ::-1]).all()
    assert (of("upside down", 1) == pixels[..., ::-1, :]).all()
    blocks = of("blocks", 92)
    assert 0 < np.abs(blocks - pixels).mean() < 30
    shuffled = of("tiles", 16)
    assert (np.sort(shuffled.reshape(N, 2, -1)) == np.sort(pixels.reshape(N, 2, -1))).all()
    two = (of("tiles", 2) != pixels).any(1).reshape(N, 4, 8, 4, 8).any((2, 4)).sum((1, 2))
    assert (two == 2).all()
    assert (of("channels", 1)[:, 1] == pixels[:, 1]).all()
    assert (of("channels", 1)[:, 0] == np.roll(pixels[:, 0], N // 2, 0)).all()


def test_swelling_enlarges_the_middle_and_leaves_the_rim():
    y, x = np.mgrid[:64, :64] - 31.5
    disc = Images(np.where(np.hypot(y, x) < 10, 200, 50).astype(np.uint8)[None, None], [{"findings": "", "view": ""}])
    areas = [
        (BY_NAME["swelling"](disc, strength, 0, Sources(disc, disc)).pixels > 125).sum()
        for strength in BY_NAME["swelling"].strengths
    ]
    assert (np.diff(areas) > 0).all()
    assert areas[2] == pytest.approx(areas[0] * 1.2**2, rel=0.25)
    swollen = BY_NAME["swelling"](images(1, 0), 0.8, 0, Sources(disc, disc)).pixels
    assert (swollen[..., :4, :4] == images(1, 0).pixels[..., :4, :4]).all()


def test_elastic_displacement_has_the_size_that_it_says():
    # On a ramp of 2 grey levels a pixel a displacement of d pixels changes the value by 2 d.
    ramp = Images(np.broadcast_to(np.arange(0, 256, 2, dtype=np.uint8), (30, 1, 128, 128)).copy(), [{}] * 30)
    found = BY_NAME["elastic"](ramp, 2, 0, Sources(ramp, ramp)).pixels[..., 10:-10].astype(float)
    moved = (found - ramp.pixels[..., 10:-10]) / 2
    assert np.sqrt((moved**2).mean()) == pytest.approx(0.02 * 128, rel=0.15)


def test_dropped_modes_give_way_to_spare_images_of_the_others():
    # Eight kinds of images, each of one brightness: dropping k of them leaves 8 - k brightnesses.
    def kinds(n, name):
        pixels = np.repeat(np.arange(8, dtype=np.uint8) * 30, n)[:, None, None, None]
        return Images(np.broadcast_to(pixels, (8 * n, 1, 16, 16)).copy(), [{"id": f"{name}{i}"} for i in range(8 * n)])

    real, spare = kinds(10, "i"), kinds(10, "s")
    for count in (1, 2, 4, 6):
        found = BY_NAME["modes"](real, count, 2, Sources(real, spare))
        assert len(np.unique(found.pixels)) == MODES - count
        fresh = [name for name in ids(found) if name.startswith("s")]
        if count <= 4:  # as many spare images of the kept kinds as images of the dropped ones
            assert len(fresh) == 10 * count
            assert len(set(ids(found))) == len(found)
    assert len(set(ids(found))) == 40  # 20 kept and 20 spare ones, each twice


def test_all_modes_can_be_dropped_but_not_all_images():
    real = images(12, 0)
    found = BY_NAME["modes"](real, MODES, 0, Sources(real, images(12, 1)))
    assert same(found, real).all()


def test_collapse_repeats_few_images(whole, sources):
    found = BY_NAME["collapse"](whole, 1, 0, sources)
    assert set(ids(found)) == set(ids(whole)[:PROTOTYPES])
    half = BY_NAME["collapse"](whole, 0.5, 0, sources)
    assert PROTOTYPES < len(set(ids(half))) < len(whole)


def test_copies_are_training_images_and_bring_their_labels(whole, sources):
    found = BY_NAME["copies"](whole, 1, 0, sources)
    train = {row["id"]: image.tobytes() for row, image in zip(sources.train.rows, sources.train.pixels, strict=True)}
    assert len(set(ids(found))) == len(found)
    assert all(image.tobytes() == train[name] for name, image in zip(ids(found), found.pixels, strict=True))


def test_shifted_copies_are_training_images_a_few_pixels_away(whole, sources):
    found = BY_NAME["copies askew"](whole, 1, 0, sources)
    exact = BY_NAME["copies"](whole, 1, 0, sources)
    assert ids(found) == ids(exact)
    assert same(found, exact).mean() < 0.1
    shifts = [(down, right) for down in range(-SHIFT, SHIFT + 1) for right in range(-SHIFT, SHIFT + 1)]
    inner = slice(SHIFT, -SHIFT)
    for image, original in zip(found.pixels.astype(float), exact.pixels.astype(float), strict=True):
        errors = []
        for shift in shifts:
            moved = np.roll(original, shift, (1, 2))[:, inner, inner].ravel()
            errors.append(1 - np.corrcoef(image[:, inner, inner].ravel(), moved)[0, 1])
        assert min(errors) < 1e-3


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_labels_are_swapped_and_images_are_not(share):
    many = images(400, 0)
    found = BY_NAME["labels"](many, share, 0, Sources(many, many))
    assert same(found, many).all()
    changed = [row["findings"] != old["findings"] for row, old in zip(found.rows, many.rows, strict=True)]
    assert np.mean(changed) == pytest.approx(share, abs=0.07)


def test_only_what_damages_such_images_is_applicable(whole):
    def names(some, domain):
        return {damage.name for damage in applicable(some, domain)}

    unlabelled = Images(whole.pixels, [{"findings": "", "view": ""}] * N)
    assert names(whole, None) == names(whole, "brain") == set(BY_NAME)
    assert names(whole, "tissue") == set(BY_NAME) - {"mirrored", "upside down"}
    assert names(images(5, 0), "chest") == set(BY_NAME) - {"channels"}
    assert names(unlabelled, "brain") == set(BY_NAME) - {"labels"}
