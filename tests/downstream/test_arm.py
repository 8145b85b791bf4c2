"""Arms with generators whose worth is known: one that copies, one that makes noise, one that swaps the labels."""

import csv
import json

import numpy as np
import pytest

from scansynth.downstream.arm import main, phases
from scansynth.downstream.augmentation import at_fraction, compare, load
from scansynth.downstream.classifier import Images
from scansynth.downstream.task import Task
from scansynth.sections import Arm, Augmentation
from scansynth.sections import Task as Options

SETTINGS = {
    "task": {"target": "Effusion", "against": "absence"},
    "synthetic": {"images": 1000},
    "arm": {"steps": 80, "batch": 16, "size": 64},
}
SEEDS = 3


def run(chests, folder, arm, seed, samples=None, conditions=None):
    """What the arm's classifier says, handed a generator's images."""
    files = {"pixels": chests.path, "table": chests.path.with_suffix(".csv")}
    files |= {
        "manifest": chests.path.with_suffix(".json"),
        "predictions": folder / f"{samples and samples.stem}_{seed}.npz",
    }
    words = [word for key, path in files.items() for word in (f"--{key}", str(path))]
    words += ["--samples", str(samples), "--conditions", str(conditions)] if samples else []
    main(["--settings", json.dumps(SETTINGS), "--fraction", "1", "--arm", arm, "--seed", str(seed), *words])
    return load(files["predictions"])


def generator(folder, name, pixels, findings):
    """What a generator leaves: images, and what they were asked to show."""
    np.save(folder / f"{name}.npy", pixels)
    with (folder / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ("findings", "view"))
        writer.writeheader()
        writer.writerows({"findings": each, "view": ""} for each in findings)
    return folder / f"{name}.npy", folder / f"{name}.csv"


@pytest.fixture(scope="module")
def planted(chests, tmp_path_factory):
    """The figures of real images alone, beside arms that are handed known images."""
    folder = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train = [i for i, row in enumerate(chests.rows) if row["split"] == "train"]
        random = np.random.default_rng(0)
        pixels, findings = chests.pixels[train], [chests.rows[i]["findings"] for i in train]
        # Four times, each with labels of its own: those of one draw may go with something by chance.
        shuffled = [found for _ in range(4) for found in random.permutation(findings)]
        noise = random.integers(0, 256, pixels.shape, dtype=np.uint8)
        handed = {
            "real": ("real",),
            "copies": ("mixed_1", *generator(folder, "copies", pixels, findings)),
            "noise": ("synthetic", *generator(folder, "noise", noise, findings)),
            "shuffled": ("synthetic", *generator(folder, "shuffled", np.tile(pixels, (4, 1, 1, 1)), shuffled)),
        }
        arms = {
            name: [run(chests, folder, arm, seed, *files) for seed in range(SEEDS)]
            for name, (arm, *files) in handed.items()
        }
    arms["classical"] = arms["real"]
    table = {row["id"]: row for row in chests.rows}
    task = Task(("Effusion",), Options(**SETTINGS["task"]), "No Finding")
    report, metrics = at_fraction(arms, table, task, Augmentation(bootstrap=500))
    compare({"1": report}, {"1": metrics}, 0.02)
    return arms, report["arms"]


def test_real_images_teach_something(planted):
    assert planted[1]["real"]["auroc"]["value"] > 0.75


def test_a_generator_that_copies_gains_nothing(planted):
    beside = planted[1]["copies"]["beside"]["real"]
    low, high = beside["interval"]
    assert low < 0 < high and beside["p_holm"] > 0.05


def test_a_generator_of_noise_teaches_nothing(planted):
    noise = planted[1]["noise"]
    assert abs(noise["auroc"]["value"] - 0.5) < 0.15
    assert noise["beside"]["real"]["difference"] < -0.15 and noise["beside"]["real"]["interval"][1] < 0


def test_shuffled_labels_harm(planted):
    shuffled = planted[1]["shuffled"]["beside"]["real"]
    assert shuffled["difference"] < -0.15 and shuffled["interval"][1] < 0


def test_only_training_images_are_learned_from_and_validation_images_chosen_by(chests, tmp_path, monkeypatch):
    given = {}

    def spy(plan, val, *_):
        given.update(plan=plan, val=val)
        raise InterruptedError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scansynth.downstream.arm.train", spy)
    with pytest.raises(InterruptedError):
        run(chests, tmp_path, "real", 0)
    [(train, _)] = given["plan"][0].sources
    for images, split in ((train, "train"), (given["val"], "val")):
        expected = [i for i, row in enumerate(chests.rows) if row["split"] == split]
        np.testing.assert_array_equal(images.pixels, chests.pixels[expected])


def test_nobody_of_the_test_set_is_learned_from(planted, chests):
    arms, _ = planted
    test = {row["id"]: row["patient"] for row in chests.rows if row["split"] == "test"}
    others = {row["patient"] for row in chests.rows if row["split"] != "test"}
    for predictions in arms.values():
        for prediction in predictions:
            assert set(prediction.test_ids) == set(test) and not set(test.values()) & others
            assert prediction.about["patients"] == len({r["patient"] for r in chests.rows if r["split"] == "train"})


def some(count, synthetic=0):
    return Images(np.zeros((count, 1, 8, 8), np.uint8), np.zeros((count, 1), bool), synthetic)


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        ("real", [(40, 10, 0, 8)]),
        ("classical", [(40, 10, 0, 8)]),
        ("synthetic", [(40, 30, 30, 8)]),
        ("mixed_1", [(40, 10, 0, 4), (40, 30, 30, 4)]),
        ("mixed_3_classical", [(40, 10, 0, 2), (40, 30, 30, 6)]),
        ("pretrained", [(20, 30, 30, 8), (20, 10, 0, 8)]),
        ("oversampled", [(40, 15, 5, 8)]),
    ],
)
def test_all_arms_have_one_budget(arm, expected):
    plan = phases(arm, some(10), some(30, 30), some(5, 5), Arm(steps=40, batch=8))
    found = [(phase.steps, len(images), images.synthetic, count) for phase in plan for images, count in phase.sources]
    assert found == expected
    assert sum(phase.steps for phase in plan) == 40
    assert all(sum(count for _, count in phase.sources) == 8 for phase in plan)
