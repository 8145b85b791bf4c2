"""What the machine offers: device, precision, threads, a compiler; and how it is made to repeat itself."""

import importlib.util
import os
import shutil
import warnings

import torch


def best_device() -> torch.device:
    """CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def resolve_precision(precision: str, device: torch.device) -> str:
    """``auto`` as ``bf16`` where the hardware computes in it, else ``fp32``; anything else as it is."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() else "fp32"


def resolve_compile(choice: str, device: torch.device) -> bool:
    """Whether networks are compiled; ``auto``: on CUDA, where Triton and the C compiler that it calls are there."""
    if choice != "auto":
        return choice == "on"
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None and compiler is not None


def repeatable(device: torch.device) -> None:
    """Make CUDA give the same bits for the same work; the CPU does so, given the number of threads.

    Convolutions may use TF32 (PyTorch's default), matrix products not: the prior and the Haar transform, which are not
    the network's, need all of float32, and the network computes in bf16 where speed matters.
    """
    if device.type != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA's library is first used
    os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")  # no kernel is chosen by its timing; read at its import
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    warnings.filterwarnings("once", message=".*does not have a deterministic implementation")


def facts(device: torch.device, precision: str) -> dict[str, str | int]:
    """What a result's last bits depend on, for its record."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return {"device": device.type, "capability": name, "precision": precision, "threads": torch.get_num_threads()}
