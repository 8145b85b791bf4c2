"""From a store and synthetic images to the result file and the picture, by the stage's command line."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from scansynth.evaluate import memorization
from scansynth.evaluate.classifier import About, Classifier, save
from scansynth.evaluate.memorization import share, symmetries_of
from scansynth.files import read_json, sha256
from scansynth.store import open_store

SETTINGS = '{"evaluate": {"bootstrap": 20}, "memorization": {"false_alarms": 0.01}}'


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("probe") / "probe.safetensors"
    save(path, Classifier(1, 16, 2), About(1, 16, "labels", ("a", "b"), None, None))
    return path


def audited(folder, store, probe, samples):
    """The result of the stage for these samples; both baselines are noise."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 1, 64, 64), dtype=np.uint8)
    options = ["--settings", SETTINGS, "--weights", str(probe)]
    for name, images in {"samples": samples, "pca": noise, "untrained": noise}.items():
        np.save(folder / f"{name}.npy", images)
        (folder / f"{name}.csv").write_text("findings,view\n" + "Bright,PA\n" * len(images), encoding="utf-8")
        conditions = "conditions" if name == "samples" else f"{name}_conditions"
        options += [f"--{name}", str(folder / f"{name}.npy"), f"--{conditions}", str(folder / f"{name}.csv")]
    for name, suffix in {"pixels": ".npy", "table": ".csv", "manifest": ".json"}.items():
        options += [f"--{name}", str(store.with_suffix(suffix))]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        memorization.main([*options, "--report", "memorization.json", "--pairs", "memorization.png"])
    return folder


@pytest.fixture(scope="module")
def honest(toy_path, toy_samples, probe, tmp_path_factory):
    return audited(tmp_path_factory.mktemp("honest"), toy_path, probe, toy_samples)


@pytest.fixture(scope="module")
def copying(toy_path, toy_samples, probe, tmp_path_factory):
    """Every fourth of the samples is one of two training images, mirrored."""
    samples = toy_samples.copy()
    samples[::8], samples[4::8] = (np.load(toy_path)[i, :, :, ::-1] for i in (5, 9))
    return audited(tmp_path_factory.mktemp("copying"), toy_path, probe, samples)


def test_samples_that_copy_nobody(honest):
    found = read_json(honest / "memorization.json")["found"]
    for name in ("samples", "pca_gaussian", "untrained_network"):
        assert found[name]["copies"]["count"] == 0
        assert found[name]["training_patients"] == {"copied": 0, "of": 48, "share": 0}
    assert found["samples"]["copies"]["of"] == 40
    assert found["samples"]["copies"]["interval"] == pytest.approx([0, 0.0881], abs=1e-4)
    assert found["held_out"]["copies"]["of"] == found["held_out"]["patients"]["of"] == 40
    assert found["held_out"]["copies"]["share"] <= 0.05
    assert found["samples"]["correlation"]["50%"] < 0.9


def test_samples_that_copy_two_patients(copying):
    result = read_json(copying / "memorization.json")
    samples = result["found"]["samples"]
    assert samples["copies"]["count"] == samples["by_correlation"] == 10
    assert samples["training_patients"] == {"copied": 2, "of": 48, "share": pytest.approx(2 / 48, rel=1e-5)}
    assert samples["correlation"]["100%"] == pytest.approx(1, abs=1e-3)
    assert result["verdicts"][0].startswith("10 of 40 synthetic images (25.0%; ")
    assert result["verdicts"][0].endswith("of 2 of 48 training patients: more than false alarms explain.")


def test_planted_copies_are_found_in_every_run(honest, copying):
    for folder in (honest, copying):
        planted = read_json(folder / "memorization.json")["planted"]
        for kind in ("exact", "shifted", "mirrored", "noisy"):
            assert planted[kind]["share"] == 1
            assert planted[kind]["of"] == 48
        assert planted["blended"]["share"] > 0.5


