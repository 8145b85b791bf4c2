"""The comparison of all arms, of predictions whose quality is known."""

import csv
import json

import numpy as np
import pytest
from scipy import stats

from scansynth.downstream.augmentation import main
from scansynth.downstream.report import HARMS, HELPS, NO_GAIN, OPEN, verdict
from scansynth.files import read_json

PATIENTS, SEEDS = 300, 3
QUALITY = {"real": 1.0, "classical": 1.3, "mixed_1": 2.6, "synthetic": 0.2, "oversampled": 1.3}


def predictions(folder, quality, fraction="0.1", patients=PATIENTS):
    """Files of classifiers, at a fraction, that tell Mass with this distance between its means, and Hernia not."""
    random = np.random.default_rng(0)
    shown, hard = np.arange(patients) % 3 == 0, random.normal(size=patients)
    paths = []
    for arm, distance in quality.items():
        for seed in range(SEEDS):
            own = np.random.default_rng([seed, len(arm)]).normal(0, 0.3, patients)
            scores = stats.norm.cdf(hard + own + distance * (shown - 0.5))
            about = {"arm": arm, "seed": seed, "classes": ["Mass", "Hernia"], "chosen": 10, "real": 90, "synthetic": 5}
            about |= {"patients": 40, "shown": {"Mass": 30, "Hernia": 2}, "fraction": float(fraction)}
            paths.append(folder / f"{fraction}_{arm}_{seed}.npz")
            np.savez(
                paths[-1],
                about=json.dumps(about),
                test=np.stack([scores, np.full(patients, 0.1)], 1).astype(np.float32),
                test_ids=np.array([f"i{i}" for i in range(patients)]),
            )
    return paths


