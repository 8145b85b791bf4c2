"""A repository like this one, its experiments made small: to change, to commit, to clone, to run DVC in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from small import REPO, SMALL

PARTS = ("src", "workflow", "config", "environment.yml", "dvc.yaml", ".dvc/config", ".dvc/.gitignore")
PARTS += (".dvcignore", ".gitignore")
EXPERIMENTS = (
    "      cxr: {dataset: chest, size: 128, outlines: results/cxr/segmenter.safetensors}\n"
    "      histo: {dataset: tissue, size: 96, outlines: workflow/rules/anatomy.smk}\n"
    "      mri: {dataset: brain, size: 128, outlines: workflow/rules/anatomy.smk}\n"
)
SMALLER = EXPERIMENTS.splitlines(keepends=True)[0].replace("128", "64")


def make(folder: Path, **sections: dict) -> Path:
    """This repository's files in ``folder``, under Git, with one small experiment: SMALL, less ``sections``."""
    for part in PARTS:
        if (REPO / part).is_dir():
            shutil.copytree(REPO / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (folder / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPO / part, folder / part)
    for file in folder.glob("config/experiments/*.yaml"):
        if file.stem != "cxr":
            file.unlink()
    experiment = folder / "config/experiments/cxr.yaml"
    values = yaml.safe_load(experiment.read_text())
    for name, section in (SMALL | sections).items():
        values[name] = values.get(name, {}) | section
    experiment.write_text(yaml.safe_dump(values))
    stages = (folder / "dvc.yaml").read_text()
    assert EXPERIMENTS in stages
    (folder / "dvc.yaml").write_text(stages.replace(EXPERIMENTS, SMALLER))
    git(folder, "init", "--quiet")
    commit(folder, "start")
    return folder


def environment(folder: Path) -> dict[str, str]:
    """With the repository's own code, and this environment's programs."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    about = {"PYTHONPATH": str(folder / "src"), "PATH": path, "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}
    names = {f"GIT_{who}_{what}": "test@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return os.environ | about | names


def call(folder: Path, *command: str, **extra: str) -> subprocess.CompletedProcess:
    """What a command did in ``folder``; its output is one text."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.run(command, cwd=folder, env=environment(folder) | extra, **streams)


def succeed(folder: Path, *command: str, **extra: str) -> str:
    """The output of a command that has to end well."""
    done = call(folder, *command, **extra)
    assert done.returncode == 0, done.stdout
    return done.stdout


def git(folder: Path, *arguments: str) -> str:
    return succeed(folder, "git", *arguments)


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


def snakemake(folder: Path, *arguments: str, **extra: str) -> str:
    return succeed(folder, "snakemake", "--cores", "1", *arguments, **extra)


def dvc(folder: Path, *arguments: str, **extra: str) -> str:
    return succeed(folder, "dvc", *arguments, **extra)


def copied(folder: Path, to: Path) -> Path:
    """The repository as it is, with its files' times, under another name."""
    shutil.copytree(folder, to, symlinks=True)
    return to
