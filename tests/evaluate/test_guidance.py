"""The sweep of the guidance scale: what is chosen of planted sweeps, and the stages on tiny data."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from scansynth import model, synthesise_guided
from scansynth.evaluate import guidance, probe, reader
from scansynth.evaluate.bootstrap import Estimate
from scansynth.files import read_json, sha256
from scansynth.sections import Diffusion, Guidance, Network
from scansynth.store import read_table
from scansynth.synthesise import draw_conditions, synthesise, wanted

NETWORK = Network(base_channels=32, multipliers=(1,), attention=(False,), wavelet_levels=2)
SCALES = (1, 2, 4)
SECTIONS = {
    "dataset": None,
    "sample": {"steps": 2, "batch": 4},
    "guidance": {"scales": SCALES, "count": 40},
    "evaluate": {"bootstrap": 20, "kid_subset": 10, "kid_subsets": 4},
    "anatomy": {"domain": "none"},
}


def planted(distances, spread=0.01):
    """Distances whose replicates share their deviations, as those beside one reference do for the most part."""
    shared, own = np.random.default_rng(0), np.random.default_rng(1)
    common = shared.normal(0, 1, 200)
    return {s: Estimate(d, d + common + own.normal(0, spread, 200)) for s, d in distances.items()}


@pytest.mark.parametrize(
    ("distances", "fidelities", "chosen", "near"),
    [
        # Labels are read better and better, but at 4 the images are too far.
        ({1: 1.0, 2: 1.1, 4: 2.0}, {1: 0.6, 2: 0.8, 4: 0.99}, 2, [1, 2]),
        # The nearest are not those with the least guidance.
        ({1: 2.0, 2: 1.0, 4: 1.2}, {1: 0.99, 2: 0.8, 4: 0.7}, 2, [2, 4]),
        # Guidance that gains nothing is not taken.
        ({1: 1.0, 2: 1.0, 4: 1.0}, {1: 0.8, 2: 0.8, 4: 0.8}, 1, [1, 2, 4]),
        # A scale of which no class could be read is not chosen, unless that is so of all.
        ({1: 1.0, 2: 1.1, 4: 1.2}, {1: None, 2: 0.5, 4: None}, 2, [1, 2, 4]),
        ({1: 1.1, 2: 1.0, 4: 1.2}, {1: None, 2: None, 4: None}, 2, [1, 2, 4]),
    ],
)
def test_the_choice(distances, fidelities, chosen, near):
    assert guidance.choose(planted(distances), 0.5, fidelities, None, tolerance=0.25) == (chosen, near)


def test_distances_that_are_not_told_apart_are_near():
    far = {1: 1.0, 2: 1.1}
    assert guidance.choose(planted(far, spread=0.01), 0.5, {1: 0.5, 2: 0.9}, 0.95, tolerance=0) == (1, [1])
    assert guidance.choose(planted(far, spread=0.2), 0.5, {1: 0.5, 2: 0.9}, 0.95, tolerance=0) == (2, [1, 2])


def test_what_is_as_near_as_real_images_is_near():
    distances, fidelities = planted({1: 1.0, 2: 1.1, 4: 1.3}), {1: 0.5, 2: 0.7, 4: 0.9}
    assert guidance.choose(distances, 1.1, fidelities, 0.95, tolerance=0) == (2, [1, 2])


@pytest.mark.parametrize(("enough", "chosen"), [(0.75, 2), (0.8, 2), (0.85, 4), (0.99, 4)])
def test_nothing_is_gained_by_labels_that_are_read_better_than_those_of_real_images(enough, chosen):
    distances, fidelities = planted(dict.fromkeys(SCALES, 1.0)), {1: 0.6, 2: 0.8, 4: 0.9}
    assert guidance.choose(distances, 0.5, fidelities, enough, tolerance=0) == (chosen, [1, 2, 4])


def test_scales_rise():
    with pytest.raises(ValueError, match="have to rise"):
        Guidance(scales=(2, 1))


def shown(rows, seed, dim=0):
    """Images as ``toy_images`` makes them, of what the rows ask for."""
    generator = np.random.default_rng(seed)
    images = generator.normal(90, 12, (len(rows), 1, 16, 16)).repeat(4, -1).repeat(4, -2)
    images += generator.normal(0, 4, images.shape)
    for image, row in zip(images, rows, strict=True):
        left = 4 if row["findings"] == "Bright" else 36
        image[:, 20:44, left : left + 24] += 60
    return np.clip(images - dim, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(toy_path, toy_store, tmp_path_factory):
    """A sweep in which labels are seen at 2 and 4, the images of 4 are dark, and those of 1 show anything."""
    folder = tmp_path_factory.mktemp("guidance")
    known = model.vocabulary(toy_store.manifest)
    torch.manual_seed(0)
    denoiser = model.build((1, 64, 64), known, NETWORK, Diffusion())
    train = toy_store.indices("train")
    pixels = torch.from_numpy(toy_store.pixels[train]).float() / 127.5 - 1
    denoiser.prior.fit(pixels, torch.from_numpy(toy_store.conditions[train]))
    about = {"network": NETWORK.model_dump(mode="json"), "diffusion": Diffusion().model_dump(mode="json")}
    description = about | {"shape": [1, 64, 64], "no_finding": "Dark", "calibrate": {}} | asdict(known)
    rows = draw_conditions(toy_store.table, 40, 1, "val")
    images = {1: shown(rows[::-1], 2), 2: shown(rows, 2), 4: shown(rows, 2, dim=60)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        model.save(folder / "model.safetensors", denoiser, description)
        for scale, array in images.items():
            np.save(f"{scale}.npy", array)
        files = store_files(toy_path)
        probe.main(["--settings", '{"probe": {"steps": 30}}', *files, "--weights", "probe.safetensors"])
        settings = '{"reader": {"steps": 60, "batch": 16}}'
        reader.main(["--settings", settings, *files, "--weights", "reader.safetensors"])
        for again in ("", "again_"):
            run(files, f"{again}guidance")
    return folder


def store_files(path):
    return [
        "--pixels", str(path), "--table", str(path.with_suffix(".csv")), "--manifest", str(path.with_suffix(".json"))
    ]  # fmt: skip


def run(files, name, swept=("1.npy", "2.npy", "4.npy")):
    networks = ["--model", "model.safetensors", "--weights", "probe.safetensors", "--reader", "reader.safetensors"]
    outputs = ["--report", f"{name}.json", "--plot", f"{name}.svg"]
    outputs += ["--samples", f"{name}_chosen.npy", "--conditions", f"{name}_chosen.csv"]
    guidance.main(["--settings", json.dumps(SECTIONS), *files, *networks, "--swept", *swept, *outputs])


def test_the_same_images_give_the_same_bytes(folder):
    for name in ("guidance.json", "guidance.svg", "guidance_chosen.npy", "guidance_chosen.csv"):
        assert sha256(folder / name) == sha256(folder / f"again_{name}")


def test_the_fresh_samples_are_kept_with_what_they_were_asked_for(folder, toy_store):
    pixels, rows = np.load(folder / "guidance_chosen.npy"), read_table(folder / "guidance_chosen.csv")
    assert pixels.shape == (40, 1, 64, 64)
    assert rows == draw_conditions(toy_store.table, 40, Guidance().seed + 1, "test")


def test_the_scale_is_that_at_which_labels_are_seen_and_images_are_near(folder):
    found = read_json(folder / "guidance.json")
    assert found["chosen"]["scale"] == 2 and 4 not in found["chosen"]["among"]
    areas = {scale: found["validation"]["label_fidelity"][f"{scale}"]["mean_auroc"] for scale in SCALES}
    assert areas[1] < 0.8 < areas[2]
    distances = {scale: found["validation"]["frechet_distance"][f"{scale}"]["value"] for scale in SCALES}
    assert distances[2] < distances[4] / 2
    assert found["validation"]["label_fidelity"]["reference"]["classes"]["Bright"]["value"] > 0.95


def test_what_is_reported_is_of_other_images_and_patients(folder):
    found = read_json(folder / "guidance.json")
    assert found["validation"]["images"]["reference"] == 16 and found["sets"]["reference"]["images"] == 24
    assert found["validation"]["seed"] != found["test"]["seed"]
    assert set(found["test"]["frechet_distance"]) == {"samples", "floor"}
    assert set(found["test"]["label_fidelity"]) == {"reference", "samples", "floor"}
    assert found["small"] is True and all(sentence.endswith(".") for sentence in found["verdicts"])
    assert "cardiomegaly" not in found["test"] and found["segmenter"] is None


def test_images_that_are_not_the_sweeps_are_refused(folder, toy_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    np.save("few.npy", np.zeros((3, 1, 64, 64), np.uint8))
    for swept, message in ((("1.npy",), "1 files for 3 scales"), (("1.npy", "few.npy", "4.npy"), "not 40 images")):
        with pytest.raises(SystemExit):
            run(store_files(toy_path), "refused", swept)
        assert message in capsys.readouterr().err
    assert not (folder / "refused.json").exists()


def guided(folder, toy_path, scale):
    settings = {"sample": {"steps": 5, "batch": 4}, "guidance": {"count": 6, "seed": 3}}
    files = ["--model", "model.safetensors", "--table", str(toy_path.with_suffix(".csv"))]
    arguments = ["--settings", json.dumps(settings), "--scale", f"{scale}", *files]
    synthesise_guided.main([*arguments, "--samples", f"guided_{scale}.npy"])
    return np.load(folder / f"guided_{scale}.npy")


def test_images_at_a_scale_are_those_of_validation_rows_with_the_same_noise(folder, toy_path, toy_store, monkeypatch):
    monkeypatch.chdir(folder)
    found = {scale: guided(folder, toy_path, scale) for scale in (1, 3)}
    assert (found[1] != found[3]).any()
    denoiser, description = model.load(folder / "model.safetensors")
    rows = draw_conditions(toy_store.table, 6, 3, "val")
    options = synthesise_guided.Sample(steps=5, batch=4, count=6, seed=3, guidance=3)
    denoiser, _ = model.on_best_device(denoiser)
    np.testing.assert_array_equal(found[3], synthesise(denoiser, *wanted(description, rows), options))


def test_conditions_are_those_of_the_split(toy_store):
    table = [row | {"findings": row["split"]} for row in toy_store.table]
    for split in ("train", "val", "test"):
        assert {row["findings"] for row in draw_conditions(table, 30, 0, split)} == {split}


def test_a_vocabulary_that_lacks_what_validation_shows_is_named(folder, toy_path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    table = tmp_path / "toy.csv"
    table.write_text(toy_path.with_suffix(".csv").read_text().replace("Bright", "Odd"))
    files = ["--model", "model.safetensors", "--table", str(table), "--samples", "odd.npy"]
    with pytest.raises(SystemExit):
        synthesise_guided.main(["--settings", '{"sample": {}, "guidance": {}}', "--scale", "2", *files])
    assert "the finding 'Odd' is not one that the model knows" in capsys.readouterr().err
