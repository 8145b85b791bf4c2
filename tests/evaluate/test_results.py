"""From a store and synthetic images to the result files, by the stages' command lines."""

import json
import shutil

import numpy as np
import pytest

from scansynth.evaluate import extract, features, fid, inception_score, probe
from scansynth.evaluate.featureset import About, FeatureSet, read, write
from scansynth.evaluate.imagesets import SETS
from scansynth.files import read_json, sha256
from scansynth.sections import Evaluate

SETTINGS = json.dumps({"evaluate": {"bootstrap": 40, "kid_subset": 20, "kid_subsets": 10}})
COPIES = {
    "found": {"samples": {"copies": {"count": 3, "of": 40, "share": 0.075, "interval": [0.02, 0.2]}}},
    "verdicts": ["3 of 40 are copies.", "There is more to say."],
}
EXTRACT = '{"extract": {}}'


@pytest.fixture(scope="module")
def results(toy_path, toy_samples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield evaluate(toy_path, toy_samples, folder)


def evaluate(toy_path, samples, folder):
    real = np.load(toy_path)[:40]
    generator = np.random.default_rng(0)
    # The Gaussian has the real images' mean; the untrained network gives noise.
    np.save(folder / "samples.npy", samples)
    mean = real.astype(float).mean(0)
    np.save(folder / "pca.npy", np.clip(mean + generator.normal(0, 12, real.shape), 0, 255).astype(np.uint8))
    np.save(folder / "untrained.npy", generator.integers(0, 256, real.shape, dtype=np.uint8))
    store = [
        "--pixels", str(toy_path), "--table", str(toy_path.with_suffix(".csv")),
        "--manifest", str(toy_path.with_suffix(".json")),
    ]  # fmt: skip
    manifest = store[-2:]
    probe.main(["--settings", '{"probe": {"steps": 30}}', *store, "--weights", "probe.safetensors"])
    synthetic = save_conditions(folder, {"samples": len(samples), "pca": len(real), "untrained": len(real)})
    inputs = ["--settings", EXTRACT, *store, *synthetic, "--weights", "probe.safetensors"]
    extracted(inputs, "features")
    extracted(inputs, "cached")
    shutil.rmtree(extract.CACHE)
    extracted(inputs, "again")
    (folder / "copies.json").write_text(json.dumps(COPIES))
    for name in ("fid", "fid_again"):
        inputs = ["--features", "features.npz", *manifest, "--copies", "copies.json"]
        fid.main(["--settings", SETTINGS, *inputs, "--distances", f"{name}.json"])
    inception_score.main(["--settings", SETTINGS, "--features", "features.npz", *manifest, "--scores", "is.json"])
    return folder


def extracted(inputs, name):
    """Features in one shard, and gathered."""
    extract.main([*inputs, "--shard", "1-of-1", "--features", f"{name}_shard.npz"])
    features.main([*inputs, "--shards", f"{name}_shard.npz", "--features", f"{name}.npz"])


def save_conditions(folder, counts):
    """Tables of what synthetic images were asked to show, and the options that name all their files."""
    options = []
    for name, count in counts.items():
        rows = "".join(f"{('No Finding', 'Bright')[i % 2]},PA\n" for i in range(count))
        (folder / f"{name}.csv").write_text(f"findings,view\n{rows}", encoding="utf-8")
        conditions = "--conditions" if name == "samples" else f"--{name}_conditions"
        options += [f"--{name}", f"{name}.npy", conditions, f"{name}.csv"]
    return options


def test_the_same_images_give_the_same_bytes(results):
    assert sha256(results / "features.npz") == sha256(results / "again.npz") == sha256(results / "cached.npz")
    assert sha256(results / "fid.json") == sha256(results / "fid_again.json")


def test_every_set_is_in_every_space(results):
    counts = {"reference": 24, "floor": 40, "samples": 40, "pca_gaussian": 40, "untrained_network": 40}
    for found in read(results / "features.npz"):
        assert found.counts == counts
        assert {name: len(values) for name, values in found.features.items()} == counts
        assert {name: len(values) for name, values in found.probabilities.items()} == counts


def test_features_are_read_as_they_were_written(tmp_path):
    values = {name: np.random.default_rng(0).normal(size=(3, 2)) for name in ("reference", "samples")}
    groups = {name: np.array([0, 0, 1]) for name in values}
    about = About("probe", "1", "00ff", False, ("a", "b"), "")
    write(tmp_path / "features.npz", [FeatureSet(about, values, values, groups)])
    (found,) = read(tmp_path / "features.npz")
    assert found.about == about
    for name, expected in values.items():
        np.testing.assert_array_equal(found.features[name], expected)
        np.testing.assert_array_equal(found.probabilities[name], expected)
        np.testing.assert_array_equal(found.groups[name], groups[name])


@pytest.mark.parametrize("space", ["probe", "radiomics"])
def test_distances_say_what_they_are(results, space):
    found = read_json(results / "fid.json")
    assert found["comparable_with_published_fid"] is False
    assert found["dataset"] == {"title": "toy", "phantom": True, "note": "Computed phantoms, not patients."}
    assert found["small"] is True
    assert found["small_note"].startswith("24 images are fewer than 2048")
    assert found["extractors"][space]["metric"] == f"Frechet distance in {space} features"
    assert found["extractors"][space]["metric"] in found["metric"]
    weights = sha256(results / "probe.safetensors") if space == "probe" else None
    assert found["extractors"][space]["extractor"]["weights_sha256"] == weights


@pytest.mark.parametrize("space", ["probe", "radiomics"])
def test_distances_are_ordered_and_inside_their_intervals(results, space):
    found = read_json(results / "fid.json")["extractors"][space]
    for metric in ("frechet_distance", "kernel_distance"):
        values = found[metric]
        for name in ("samples", "floor", "pca_gaussian", "untrained_network"):
            low, high = values[name]["interval"]
            assert low < values[name]["value"] < high
        assert values["samples"]["value"] < values["untrained_network"]["value"]
        assert values["floor"]["value"] < values["pca_gaussian"]["value"]
    frechet = found["frechet_distance"]
    ratio = frechet["samples"]["value"] / frechet["untrained_network"]["value"]
    assert frechet["samples_over_untrained_network"] == pytest.approx(ratio, rel=1e-4)
    assert frechet["floor"]["value"] > 0


def test_verdicts_are_sentences_from_the_differences(results):
    found = read_json(results / "fid.json")
    assert len(found["verdicts"]) == 7
    assert found["verdicts"][-1] == "3 of 40 are copies."
    assert (found["copies"]["count"], found["copies"]["of"]) == (3, 40)
    assert (
        "Frechet distance of the samples, beside that of the untrained network: "
        "smaller in probe and radiomics features." in found["verdicts"]
    )


def test_verdicts_in_words():
    def space(low, high):
        differences = {f"samples_minus_{other}": {"interval": [low, high]} for other in fid.WORDS}
        return {"frechet_distance": differences, "kernel_distance": differences}

    said = fid.verdicts({"probe": space(-2, -1), "radiomics": space(-1, 1)})[0]
    assert said.endswith("(the floor): smaller in probe features; not told apart in radiomics features.")
    assert fid.verdicts({"probe": space(1, 2)})[0].endswith("larger in probe features.")


def test_inception_score_is_named_and_bounded(results):
    found = read_json(results / "is.json")
    assert found["extractors"]["probe"]["metric"] == "Inception score of probe's classes, 2 classes, upper bound 2"
    for space in found["extractors"].values():
        for name in ("reference", "floor", "samples", "pca_gaussian", "untrained_network"):
            assert 1 <= space[name]["value"] <= 2
            assert space[name]["splits"] == 10
    assert found["extractors"]["probe"]["reference"]["value"] > 1.8
    assert found["small"] is True


@pytest.mark.parametrize(("published", "name"), [(True, "FID"), (False, "Frechet distance in inception features")])
def test_only_the_published_network_gives_an_fid(published, name):
    generator = np.random.default_rng(0)
    values = {key: generator.normal(size=(12, 3)).astype(np.float32) for key in ("reference", *SETS)}
    about = About("inception", "1", "00ff", published, ("a", "b"), "")
    groups = {key: np.arange(12) for key in values}
    chances = {key: np.full((12, 2), 0.5) for key in values}
    spaces = [FeatureSet(about, values, chances, groups)]
    manifest = {"dataset": "toy", "origin": "phantom"}
    found = fid.distances(spaces, manifest, COPIES, Evaluate(bootstrap=5, kid_subset=5, kid_subsets=2))
    assert found["metric"] == found["extractors"]["inception"]["metric"] == name
    assert found["comparable_with_published_fid"] is published
    score = inception_score.scores(spaces, manifest, Evaluate(bootstrap=5))
    assert score["comparable_with_published_inception_score"] is published
