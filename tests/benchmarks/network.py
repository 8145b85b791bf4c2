"""What the networks cost: parameters, peak memory and images a second, by configuration.

``python tests/benchmarks/network.py [--whole] [--batch 8] [--steps 5] [--output FILE]``

Each figure is of a process of its own that trains (loss, gradients, AdamW) or samples (images of 16 evaluations), after
two steps that are not counted, in the precision that ``train.precision: auto`` chooses and without torch.compile. MiB
is what torch allocated at most on CUDA, and elsewhere the peak of the process's memory above that before the network
was made. Configurations are a network of base 32 on gray images of 128 x 128, and those that differ in one thing;
with --whole all that differ in any number of them, for a GPU: on a CPU it takes hours.

Prints a table; writes JSON: the machine, and a row a configuration; one that failed says why.
"""

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from scansynth.sections import Diffusion, Network

GRID = {
    "size": (128, 64, 256),
    "channels": (1, 3),
    "base_channels": (32, 64),
    "wavelet_levels": (2, 1, 0),
    "checkpointing": (False, True),
    "architecture": ("unet", "monai"),
}  # the first of each is what one thing at a time differs from
CONDITIONS, EVALUATIONS, WARM_UP = 17, 16, 2
FIGURES = ("parameters", "train_MiB", "train_images_a_second", "sample_MiB", "sample_images_a_second")


def resident() -> int:
    """Most bytes of memory that this process has had."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def measure(task: str, chosen: dict, batch: int, steps: int) -> dict:
    """Parameters, peak memory and speed of a configuration that trains or samples, in this process."""
    import torch

    from scansynth.device import best_device, facts, resolve_precision
    from scansynth.diffusion.denoiser import Denoiser

    device, before = best_device(), resident()
    precision = resolve_precision("auto", device)
    torch.manual_seed(0)
    shape = {name: value for name, value in chosen.items() if name not in ("size", "channels")}
    denoiser = Denoiser(chosen["channels"], chosen["size"], CONDITIONS, Network(**shape), Diffusion())
    denoiser.to(device, memory_format=torch.channels_last).train(task == "train")
    denoiser.bf16 = precision == "bf16"
    optimizer = torch.optim.AdamW(denoiser.parameters(), fused=True)
    x, epsilon = torch.randn(2, batch, *denoiser.shape, device=device)
    level, condition = torch.zeros(batch, device=device), torch.zeros(batch, CONDITIONS, device=device)
    known = torch.ones(batch, dtype=torch.bool, device=device)

    def train() -> None:
        denoiser.loss(x, epsilon, level, condition, known).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    @torch.inference_mode()
    def sample() -> None:
        denoiser(x, level, condition, known)

    def seconds(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            {"train": train, "sample": sample}[task]()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    seconds(WARM_UP)
    rate = batch * steps / seconds(steps) / (1 if task == "train" else EVALUATIONS)
    most = torch.cuda.max_memory_allocated() if device.type == "cuda" else resident() - before
    return {
        "machine": facts(device, precision),
        "parameters": sum(parameter.numel() for parameter in denoiser.parameters()),
        f"{task}_MiB": round(most / 2**20),
        f"{task}_images_a_second": round(rate, 3),
    }


def fresh(task: str, chosen: dict, batch: int, steps: int) -> dict:
    """The same in a new process; what it said last if it failed, for want of memory say."""
    command = [sys.executable, __file__, "--task", task, "--configuration", json.dumps(chosen)]
    command += ["--batch", str(batch), "--steps", str(steps)]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode == 0:
        return json.loads(ended.stdout)
    return {f"{task}_failed": (ended.stderr.splitlines() or [f"status {ended.returncode}"])[-1]}


def configurations(whole: bool) -> list[dict]:
    """The default and what differs from it in one thing; or, if ``whole``, in any number of them."""
    if whole:
        return [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    default = {name: values[0] for name, values in GRID.items()}
    return [default] + [default | {name: value} for name, values in GRID.items() for value in values[1:]]


def table(rows: list[dict]) -> str:
    """The rows as text; a figure that is not there is a dash."""
    names = (*GRID, *FIGURES)
    lines = [names, *([str(row.get(name, "-")) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines)


def main() -> None:
    """Run all, print and write the figures; with ``--task``, be one measurement's process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whole", action="store_true", help="all combinations")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5, help="steps that are counted")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--task", choices=("train", "sample"), help=argparse.SUPPRESS)
    parser.add_argument("--configuration", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        print(json.dumps(measure(options.task, options.configuration, options.batch, options.steps)))
        return
    found = {"batch": options.batch, "steps": options.steps, "rows": []}
    for chosen in configurations(options.whole):
        row = dict(chosen)
        for task in ("train", "sample"):
            row |= fresh(task, chosen, options.batch, options.steps)
        found |= {"machine": row.pop("machine", found.get("machine"))}
        found["rows"].append(row)
        print(json.dumps(row), file=sys.stderr)
    print(table(found["rows"]))
    if options.output:
        options.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
