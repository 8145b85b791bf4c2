"""How far measures are from the reference's, and the report of a small set."""

import json

import numpy as np
import pytest

from scansynth.evaluate import reader
from scansynth.evaluate.anatomy import __main__ as anatomy
from scansynth.evaluate.anatomy import chest
from scansynth.evaluate.anatomy.domains import of_domain
from scansynth.evaluate.anatomy.summary import compared, contrast, summarised
from scansynth.evaluate.anatomy.words import verdicts
from scansynth.evaluate.imagesets import SETS, ImageSet
from scansynth.files import read_json, sha256

SETTINGS = json.dumps({"dataset": None, "evaluate": {"bootstrap": 20}, "anatomy": {"domain": "none"}})


def draws(n, replicates=100, seed=0):
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), replicates).astype(float)


def test_a_shift_of_two_deviations_is_a_distance_of_two():
    values = np.random.default_rng(0).normal(5, 3, 400)
    sets = {"reference": values, "floor": values, "samples": values + 2 * values.std(ddof=1)}
    found = compared(sets, {name: draws(400, seed=i) for i, name in enumerate(sets)})
    assert found["samples"]["distance"]["value"] == pytest.approx(2, abs=1e-5)
    low, high = found["samples"]["distance"]["interval"]
    assert 1.7 < low < 2 < high < 2.3
    assert found["floor"]["distance"]["value"] == 0
    assert found["samples_minus_floor"]["interval"][0] > 1.5
    assert found["samples"]["mean"] - found["reference"]["mean"] == pytest.approx(2 * values.std(ddof=1), abs=1e-3)


def test_what_cannot_be_measured_is_counted_and_left_out():
    values = np.array([1.0, np.nan, 2, 3, 4, 5, np.nan])
    found = summarised(values)
    assert (found["measured"], found["not_measured"], found["mean"]) == (5, 2, 3)
    assert found["quantiles"]["0.5"] == 3
    sets = {"reference": np.arange(20.0), "floor": np.arange(20.0), "samples": np.array([1, 2, 3, np.nan, np.nan])}
    found = compared(sets, {name: draws(len(each)) for name, each in sets.items()})
    assert found["samples"]["mean"] is found["samples"]["distance"] is found["samples_minus_floor"] is None


def test_a_contrast_of_means_has_its_interval():
    values = np.random.default_rng(0).normal(0, 1, 300)
    shown = np.arange(300) % 3 == 0
    found = contrast(values + shown, shown, draws(300))
    assert (found["with"], found["without"]) == (100, 200)
    low, high = found["interval"]
    assert low < 1 < high and 0.3 < high - low < 0.8
    assert contrast(values, np.arange(300) < 3, draws(300))["value"] is None


def test_chests_are_measured_from_the_front_alone():
    rows = [{"view": view} for view in ("PA", "LATERAL", "AP", "", "LL")]
    images = ImageSet(np.arange(5, dtype=np.uint8).reshape(-1, 1, 1, 1), np.arange(5), rows, np.arange(5))

    def measure(pixels, channels):
        return {name: pixels[:, 0, 0, 0].astype(float) for name in chest.MEASURES}

    found = of_domain("chest", images, ["gray"], measure)
    np.testing.assert_array_equal(found["plausible"], [0, np.nan, 2, 3, np.nan])


@pytest.fixture(scope="module")
def report(toy_path, toy_store, toy_samples, tmp_path_factory):
    """The stage, run on samples that are as good as real, and on baselines that are dark and noise."""
    folder = tmp_path_factory.mktemp("anatomy")
    images = {
        "samples": toy_samples,
        "pca": toy_samples // 2,
        "untrained": np.random.default_rng(0).integers(0, 256, toy_samples.shape, dtype=np.uint8),
    }
    options = []
    for name, pixels in images.items():
        np.save(folder / f"{name}.npy", pixels)
        rows = "".join(f"{('No Finding', 'Bright')[i % 2]},PA\n" for i in range(len(pixels)))
        (folder / f"{name}.csv").write_text(f"findings,view\n{rows}", encoding="utf-8")
        conditions = "--conditions" if name == "samples" else f"--{name}_conditions"
        options += [f"--{name}", f"{folder}/{name}.npy", conditions, f"{folder}/{name}.csv"]
    store = ["--pixels", str(toy_path), "--table", str(toy_path.with_suffix(".csv"))]
    store += ["--manifest", str(toy_path.with_suffix(".json"))]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        reader.main(["--settings", '{"reader": {"steps": 60, "batch": 16}}', *store, "--weights", "reader.safetensors"])
        for again in ("", "again_"):
            outputs = ["--report", f"{again}anatomy.json", "--picture", f"{again}anatomy.svg"]
            anatomy.main(["--settings", SETTINGS, *store, *options, "--reader", "reader.safetensors", *outputs])
    return folder


def test_the_same_images_give_the_same_bytes(report):
    for name in ("anatomy.json", "anatomy.svg"):
        assert sha256(report / name) == sha256(report / f"again_{name}")


def test_good_samples_are_near_and_noise_is_far(report):
    found = read_json(report / "anatomy.json")
    for name in ("mean_level", "contrast", "fine_texture"):
        measure = found["measures"][name]
        assert set(measure) == {"reference", *SETS, "samples_minus_floor"}
        assert measure["samples"]["distance"]["value"] < 1 < measure["untrained_network"]["distance"]["value"]
    texture = found["texture"]
    assert (
        texture["histogram_distance"]["samples"]["value"] < 5 < texture["histogram_distance"]["pca_gaussian"]["value"]
    )
    assert texture["spectrum_deviation"]["untrained_network"]["value"] > 1


def test_labels_are_read_from_the_samples(report):
    sets = read_json(report / "anatomy.json")["label_fidelity"]["sets"]
    assert sets["reference"]["classes"]["Bright"]["value"] > 0.95
    assert sets["samples"]["classes"]["Bright"]["value"] > 0.95
    assert sets["untrained_network"]["classes"]["Bright"]["value"] < 0.8


def test_verdicts_are_sentences(report):
    found = read_json(report / "anatomy.json")
    assert verdicts(found) == found["verdicts"]
    assert any("curves (0.5 is chance): Bright 1.00" in sentence for sentence in found["verdicts"])
    found["cardiomegaly"] = {"samples": {"value": 0.1, "interval": [0.05, 0.15]}, "reference": {"value": 0.12}}
    found["measures"] |= dict.fromkeys(("plausible", "heart_on_left"), found["measures"]["mean_level"])
    assert any("are larger" in sentence and "+0.120" in sentence for sentence in verdicts(found))


@pytest.mark.parametrize(
    ("power", "said"),
    [
        ([0.5, 2 / 3, 0.75, 9.0], ["The power there is 63% of"]),
        ([1.1, 1.3, 1.2, 0.1], ["The power there is 120% of"]),
        ([1.04, 0.98, 1.0, 0.5], []),
    ],
)
def test_verdicts_say_how_far_the_texture_is_off(report, power, said):
    found = read_json(report / "anatomy.json")
    # The last frequency is beyond half the Nyquist frequency, and does not count.
    found["texture"]["power_ratio"] |= {"cycles_per_pixel": [0.05, 0.1, 0.25, 0.3], "samples": power}
    deviation = max(abs(value - 1) for value in power[:3])
    found["texture"]["spectrum_deviation"] |= {"samples": {"value": deviation}, "floor": {"value": 0.05}}
    assert [each[: each.index(" the held-out")] for each in verdicts(found) if "The power there" in each] == said
