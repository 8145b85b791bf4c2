"""The profiles of clusters: only one profile is read, so each repeats what the default one says."""

from pathlib import Path

import pytest
import yaml

PROFILES = Path(__file__).resolve().parents[1] / "workflow" / "profiles"


def read(name):
    return yaml.safe_load((PROFILES / name / "config.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_a_cluster_s_profile_repeats_the_default_one(name):
    default = read("default")
    del default["cores"]  # all that this machine has
    assert default and default.items() <= read(name).items()


def test_a_slice_ends_before_its_job_would():
    train = read("slurm")["set-resources"]["train"]
    assert 0 < train["slice_minutes"] < train["runtime"]
