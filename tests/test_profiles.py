"""The profiles of clusters: read beside the default one, which is the stronger."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).resolve().parents[1]
PROFILES = REPO / "workflow" / "profiles"


def read(name):
    return yaml.safe_load((PROFILES / name / "config.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("asked", ["option", "variable"])
def test_the_cores_of_a_job_are_those_that_a_cluster_s_profile_says(asked, tmp_path):
    profile = str(PROFILES / "slurm")
    words = [sys.executable, "-m", "snakemake", "--snakefile", REPO / "workflow" / "Snakefile", "--dry-run"]
    words += ["--profile", profile] if asked == "option" else []
    environment = os.environ | ({"SNAKEMAKE_PROFILE": profile} if asked == "variable" else {})
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"threads: (\d+)", done.stdout + done.stderr)) == {str(read("slurm")["cores"])}


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_a_cluster_s_profile_says_nothing_that_the_default_one_would_overrule(name):
    assert read("default").keys() & read(name).keys() == {"cores"}


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_what_computes_with_a_model_has_a_gpu(name):
    rules = "train calibrate synthesise synthesise_guided guidance generator calibrate_generator synthetic extract"
    assert {rule for rule, needs in read(name)["set-resources"].items() if needs["gpu"]} == set(rules.split())


def test_a_slice_ends_before_its_job_would():
    train = read("slurm")["set-resources"]["train"]
    assert 0 < train["slice_minutes"] < train["runtime"]
