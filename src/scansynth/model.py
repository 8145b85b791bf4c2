"""A trained model as one file: its weights, and all that it takes to sample from it."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from scansynth.conditions import Vocabulary, vocabulary
from scansynth.device import best_device, facts, repeatable, resolve_precision
from scansynth.diffusion.denoiser import Denoiser
from scansynth.errors import ScansynthError
from scansynth.files import atomic
from scansynth.sections import Diffusion, Network


def build(shape: tuple[int, int, int], known: Vocabulary, network: Network, diffusion: Diffusion) -> Denoiser:
    """A denoiser of images of ``shape`` (channels, size, size), with initial weights."""
    channels, size, _ = shape
    return Denoiser(channels, size, len(known), network, diffusion, known.kinds)


def save(path: Path, denoiser: Denoiser, description: dict[str, Any], last: nn.Module | None = None) -> None:
    """Write the denoiser, ``description`` as metadata and, if given, the ``last`` weights that it has averages of."""
    tensors = denoiser.state_dict()
    if last is not None:
        tensors |= {f"last.{name}": value for name, value in last.state_dict().items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    # One metadata key: safetensors writes several in no fixed order, and the file's bytes would differ.
    with atomic(path) as partial:
        save_file(tensors, partial, metadata={"scansynth": json.dumps(description, sort_keys=True)})


def load(path: Path) -> tuple[Denoiser, dict[str, Any]]:
    """The averaged denoiser, ready to sample, and its description.

    Raises:
        ScansynthError: if the file is not a model of this project, or of a version whose networks were others.
    """
    try:
        with safe_open(path, "pt") as file:
            description = json.loads((file.metadata() or {})["scansynth"])
    except (KeyError, ValueError, SafetensorError) as error:
        raise ScansynthError(f"{path}: not a model that scansynth trained ({error})") from error
    try:
        network, diffusion = Network(**description["network"]), Diffusion(**description["diffusion"])
        denoiser = build(tuple(description["shape"]), vocabulary(description), network, diffusion)
        weights = {name: value for name, value in load_file(path).items() if not name.startswith("last.")}
        denoiser.load_state_dict(weights)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ScansynthError(f"{path}: trained by another version of scansynth; train it anew ({error})") from error
    return denoiser.eval(), description


def load_calibrated(path: Path) -> tuple[Denoiser, dict[str, Any]]:
    """The same of a model that samples are to be drawn with.

    Raises:
        ScansynthError: as ``load`` does, and if the file is what training left, which is not calibrated yet.
    """
    denoiser, description = load(path)
    if "calibrate" not in description:
        raise ScansynthError(f"{path}: what training left, not calibrated yet: take the model.safetensors beside it")
    return denoiser, description


def on_best_device(denoiser: Denoiser) -> tuple[Denoiser, dict[str, str | int]]:
    """The denoiser where it samples fastest, and the facts that the images' last bits depend on."""
    device = best_device()
    repeatable(device)
    precision = resolve_precision("auto", device)
    denoiser = denoiser.to(device, memory_format=torch.channels_last).eval()
    denoiser.bf16 = precision == "bf16"
    return denoiser, facts(device, precision)
