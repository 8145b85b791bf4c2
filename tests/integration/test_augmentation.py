"""The experiment on augmentation through the real workflow, small."""

import json
import subprocess

import pytest
from small import command

from scansynth import files
from scansynth.store import open_store

RESULT = "results/augmentation_cxr.json"
SECTIONS = {
    "augmentation": {"fractions": [0.4], "arms": ["oversampled"], "bootstrap": 20, "least": 2},
    "arm": {"steps": 10, "batch": 4},
    "synthetic": {"images": 6},
    "subset": {"generator_steps": 4},
}


def snakemake(folder, *arguments, **changes):
    sections = {name: values | changes.get(name, {}) for name, values in SECTIONS.items()}
    done = subprocess.run(command(*arguments, **sections), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def planned(folder, **changes):
    """How many jobs of each rule would run."""
    said = snakemake(folder, RESULT, "--dry-run", **changes)
    lines = [line.split() for line in said.splitlines()]
    return {
        words[0]: int(words[1]) for words in lines if len(words) == 2 and words[0].isidentifier() and words[1].isdigit()
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("augmentation")
    snakemake(folder, RESULT)
    return folder


def patients(store, split):
    return {row["patient"] for row in store.table if row["split"] == split}


def test_nobody_but_the_fraction_s_patients_is_seen(finished):
    whole = open_store(finished / "data/images/chest_64.npy")
    part = open_store(finished / "results/cxr/subsets/0.4/images.npy")
    assert patients(part, "train") < patients(whole, "train")
    for split in ("val", "test"):
        assert patients(part, split) == patients(whole, split) and not patients(part, split) & patients(part, "train")
    # By the records: the generator read the part's images and no others, and so did every classifier.
    folder = finished / "results/cxr"
    generator = files.read_json(folder / "subsets/0.4/trained.record.json")
    assert generator["inputs"]["pixels"] == {
        "path": "results/cxr/subsets/0.4/images.npy",
        "sha256": files.sha256(folder / "subsets/0.4/images.npy"),
    }
    assert generator["settings"]["train"]["steps"] == 4 and generator["facts"]["images"] == sum(
        row["split"] == "train" for row in part.table
    )
    calibrated = files.read_json(folder / "subsets/0.4/model.record.json")["inputs"]
    assert calibrated.pop("trained")["sha256"] == files.sha256(folder / "subsets/0.4/trained.safetensors")
    assert calibrated == generator["inputs"]
    made = files.read_json(folder / "subsets/0.4/synthetic.record.json")
    assert made["inputs"]["model"]["path"] == "results/cxr/subsets/0.4/model.safetensors"
    arms = sorted((folder / "arms/0.4").glob("*.record.json"))
    assert len(arms) == 9
    for arm in map(files.read_json, arms):
        assert arm["inputs"]["pixels"] == generator["inputs"]["pixels"]
        assert bool(arm["inputs"]["samples"]) == (arm["facts"]["arm"] == "oversampled")
    assert not (folder / "trained.safetensors").exists()  # it has seen everybody


def test_the_result_says_what_it_is(finished):
    result = files.read_json(finished / RESULT)
    assert "phantoms" in result["conclusion"][-1] and result["dataset"]["phantom"]
    assert list(result["fractions"]["0.4"]["arms"]) == ["real", "classical", "oversampled"]
    assert (finished / "results/augmentation_cxr.csv").read_text().startswith("fraction,arm,class,metric")
    assert "</svg>" in (finished / "results/cxr/augmentation.svg").read_text()
    assert str(finished) not in json.dumps(result)


def test_only_what_has_to_runs_again(finished):
    assert planned(finished) == {}
    assert planned(finished, augmentation={"relevant": 0.05}) == {"augmentation": 1, "total": 1}
    assert planned(finished, arm={"learning_rate": 0.01}) == {"arm": 9, "augmentation": 1, "total": 10}
    more = planned(finished, synthetic={"guidance": 2.0})
    assert more == {"synthetic": 1, "arm": 9, "augmentation": 1, "total": 11}


def test_all_of_the_patients_are_the_experiment_s_own_model(finished):
    jobs = planned(finished, augmentation={"fractions": [0.4, 1.0]})
    assert jobs["train"] == jobs["calibrate"] == jobs["synthetic"] == 1 and jobs["arm"] == 9
    assert "generator" not in jobs and "subset" not in jobs