def test_figures_say_how_they_came_about(honest, probe):
    result = read_json(honest / "memorization.json")
    assert result["dataset"]["title"] == "toy"
    assert result["sets"]["samples"]["images"] == 40
    assert "Clopper-Pearson" in result["interval"]["method"]
    search = result["search"]
    assert (search["training_images"], search["symmetries"], search["largest_shift_in_pixels"]) == (48, 2, 4)
    assert search["probe_sha256"] == sha256(probe)
    assert search["thresholds"]["held_out_images"] == 40
    assert search["thresholds"]["false_alarms"] == 0.01
    low, high = result["nearer_to_training"]["samples"]["interval"]
    assert 0 <= low < high <= 1
    said = " ".join(result["verdicts"])
    for word in ("synthetic images", "held-out", "PCA Gaussian", "untrained network", "guarantee", "lesion"):
        assert word in said


def test_planted_copies_that_are_missed_are_said_to_be():
    counted = {"count": 0, "of": 40, "share": 0.0, "interval": [0.0, 0.09]}
    found = {name: {"copies": counted} for name in ("samples", "held_out", "pca_gaussian", "untrained_network")}
    found["samples"]["training_patients"] = {"copied": 0, "of": 9}
    planted = {kind: counted | {"share": 1.0} for kind in ("exact", "shifted", "mirrored", "noisy", "blended")}
    names = ("samples", "held_out", "pca_gaussian", "samples_minus_held_out")
    nearer = {name: {"value": 0.5, "interval": [-0.1, 0.1]} for name in names}
    missed = "Planted copies that it should find are missed"
    assert missed not in " ".join(memorization.verdicts(found, planted, nearer, 0.005))
    planted["noisy"] = counted | {"share": 0.98}
    assert f"{missed} (noisy)" in " ".join(memorization.verdicts(found, planted, nearer, 0.005))


def test_the_same_inputs_give_the_same_bytes(honest, toy_path, toy_samples, probe, tmp_path):
    again = audited(tmp_path, toy_path, probe, toy_samples)
    for name in ("memorization.json", "memorization.png"):
        assert sha256(again / name) == sha256(honest / name)


def test_the_picture_has_the_copies_first(copying):
    picture = np.asarray(Image.open(copying / "memorization.png"))
    # The first pair, both at twice their size: the mirrored copy is laid on its source.
    pair = picture[26 : 26 + 128, 2:260]
    np.testing.assert_array_equal(pair[16:112, 16:112], pair[16:112, 130 + 16 : 130 + 112])
    assert (copying / "memorization.record.json").is_file()


def test_too_few_held_out_patients_are_an_error(toy_path, toy_samples, probe, tmp_path, capsys):
    store = tmp_path / toy_path.name
    for suffix in (".npy", ".json"):
        shutil.copy(toy_path.with_suffix(suffix), store.with_suffix(suffix))
    rows = toy_path.with_suffix(".csv").read_text(encoding="utf-8").splitlines()
    one = [",".join([*row.split(",")[:1], "x", *row.split(",")[2:]]) for row in rows[49:]]
    store.with_suffix(".csv").write_text("\n".join([*rows[:49], *one]), encoding="utf-8")
    assert len(open_store(store).table) == 88
    with pytest.raises(SystemExit):
        audited(tmp_path, store, probe, toy_samples)
    assert "40 images of 1 held-out patients" in capsys.readouterr().err


def test_colour_images_may_be_turned():
    assert symmetries_of(["red", "green", "blue"]) == 8
    assert symmetries_of(["gray"]) == symmetries_of(["t1", "t2", "flair"]) == 2


def test_a_share_has_its_exact_interval():
    # Clopper and Pearson: 0 of n has the upper end 1 - 0.025**(1/n).
    none = share(0, 20)
    assert (none["count"], none["of"], none["share"]) == (0, 20, 0)
    assert none["interval"] == pytest.approx([0, 1 - 0.025 ** (1 / 20)], abs=1e-5)
    assert share(5, 10)["interval"] == pytest.approx([0.1871, 0.8129], abs=1e-4)
