"""Training images a second, and peak memory, beside MONAI and diffusers.

``python tests/benchmarks/training.py [--store F] [--peers PYTHON] [--steps 20] [--repeats 3] [--output F]``

What is compared, and how the peers' environment is made, is told in ``peers.py``. Each measurement is a process of its
own on all cores (or the GPU), with a few steps taken before the clock starts; the systems take turns, in fp32 and in
bf16, and a ratio is of two measurements of one round. MiB is the peak of the process, or on CUDA that of the device's
memory; above_start_MiB how much that is above the start, with libraries and network in memory.

Writes JSON, and a plot beside it (``.png``).
"""

import json
import os
import resource
import sys
from pathlib import Path

import peers
import torch

WARM = 3  # steps before the clock starts


def memory() -> int:
    """Peak so far, MiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() >> 20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> (20 if sys.platform == "darwin" else 10)


def measure(task: str, store: Path, steps: int) -> dict:
    """Images a second, memory and number of weights of one system."""
    system = peers.opened(task, store)
    before = memory()
    system.begin()
    for _ in range(WARM):
        system.advance(0.5)
    seconds = peers.timed(lambda: [system.advance(0.5) for _ in range(steps)])
    rate = steps * peers.BATCH / seconds
    peak = memory()
    return {"images_a_second": rate, "MiB": peak, "above_start_MiB": peak - before, "parameters": system.parameters}


def main() -> None:
    """Run all, print and write the figures; with ``--task``, be one measurement's process."""
    parser = peers.arguments(__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--output", type=Path, default=Path("training.json"))
    options = parser.parse_args()
    if options.task:
        print(json.dumps(measure(options.task, options.store, options.steps)))
        return
    tasks = [f"{name}/{precision}" for name in peers.SYSTEMS for precision in ("fp32", "bf16")]
    found = peers.in_turns(__file__, ["--steps", str(options.steps)], options, tasks)
    result = peers.beside(found, "images_a_second")
    machine = {"device": peers.best_device().type, "threads": options.threads, "batch": peers.BATCH}
    text = json.dumps(machine | result, indent=2)
    print(text)
    options.output.write_text(text + "\n", encoding="utf-8")
    label = f"training images a second, batch {peers.BATCH}, {machine['device']}"
    peers.draw_bars(options.output.with_suffix(".png"), result, "images_a_second", label)


if __name__ == "__main__":
    main()
