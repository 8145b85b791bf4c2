"""From a store and synthetic images to the result files, by the stages' command lines."""

import json

import numpy as np
import pytest

from scansynth.errors import ScansynthError
from scansynth.evaluate import features, fid, inception_score, probe
from scansynth.evaluate.featureset import About, FeatureSet, read, write
from scansynth.files import read_json, sha256

SETTINGS = json.dumps({"evaluate": {"bootstrap": 40, "kid_subset": 20, "kid_subsets": 10}})


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
    synthetic = ["--samples", "samples.npy", "--pca", "pca.npy", "--untrained", "untrained.npy"]
    extract = ["--settings", SETTINGS, *store, *synthetic, "--weights", "probe.safetensors"]
    features.main([*extract, "--features", "features.npz"])
    features.main([*extract, "--features", "again.npz"])
    for name in ("fid", "fid_again"):
        fid.main(["--settings", SETTINGS, "--features", "features.npz", *manifest, "--distances", f"{name}.json"])
    inception_score.main(["--settings", SETTINGS, "--features", "features.npz", *manifest, "--scores", "is.json"])
    return folder


def test_the_same_images_give_the_same_bytes(results):
    assert sha256(results / "features.npz") == sha256(results / "again.npz")
    assert sha256(results / "fid.json") == sha256(results / "fid_again.json")


def test_the_reference_is_the_test_split_and_the_floor_is_of_training(results, toy_store):
    found = {each.about.name: each for each in read(results / "features.npz")}
    assert found["probe"].counts == {
        "reference": 24,
        "floor": 40,
        "samples": 40,
        "pca_gaussian": 40,
        "untrained_network": 40,
    }
    sets = features.image_sets(toy_store, {"samples": np.zeros((40, 1, 64, 64), np.uint8)})
    np.testing.assert_array_equal(sets["reference"], toy_store.pixels[toy_store.indices("test")])
    train = {image.tobytes() for image in toy_store.pixels[toy_store.indices("train")]}
    assert len({image.tobytes() for image in sets["floor"]} & train) == 40


def test_features_are_read_as_they_were_written(tmp_path):
    values = {name: np.random.default_rng(0).normal(size=(3, 2)) for name in ("reference", "samples")}
    about = About("probe", "1", "00ff", ("a", "b"), "")
    write(tmp_path / "features.npz", [FeatureSet(about, values, values)])
    (found,) = read(tmp_path / "features.npz")
    assert found.about == about
    for name, expected in values.items():
        np.testing.assert_array_equal(found.features[name], expected)
        np.testing.assert_array_equal(found.probabilities[name], expected)


@pytest.mark.parametrize("space", ["probe", "radiomics"])
def test_distances_say_what_they_are(results, space):
    found = read_json(results / "fid.json")
    assert found["comparable_with_published_fid"] is False
    assert found["dataset"] == {"title": "toy", "phantom": True, "note": "Computed phantoms, not patients."}
    assert found["small"] is True
    assert found["small_note"].startswith("24 images are fewer than 2048")
    assert found["extractors"][space]["metric"] == f"Frechet distance in {space} features"
    assert "probe and radiomics" in found["metric"]
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
    assert len(found["verdicts"]) == 6
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


@pytest.mark.parametrize("shape", [(40, 1, 32, 32), (40, 3, 64, 64), (1, 1, 64, 64)])
def test_synthetic_images_of_another_kind_are_refused(shape, toy_store, tmp_path):
    np.save(tmp_path / "samples.npy", np.zeros(shape, np.uint8))
    with pytest.raises(ScansynthError, match=r"samples\.npy"):
        features.load_synthetic(tmp_path / "samples.npy", toy_store)
