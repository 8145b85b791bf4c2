"""Compile the locks and constraints.txt from pyproject.toml (maintainers only; needs ``uv`` on the PATH).

torch's wheels differ between the package indexes of CPU, CUDA and Apple machines, so that one hash cannot fit them all:
torch and the libraries that only it asks for are pinned by version in constraints.txt, all else by hash in
requirements.lock. kubernetes.lock has what that extra needs beside it.
"""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = "torch==2.13.0"
TORCH_STACK = re.compile(r"^(torch|triton|nvidia-[\w-]+|cuda-[\w-]+)==")


def compiled(constraints: str, *extras: str) -> str:
    """What uv resolves, for all supported platforms and Python versions, as far as ``constraints`` let it."""
    command = ["uv", "pip", "compile", "--universal", "--generate-hashes", "--no-annotate", "--no-header", "--quiet"]
    command += ["--python-version", "3.11", *(f"--extra={extra}" for extra in extras), "--constraint", "-"]
    command += ["pyproject.toml"]
    return subprocess.run(command, cwd=ROOT, input=constraints, text=True, check=True, capture_output=True).stdout


def entries(lock: str) -> list[str]:
    """Each distribution with its hashes."""
    return re.split(r"\n(?=\S)", lock.strip())


def pin(entry: str) -> str:
    """Version and marker of an entry, without its hashes."""
    return entry.split("\\")[0].strip()


def lines(found: list[str]) -> str:
    """The text of a file of ``found``."""
    return "\n".join(found) + "\n"


def main() -> None:
    """Write all three files."""
    everything = entries(compiled(TORCH, "test"))
    pins = [pin(entry) for entry in everything]
    more = [entry for entry in entries(compiled(lines(pins), "test", "kubernetes")) if pin(entry) not in pins]
    (ROOT / "requirements.lock").write_text(lines([entry for entry in everything if not TORCH_STACK.match(entry)]))
    (ROOT / "constraints.txt").write_text(lines([pin for pin in pins if TORCH_STACK.match(pin)]))
    (ROOT / "kubernetes.lock").write_text(lines(more))


if __name__ == "__main__":
    main()
