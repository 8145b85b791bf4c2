"""What a run is resumed from, as a file: the newest state, and beside it the one before."""

import json
import sys
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from scansynth.errors import ScansynthError
from scansynth.files import atomic


def save(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write ``tensors`` and what there is to say about them. At every instant ``path`` or the one before is whole."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = {"scansynth": json.dumps(about | {"crc32": _checksum(tensors)}, sort_keys=True)}
    with atomic(path) as partial:
        save_file(tensors, partial, metadata=metadata)
        if path.exists():
            path.replace(before(path))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What ``save`` wrote last that is whole; None if it never wrote.

    Raises:
        ScansynthError: if nothing is whole.
    """
    found = [file for file in (path, before(path)) if file.exists()]
    for file in found:
        try:
            return _read(file)
        except (SafetensorError, KeyError, ValueError) as error:
            print(f"{file} is damaged ({error}): it is not resumed from", file=sys.stderr)
    if found:
        raise ScansynthError(
            f"no state of the run in {path.parent} is whole: check the disk, then remove that folder and start again; "
            "the run then begins at its first step"
        )
    return None


def before(path: Path) -> Path:
    """Where the state before the newest one lies."""
    return path.with_stem(f"{path.stem}.before")


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, "pt") as file:
        about = json.loads((file.metadata() or {})["scansynth"])
    tensors = load_file(path)
    if about.pop("crc32") != _checksum(tensors):
        raise ValueError("its checksum is another")
    return tensors, about


def _checksum(tensors: dict[str, Tensor]) -> int:
    crc = 0
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy(), crc)
    return crc
