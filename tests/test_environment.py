"""The environment: the ways in agree, and what must not be in it is not."""

import importlib.util
import re
from pathlib import Path

import yaml

REPO = Path(__file__).parents[1]
LOCK = (REPO / "requirements.lock").read_text()
CONSTRAINTS = (REPO / "constraints.txt").read_text()


def locked():
    pins = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)(?: ; (.*?))? ?\\?$", LOCK + CONSTRAINTS, flags=re.MULTILINE)
    return {(name.lower(), version) for name, version, _ in pins}


def test_conda_environment_has_the_locked_versions():
    environment = yaml.safe_load((REPO / "environment.yml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    pins = [entry.split(";")[0].strip() for entry in pip if "==" in entry]
    asked = {tuple(pin.lower().split("==")) for pin in pins}
    torch_stack = {name for name, _ in locked() if name.startswith(("nvidia-", "cuda-", "triton"))}
    assert asked == {(name, version) for name, version in locked() if name not in torch_stack}


def test_what_pyproject_asks_for_is_locked():
    import tomllib

    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + project["optional-dependencies"]["test"]
    names = {re.split(r"[<>=\[;]", requirement)[0].strip().lower() for requirement in asked}
    assert names <= {name for name, _ in locked()}


def test_everything_but_torchs_stack_has_hashes():
    for entry in re.split(r"\n(?=\S)", LOCK.strip()):
        assert "--hash=sha256:" in entry, entry
    assert "torch==" not in LOCK.replace("\ntorchmetrics==", "")


def test_no_torchvision():
    assert "torchvision" not in LOCK + CONSTRAINTS
    assert importlib.util.find_spec("torchvision") is None