def run(folder, paths, origin="phantom", patients=PATIENTS, **options):
    rows = [["id", "patient", "split", "findings"]]
    for i in range(patients):
        found = "|".join(["Mass"] * (i % 3 == 0) + ["Hernia"] * (i < 3)) or "None"
        rows.append([f"i{i}", f"p{i}", "test", found])
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    manifest = {"dataset": "toy", "origin": origin, "no_finding": "None"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    settings = {"task": {}, "arm": {}, "augmentation": {"bootstrap": 200, **options}}
    outputs = {"report": "report.json", "figures": "figures.csv", "plot": "plot.svg"}
    words = ["--settings", json.dumps(settings), "--arms", *map(str, paths)]
    words += ["--table", str(folder / "table.csv"), "--manifest", str(folder / "manifest.json")]
    words += [word for key, name in outputs.items() for word in (f"--{key}", str(folder / name))]
    main(words)
    return read_json(folder / "report.json")


@pytest.fixture
def found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return run(tmp_path, predictions(tmp_path, QUALITY))


def test_better_worse_and_equal_arms_are_told(found):
    arms = found["fractions"]["0.1"]["arms"]
    beside = {arm: values["beside"]["classical"] for arm, values in arms.items() if "classical" in values["beside"]}
    assert list(beside) == ["mixed_1", "synthetic", "oversampled"]
    assert [one["verdict"] for one in beside.values()][:2] == [HELPS, HARMS]
    # The distance between normal distributions of this spread has a known area.
    for arm, distance in QUALITY.items():
        expected = stats.norm.cdf(distance / np.sqrt(2 * 1.09))
        assert arms[arm]["auroc"]["value"] == pytest.approx(expected, abs=0.06)
        low, high = arms[arm]["auroc"]["interval"]
        assert low < arms[arm]["auroc"]["value"] < high and len(arms[arm]["auroc"]["seeds"]) == SEEDS
    low, high = beside["oversampled"]["interval"]
    assert low < 0 < high and beside["oversampled"]["p_holm"] > 0.05
    assert list(arms["classical"]["beside"]) == ["real"] and arms["real"]["beside"] == {}
    assert all(one["p_holm"] >= one["p"] and one["detectable"] > 0 for one in beside.values())


def test_a_class_of_few_patients_has_a_reason_and_no_figures(found):
    at = found["fractions"]["0.1"]
    assert "fewer than 10 test patients" in at["classes"]["Hernia"]["reason"]
    assert at["classes"]["Hernia"]["patients"] == 3 and at["classes"]["Mass"]["reason"] is None
    assert list(at["arms"]["real"]["classes"]) == ["Mass"]
    assert at["arms"]["real"]["classes"]["Mass"]["auroc"] == at["arms"]["real"]["auroc"]


def test_the_conclusion_names_what_helps_and_that_phantoms_are_none_of_it(found):
    assert found["conclusion"][0] == (
        "Synthetic images help: they gain over classical augmentation and real images alone at 10% of the training "
        "patients."
    )
    assert any("mixed_1" in sentence and "Better" in sentence for sentence in found["conclusion"])
    assert any("synthetic" in sentence and "Worse" in sentence for sentence in found["conclusion"])
    (better,) = (sentence for sentence in found["conclusion"] if "Better than real images alone" in sentence)
    (worse,) = (sentence for sentence in found["conclusion"] if "Worse than real images alone" in sentence)
    assert "mixed_1" in better and "synthetic" not in better and "synthetic" in worse
    assert "phantoms" in found["conclusion"][-1]


@pytest.mark.parametrize(
    ("patients", "relevant", "words"), [(PATIENTS, 0.2, "do not help"), (60, 0.001, "too small to exclude")]
)
def test_no_help_is_told_from_too_small_an_experiment(tmp_path, monkeypatch, patients, relevant, words):
    monkeypatch.chdir(tmp_path)
    paths = predictions(tmp_path, {"real": 1.0, "classical": 1.3, "oversampled": 1.3}, patients=patients)
    found = run(tmp_path, paths, "download", patients, relevant=relevant)
    assert words in found["conclusion"][0] and "phantoms" not in found["conclusion"][-1]


def test_to_beat_a_classical_augmentation_that_harms_is_no_help(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run(tmp_path, predictions(tmp_path, {"real": 2.6, "classical": 1.0, "oversampled": 2.6}))
    assert found["fractions"]["0.1"]["arms"]["oversampled"]["beside"]["classical"]["verdict"] == HELPS
    assert (
        found["conclusion"][0].startswith("Synthetic images do not help")
        and "real images alone" in found["conclusion"][0]
    )


def test_without_enough_patients_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = predictions(tmp_path, {"real": 1.0, "classical": 1.3, "mixed_1": 1.3}, patients=12)
    found = run(tmp_path, paths, patients=12)
    assert "too few test patients" in found["conclusion"][0]
    assert found["fractions"]["0.1"]["arms"]["mixed_1"]["auroc"] is None


def test_correction_is_for_all_arms_at_all_fractions(tmp_path, monkeypatch, found):
    monkeypatch.chdir(tmp_path)
    twice = run(tmp_path, [path for fraction in ("0.1", "1") for path in predictions(tmp_path, QUALITY, fraction)])
    once, again = (each["fractions"]["0.1"]["arms"]["synthetic"]["beside"]["classical"] for each in (found, twice))
    assert once["p"] == again["p"] and once["p_holm"] == pytest.approx(3 * once["p"], rel=1e-2)
    assert again["p_holm"] == pytest.approx(6 * once["p"], rel=1e-2) and again["detectable"] > once["detectable"]


def test_arms_of_different_images_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    paths = predictions(tmp_path, QUALITY)
    with np.load(paths[-1]) as file:
        np.savez(paths[-1], **{**file, "test_ids": file["test_ids"][::-1]})
    with pytest.raises(SystemExit):
        run(tmp_path, paths)
    assert "oversampled was asked about other test images" in capsys.readouterr().err


def test_table_and_plot_have_every_arm_and_fraction(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [path for fraction in ("0.1", "1") for path in predictions(tmp_path, QUALITY, fraction)]
    found = run(tmp_path, paths)
    rows = list(csv.DictReader((tmp_path / "figures.csv").open()))
    mean = {
        (row["fraction"], row["arm"]): float(row["value"])
        for row in rows
        if (row["class"], row["metric"]) == ("mean", "auroc")
    }
    assert mean == {
        (fraction, arm): values["auroc"]["value"]
        for fraction, at in found["fractions"].items()
        for arm, values in at["arms"].items()
    }
    assert len(mean) == 2 * len(QUALITY)
    drawn = (tmp_path / "plot.svg").read_text()
    assert all(arm in drawn for arm in QUALITY) and "100%: 40 patients" in drawn
    assert run(tmp_path, paths[::-1])["fractions"] == found["fractions"]  # in whatever order they come


@pytest.mark.parametrize(
    ("difference", "interval", "p", "expected"),
    [
        (0.05, (0.01, 0.09), 0.01, HELPS),
        (-0.05, (-0.09, -0.01), 0.01, HARMS),
        (0.0, (-0.01, 0.01), 0.9, NO_GAIN),
        (0.0, (-0.03, 0.03), 0.9, OPEN),
        (0.01, (0.005, 0.015), 0.001, NO_GAIN),  # a gain, and too small to matter
        (0.05, (0.01, 0.09), 0.06, OPEN),  # significant before the correction only
    ],
)
def test_verdicts(difference, interval, p, expected):
    assert verdict(difference, interval, p, 0.02) == expected
