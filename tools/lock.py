"""Compile requirements.lock and constraints.txt from pyproject.toml (maintainers only; needs ``uv`` on the PATH).

torch's wheels differ between the package indexes of CPU, CUDA and Apple machines, so that one hash cannot fit them all:
torch and the libraries that only it asks for are pinned by version in constraints.txt, all else by hash in the lock.
"""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = "torch==2.13.0"
TORCH_STACK = re.compile(r"^(torch|triton|nvidia-[\w-]+|cuda-[\w-]+)==")


def compiled() -> str:
    """What uv resolves, for all supported platforms and Python versions."""
    command = ["uv", "pip", "compile", "--universal", "--generate-hashes", "--no-annotate", "--no-header", "--quiet"]
    command += ["--python-version", "3.11", "--extra", "test", "--constraint", "-", "pyproject.toml"]
    return subprocess.run(command, cwd=ROOT, input=TORCH, text=True, check=True, capture_output=True).stdout


def split(lock: str) -> tuple[str, str]:
    """The lock without torch's stack, and torch's stack as constraints (versions and markers, no hashes)."""
    entries = re.split(r"\n(?=\S)", lock.strip())
    stack = [entry for entry in entries if TORCH_STACK.match(entry)]
    rest = [entry for entry in entries if not TORCH_STACK.match(entry)]
    pins = [entry.split("\\")[0].strip() for entry in stack]
    return "\n".join(rest) + "\n", "\n".join(pins) + "\n"


def main() -> None:
    """Write both files."""
    lock, constraints = split(compiled())
    (ROOT / "requirements.lock").write_text(lock)
    (ROOT / "constraints.txt").write_text(constraints)


if __name__ == "__main__":
    main()
