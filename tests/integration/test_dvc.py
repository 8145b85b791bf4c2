"""What a DVC user expects; and a clone, its data pulled: nothing has to run, and what is wrong is named."""

import json
import time

import pytest
import repository
import yaml
from small import REPO
from test_reruns import EVERYTHING, flip, to_call, to_run


@pytest.fixture
def clone(finished_repository, tmp_path):
    repository.git(tmp_path, "clone", "--quiet", str(finished_repository), "clone")
    return tmp_path / "clone"


RESTORE = ("python", "-m", "scansynth.restore")


def test_a_clone_has_nothing_to_run(clone):
    started = time.monotonic()
    repository.dvc(clone, "pull")
    said = repository.succeed(clone, *RESTORE)
    assert "every file is as dvc.lock has it" in said and "nothing has to run" in said
    assert to_run(clone) == set()
    print(f"clone to nothing to be done: {time.monotonic() - started:.1f} s")
    assert to_call(clone) == set()
    assert "nothing has to run" in repository.succeed(clone, "python", "-m", "scansynth.why", *EVERYTHING)


def test_what_is_missing_is_named(clone):
    repository.dvc(clone, "pull")
    (clone / "results/cxr/samples.npy").unlink()
    done = repository.call(clone, *RESTORE)
    assert done.returncode == 1
    assert "results/cxr/samples.npy is missing" in done.stdout and "dvc pull" in done.stdout


@pytest.mark.parametrize("file", ["results/cxr/model.safetensors", "data/raw/chest/files/images/00000001_000.dcm"])
def test_what_was_altered_is_named(clone, file):
    repository.dvc(clone, "pull")
    flip(file)(clone)
    done = repository.call(clone, *RESTORE)
    assert done.returncode == 1
    assert f"{file} is another file" in done.stdout and "dvc checkout" in done.stdout
    repository.dvc(clone, "checkout", "--force")
    assert "nothing has to run" in repository.succeed(clone, *RESTORE)


def test_what_dvc_lock_does_not_speak_of_is_not_vouched_for(clone):
    repository.dvc(clone, "pull")
    lock = yaml.safe_load((clone / "dvc.lock").read_text())
    del lock["stages"]["samples@cxr"]
    (clone / "dvc.lock").write_text(yaml.safe_dump(lock))
    done = repository.call(clone, *RESTORE)
    assert done.returncode == 1 and "dvc.lock has nothing of samples@cxr: `dvc repro` makes" in done.stdout


def test_a_folder_that_is_no_repository_is_a_message(tmp_path):
    done = repository.call(tmp_path, *RESTORE, PYTHONPATH=str(REPO / "src"))
    assert done.returncode == 1 and "Traceback" not in done.stdout and "scansynth restore: DVC:" in done.stdout


def test_a_change_after_the_clone_is_told_in_words(clone):
    repository.dvc(clone, "pull")
    experiment = clone / "config/experiments/cxr.yaml"
    experiment.write_text(experiment.read_text().replace("bootstrap: 5", "bootstrap: 7"))
    assert "evaluate.bootstrap was 5, is 7" in repository.succeed(clone, *RESTORE)
    said = repository.succeed(clone, "python", "-m", "scansynth.why", "results/figures_cxr.json")
    assert "fid (name=cxr): evaluate.bootstrap was 5, is 7" in said
    assert "figures (name=cxr): follows" in said
    assert "train" not in said


def test_metrics_and_plots(finished_repository, tmp_path):
    origin = repository.copied(finished_repository, tmp_path / "copy")
    (row,) = json.loads(repository.dvc(origin, "metrics", "show", "--json"))[""]["data"].values()
    assert row["data"]["frechet_distance"]["probe"]["samples"] > 0
    assert "frechet_distance.radiomics.floor" in repository.dvc(origin, "metrics", "show")
    repository.dvc(origin, "plots", "show", "--out", "plots")
    page = (origin / "plots/index.html").read_text()
    for picture in ("samples.png", "loss.svg", "memorization.png", "anatomy.svg"):
        assert picture in page


def test_an_experiment_is_compared(finished_repository, tmp_path):
    folder = repository.copied(finished_repository, tmp_path / "copy")
    key = "config/experiments/cxr.yaml:likelihood.steps"
    repository.dvc(folder, "exp", "run", "--name", "more-steps", "--set-param", f"{key}=4")
    assert "likelihood.steps" in repository.dvc(folder, "params", "diff")
    changes = json.loads(repository.dvc(folder, "metrics", "diff", "--json"))["results/figures_cxr.json"]
    assert sorted(changes) == ["bits_per_dimension.model", "bits_per_dimension.prior"]
    shown = repository.dvc(folder, "exp", "show", "--csv")
    assert "more-steps" in shown and "bits_per_dimension.model" in shown
    assert to_run(folder) == set()
