"""The real workflow, small: from nothing to figures, run twice, changed, killed and shared out."""

import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from pydicom import dcmread
from small import REPO, SMALL, command, run

from scansynth import files

DATA = ["acquire", "listing", "shard", "prepare", "contact_sheet"]
STAGES = [
    *DATA,
    "train",
    "calibrate",
    "synthesise",
    "gather",
    "pca",
    "untrained",
    "probe",
    "extract",
    "features",
    "picture",
]
STAGES += ["memorization", "fid"]
FIGURES = ["is", "coverage", "diversity", "anatomy", "likelihood", "guidance", "filters"]  # beside the main job's


def to_run(folder, *arguments, **sections):
    """The rules that a run would execute."""
    done = run(folder, "results/fid_cxr.json", "--dry-run", *arguments, **sections)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in (done.stdout + done.stderr).splitlines()]
    return {words[0] for words in lines if len(words) == 2 and words[0] in STAGES and words[1].isdigit()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    done = run(folder, "results/fid_cxr.json", *(f"results/{figure}_cxr.json" for figure in FIGURES))
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "printed.txt").write_text(done.stdout + done.stderr)
    return folder


def copied(finished, tmp_path):
    """The finished folder with its times, to do something to."""
    shutil.copytree(finished, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def test_every_output_has_a_record_that_agrees(finished):
    records = sorted(finished.glob("data/**/*.record.json")) + sorted(finished.glob("results/**/*.record.json"))
    # The records of shards go with them.
    stages = {files.read_json(record)["stage"].split(".")[-1] for record in records}
    others = {"inception_score", "coverage", "diversity", "reader", "segmenter", "anatomy", "likelihood", "filters"}
    others |= {"synthesise_guided", "guidance"}
    assert stages == {*STAGES, *others} - {"shard", "synthesise", "extract"}
    for record in records:
        outputs = files.read_json(record)["outputs"].values()
        assert outputs
        for output in outputs:
            assert files.sha256(finished / output["path"]) == output["sha256"]


def test_figures_say_what_they_are(finished):
    fid = files.read_json(finished / "results" / "fid_cxr.json")
    assert str(fid).count("comparable_with_published_fid") >= 1
    text = (finished / "results" / "fid_cxr.json").read_text()
    for word in ("probe", "radiomics", "pca_gaussian", "untrained_network", "floor", "phantom"):
        assert word in text


def test_images_that_a_user_asks_for_lie_beside_results_and_change_none(finished, tmp_path):
    folder = copied(finished, tmp_path)
    options = ["--model", "results/cxr/model.safetensors", "--count", "2", "--steps", "2", "--view", "PA"]
    command = [sys.executable, "-m", "scansynth.sample", *options, "--format", "dicom", "--folder", "results/wished"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert dcmread(folder / "results/wished/00001.dcm").pixel_array.shape == (64, 64)
    assert to_run(folder) == set()


@pytest.mark.parametrize("figure", ["fid", "memorization", *FIGURES])
def test_every_figure_says_what_it_means(finished, figure):
    found = files.read_json(finished / "results" / f"{figure}_cxr.json")
    assert found["dataset"]["phantom"] is True and found["small"] is True
    assert found["verdicts"] and all(sentence.endswith(".") for sentence in found["verdicts"])


def test_pictures_are_made(finished):
    for name in ("samples.png", "memorization.png"):
        assert (finished / "results/cxr" / name).stat().st_size > 1000
    for name in ("cxr/loss.svg", "cxr/anatomy.svg", "cxr/guidance.svg"):
        assert "<svg" in (finished / "results" / name).read_text()


def test_what_each_stage_took_is_printed(finished):
    printed = (finished / "printed.txt").read_text()
    for stage in STAGES:
        assert f"\n{stage} " in printed


def test_mlflow_shows_the_run(finished):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{finished}/mlflow.db")
    (experiment,) = (e for e in client.search_experiments() if e.name == "cxr")
    (logged,) = client.search_runs([experiment.experiment_id])
    assert logged.info.status == "FINISHED"
    assert logged.data.params["train.steps"] == "6"
    assert len(client.get_metric_history(logged.info.run_id, "loss")) == 6
    assert any(name.startswith("fid.") for name in logged.data.metrics)
    assert {"samples.png", "loss.svg", "fid_cxr.json"} <= {a.path for a in client.list_artifacts(logged.info.run_id)}


def test_nothing_holds_a_folder_host_or_user(finished):
    import re
    import socket

    host = re.compile(rf"\b{re.escape(socket.gethostname())}\b".encode())
    for file in [*finished.glob("results/**/*"), *finished.glob("data/images/*"), *finished.glob("data/raw/*/*.json")]:
        if file.is_file():
            content = file.read_bytes()
            assert str(finished).encode() not in content and str(REPO).encode() not in content, file
            assert file.suffix in (".npy", ".npz", ".png", ".safetensors") or not host.search(content), file


def test_the_study_of_damage_needs_no_samples(finished):
    """The stage itself is run on a toy store elsewhere: here it would take minutes."""
    done = run(finished, "results/sensitivity_cxr.json", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    (shell,) = [line for line in (done.stdout + done.stderr).splitlines() if "evaluate.sensitivity --settings" in line]
    for option in ("--weights", "--reader", "--segmenter"):
        assert f"{option} results/cxr/" in shell
    assert "samples.npy" not in shell


def test_a_second_run_has_nothing_to_do(finished):
    assert to_run(finished) == set()


def test_same_bytes_from_nothing(finished, tmp_path):
    done = run(tmp_path, "results/fid_cxr.json")
    assert done.returncode == 0, done.stdout + done.stderr
    names = ["data/images/chest_64.npy", "data/images/chest_64.csv", "results/fid_cxr.json"]
    made = ("trained.safetensors", "model.safetensors", "samples.npy", "samples.png", "loss.svg")
    names += [f"results/cxr/{name}" for name in made]
    for name in names:
        assert files.sha256(tmp_path / name) == files.sha256(finished / name), name


def training_process(parent):
    for child in parent.children(recursive=True):
        try:
            words = child.cmdline()
        except psutil.Error:
            continue
        if "scansynth.train" in words and words[0].endswith(("python", "python3")):
            return child
    return None


@pytest.mark.parametrize("victim", ["training", "snakemake"])
def test_killed_and_started_again_gives_the_same_model(finished, tmp_path, victim):
    folder = copied(finished, tmp_path)
    longer = {"train": SMALL["train"] | {"steps": 150, "checkpoint_every": 2}}
    target = "results/cxr/trained.safetensors"
    undisturbed = copied(finished, tmp_path / "undisturbed")
    assert run(undisturbed, target, **longer).returncode == 0

    killed = psutil.Popen(command(target, **longer), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (states := list(folder.glob("results/cxr/work/*/metrics.jsonl"))) or not any(
        len(state.read_text().splitlines()) in range(20, 120) for state in states
    ):
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.02)
    process = training_process(killed) if victim == "training" else killed
    os.kill(process.pid, signal.SIGKILL)
    killed.wait(120)
    assert killed.returncode != 0

    again = run(folder, target, **longer)
    assert again.returncode == 0, again.stdout + again.stderr
    assert files.sha256(folder / target) == files.sha256(undisturbed / target)
    if victim == "training":
        assert "resumed after step" in again.stdout + again.stderr


def test_shards_change_no_byte_and_leave_nothing_behind(finished, tmp_path):
    done = run(tmp_path, "data/images/chest_64.npy", "--set-scatter", "prepare=3")
    assert done.returncode == 0, done.stdout + done.stderr
    for suffix in (".npy", "_masks.npy", ".csv", ".json"):
        assert files.sha256(tmp_path / f"data/images/chest_64{suffix}") == files.sha256(
            finished / f"data/images/chest_64{suffix}"
        )
    assert not list((tmp_path / "data/images").glob("*shards/*"))
