import json
import tracemalloc
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from scansynth.errors import ScansynthError
from scansynth.evaluate import coverage
from scansynth.evaluate.bootstrap import Estimate
from scansynth.evaluate.coverage import MEANINGS, Manifold, prdc, verdicts
from scansynth.evaluate.featureset import About, FeatureSet, write
from scansynth.evaluate.imagesets import SETS
from scansynth.files import read_json, sha256


def normal(seed, n, d, scale=1.0):
    return np.random.default_rng(seed).normal(0, scale, (n, d))


def by_definition(reference, others, k, times_reference=None, times_others=None):
    """The four figures straight from the papers' equations, all distances in memory; images count ``times``."""
    times_reference = np.ones(len(reference), int) if times_reference is None else times_reference
    times_others = np.ones(len(others), int) if times_others is None else times_others
    of_reference, of_others = (np.sort(cdist(each, each), axis=1)[:, k] for each in (reference, others))
    real = np.repeat(np.arange(len(reference)), times_reference)
    drawn = np.repeat(np.arange(len(others)), times_others)
    distances = cdist(others, reference)[np.ix_(drawn, real)]
    return (
        (distances <= of_reference[real]).any(1).mean(),
        (distances <= of_others[drawn, None]).any(0).mean(),
        (distances < of_reference[real]).sum(1).mean() / k,
        (distances < of_reference[real]).any(0).mean(),
    )


@settings(max_examples=30, deadline=None)
@given(
    st.integers(6, 40), st.integers(6, 40), st.integers(1, 9), st.integers(1, 5), st.floats(0.3, 2), st.integers(0, 99)
)
def test_equals_the_definition(n, m, d, k, scale, seed):
    reference, others = normal(seed, n, d), normal(seed + 100, m, d, scale)
    assert astuple(prdc(reference, others, k)) == pytest.approx(by_definition(reference, others, k), rel=1e-12)


def test_a_set_beside_itself_has_1():
    features = normal(0, 700, 5).astype(np.float32)  # more than are in memory at once
    assert astuple(prdc(features, features[::-1])) == (1, 1, 1, 1)


def test_sets_far_apart_have_0():
    assert astuple(prdc(normal(0, 30, 4), normal(1, 30, 4) + 100)) == (0, 0, 0, 0)


def test_small_case_by_hand():
    # k = 1: the balls of 0, 1, 2, 3 reach 1 far; those of 0.5 and 2.9 reach 2.4, that of 10 reaches 7.1.
    reference = np.array([[0.0], [1], [2], [3]])
    found = prdc(reference, np.array([[0.5], [2.9], [10]]), 1)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == 1  # 3 is 2.5 from 0.5, but 0.1 from 2.9
    assert found.density == pytest.approx((2 + 2 + 0) / 3)
    assert found.coverage == 1
    assert prdc(reference, np.array([[2.5], [2.6], [2.7]]), 1).coverage == 0.5


def test_the_edge_of_a_ball_belongs_to_precision_and_not_to_density():
    found = prdc(np.array([[0.0], [1], [2], [3]]), np.array([[4.0], [-1], [50]]), 1)
    assert found.precision == pytest.approx(2 / 3)
    assert (found.density, found.coverage) == (0, 0)


@pytest.mark.parametrize("place", [0, 1e4])
def test_exact_copies_are_found_wherever_they_lie(place):
    """Balls of no size at all: rounding must not decide whether an image that is at their centre is in them."""
    images = (normal(0, 80, 300) + place).astype(np.float32)
    reference = images.repeat(4, axis=0)
    found = prdc(reference, reference[np.random.default_rng(1).permutation(len(reference))], 3)
    assert (found.precision, found.recall) == (1, 1)
    assert prdc(reference, (normal(2, 80, 300) + place).astype(np.float32), 3).precision == 0


def test_copies_whose_features_differ_by_rounding_are_copies():
    """As those of one image in two batches of a network do."""
    reference = normal(0, 80, 300).astype(np.float32).repeat(6, axis=0)
    found = prdc(reference, np.nextafter(reference, np.float32(np.inf)))
    assert (found.precision, found.recall) == (1, 1)


def test_published_k_by_default():
    reference, others = normal(0, 60, 3), normal(1, 50, 3)
    found = prdc(reference, others)
    assert (found.precision, found.recall) == astuple(prdc(reference, others, 3))[:2]
    assert (found.density, found.coverage) == astuple(prdc(reference, others, 5))[2:]


@pytest.mark.parametrize(("n", "m", "k"), [(200, 200, 5), (300, 150, 3)])
def test_expectation_of_sets_of_one_distribution(n, m, k):
    """Naeem et al. 2020: density 1, coverage 1 - (n-1)...(n-k) / (m+n-1)...(m+n-k), whatever the distribution."""
    found = np.array([astuple(prdc(normal(i, n, 4), normal(1000 + i, m, 4), k))[2:] for i in range(60)])
    steps = np.arange(1, k + 1)
    expected = [1, 1 - np.prod((n - steps) / (m + n - steps))]
    np.testing.assert_allclose(found.mean(0), expected, atol=4 * (found.std(0) / np.sqrt(len(found))).max())


def test_a_collapsed_set_is_precise_and_covers_little():
    reference = normal(0, 200, 6)
    found = prdc(reference, reference[:4].repeat(50, axis=0) + normal(1, 200, 6, 1e-3))
    assert found.precision == 1
    assert found.recall < 0.05
    assert found.coverage < 0.2


