"""The real workflow, small: every embedded experiment from nothing, and what it cannot take."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from small import REPO, command, run

from scansynth import files


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("cxr={train: {stesp: 5}}", "did you mean 'steps'"),
        ("crx={}", "an experiment's name"),
        ("cxr={images: {size: 100}}", "64, 96, 128 or 256"),
    ],
)
def test_a_typo_in_the_configuration_is_named(tmp_path, config, said):
    base = command("results/fid_cxr.json")
    done = subprocess.run([*base[:-1], config], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert said in done.stderr and "Traceback" not in done.stderr


def test_an_unknown_experiment_is_named(tmp_path):
    done = run(tmp_path, "results/fid_crx.json")
    assert done.returncode != 0
    assert "there is no experiment 'crx'" in done.stderr


@pytest.mark.parametrize(
    ("experiment", "sections", "channels"),
    [
        (
            "mri",
            {
                "data": {"count": 12},
                "images": {"size": 64, "train": 0.5, "val": 0.25, "test": 0.25},
                "slices": {"foreground": 0.5, "every_mm": 20},
            },
            ["t1", "t2", "flair"],
        ),
        ("histo", {"data": {"count": 60}, "images": {"size": 64}}, ["red", "green", "blue"]),
    ],
)
def test_the_other_embedded_experiments_run_from_nothing(tmp_path, experiment, sections, channels):
    targets = [f"results/{figure}_{experiment}.json" for figure in ("fid", "diversity", "anatomy")]
    done = subprocess.run(
        command(*targets, experiment=experiment, **sections), cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(files.read_json(tmp_path / target)["dataset"]["phantom"] for target in targets)
    (manifest,) = (tmp_path / "data/images").glob("*_64.json")
    about = files.read_json(manifest)
    assert about["channels"] == channels and about["quarantined_count"] == 0
    assert all(about["splits"][split]["images"] for split in ("train", "val", "test"))
    assert np.load(tmp_path / f"results/{experiment}/samples.npy").shape == (12, 3, 64, 64)
    assert np.load(manifest.with_name(manifest.stem + "_masks.npy")).shape[0] == about["masks"]
    assert about["masks"] == (about["images"] if experiment == "mri" else 0)


@pytest.mark.parametrize(("root", "said"), [(None, "data.root is not set"), ("empty", "no image found")])
def test_a_supplied_folder_that_is_not_there_or_empty(tmp_path, root, said):
    (tmp_path / "empty").mkdir()
    base = command("data/images/rsna_128.npy")
    config = "rsna={data: {root: empty}}" if root else "rsna={}"
    done = subprocess.run([*base[:-1], config], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_full_disk_is_named_and_the_next_run_completes(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(data)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        full = run(tmp_path, "data/images/chest_64.npy")
        assert full.returncode != 0
        assert "the disk is full" in full.stdout + full.stderr
        assert "Traceback" not in full.stdout + full.stderr
        subprocess.run(["mount", "-o", "remount,size=64m", str(data)], check=True)
        again = run(tmp_path, "data/images/chest_64.npy")
        assert again.returncode == 0, again.stdout + again.stderr
    finally:
        subprocess.run(["umount", str(data)], check=True)


def test_linter_is_content():
    lint = [sys.executable, "-m", "snakemake", "--lint"]
    done = subprocess.run(lint, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