def test_counts_are_repeated_images():
    reference, others, generator = normal(0, 40, 4), normal(1, 30, 4), np.random.default_rng(2)
    times = [generator.multinomial(n, np.full(n, 1 / n), size=5) for n in (40, 30)]
    found = Manifold(reference, (4, 4)).figures(others, *times)
    expected = [by_definition(reference, others, 4, *each) for each in zip(*times, strict=True)]
    np.testing.assert_allclose(np.array(list(found.values())).T, expected, rtol=1e-6)


def test_blocks_give_what_the_whole_gives(monkeypatch):
    reference, others = normal(0, 100, 4), normal(1, 90, 4)
    whole = astuple(prdc(reference, others))
    monkeypatch.setattr(coverage, "ROWS", 7)
    assert astuple(prdc(reference, others)) == pytest.approx(whole)


def test_memory_is_of_a_block_and_not_of_all_pairs(monkeypatch):
    reference, others = normal(0, 3000, 2), normal(1, 3000, 2)
    monkeypatch.setattr(coverage, "ROWS", 64)
    tracemalloc.start()
    prdc(reference, others)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000 * 3000 * 8 / 6


def test_too_few_images_are_refused():
    with pytest.raises(ScansynthError, match="5 images have no 5 neighbours"):
        prdc(normal(0, 5, 2), normal(1, 50, 2))
    with pytest.raises(ScansynthError, match="3 images have no 3 neighbours"):
        prdc(normal(0, 50, 2), normal(1, 3, 2))


def test_intervals_hold_the_expected_values():
    n, trials, values, intervals = 100, 60, [], []
    for seed in range(trials):
        generator = np.random.default_rng(seed)
        times = [np.vstack([np.ones(n), generator.multinomial(n, np.full(n, 1 / n), size=60)]) for _ in range(2)]
        figures = Manifold(generator.normal(size=(n, 5))).figures(generator.normal(0, 0.9, (n, 5)), *times).values()
        values.append([each[0] for each in figures])
        intervals.append([Estimate(float(each[0]), each[1:]).interval for each in figures])
    low, high = np.moveaxis(np.array(intervals), 2, 0)
    expected = np.mean(values, axis=0)
    assert np.all(((low <= expected) & (expected <= high)).mean(0) >= 0.85)


def feature_set(n=40):
    scales = {"reference": 1, "samples": 1, "floor": 1, "pca_gaussian": 3, "untrained_network": 1}
    places = {"untrained_network": 50}
    features = {
        name: (normal(seed, n, 6, scale) + places.get(name, 0)).astype(np.float32)
        for seed, (name, scale) in enumerate(scales.items())
    }
    groups = {name: np.arange(n) // (2 if name in ("reference", "floor") else 1) for name in features}
    about = About("probe", "1", "00ff", False, ("a", "b"), "")
    return FeatureSet(about, features, {name: np.full((n, 2), 0.5) for name in features}, groups)


def run(folder, features, name):
    write(folder / "features.npz", [features])
    manifest = {"dataset": "toy", "origin": "phantom"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    arguments = ["--features", "features.npz", "--manifest", "manifest.json", "--coverage", f"{name}.json"]
    coverage.main(["--settings", '{"evaluate": {"bootstrap": 30}}', *arguments])
    return folder / f"{name}.json"


def test_the_stage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = run(tmp_path, feature_set(), "first")
    assert sha256(path) == sha256(run(tmp_path, feature_set(), "second"))
    found = read_json(path)
    space = found["extractors"]["probe"]
    for name in MEANINGS:
        for key in SETS:
            low, high = space[name][key]["interval"]
            assert 0 <= low <= space[name][key]["value"] <= high
            assert high <= 1 or name == "density"
        difference = space[name]["samples"]["value"] - space[name]["untrained_network"]["value"]
        assert space[name]["samples_minus_untrained_network"]["value"] == pytest.approx(difference)
        assert space[name]["untrained_network"]["value"] == 0
    expected = astuple(prdc(feature_set().features["reference"], feature_set().features["samples"]))
    assert [space[name]["samples"]["value"] for name in MEANINGS] == pytest.approx(expected, rel=1e-5)
    assert (
        "Coverage of the samples, beside that of real training images (the floor): not told apart in probe features."
        in found["verdicts"]
    )
    assert (
        "Precision of the samples, beside that of the untrained network: higher in probe features."
        in (found["verdicts"])
    )
    assert found["reason"] is None
    assert found["small"] is True


def test_too_few_images_give_null_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = read_json(run(tmp_path, feature_set(5), "few"))
    assert all(found["extractors"]["probe"][name] is None for name in MEANINGS)
    assert found["reason"].startswith("too few images of reference and samples and")
    assert found["verdicts"] == [f"None of the four can be had: {found['reason']}."]


def test_verdicts_in_words():
    def space(low, high):
        differences = {f"samples_minus_{name}": {"interval": [low, high]} for name in SETS}
        return dict.fromkeys(MEANINGS, differences)

    said = verdicts({"probe": space(-2, -1), "radiomics": space(-1, 1), "xrv": space(1, 2)})
    assert len(said) == 12
    assert said[0].endswith(
        "(the floor): lower in probe features; not told apart in radiomics features; higher in xrv features."
    )
