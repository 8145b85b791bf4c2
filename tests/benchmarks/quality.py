"""Quality at equal time, beside MONAI and diffusers: distances of samples to held-out images.

``python tests/benchmarks/quality.py --work DIR [--store F] [--peers PYTHON] [--minutes 10 30] [--seeds 0 1 2]
[--only ours|monai|diffusers]``
``python tests/benchmarks/quality.py --work DIR --report [--store F] [--probe F] [--minutes ...] [--seeds ...]``

What is compared, and how the peers' environment is made, is told in ``peers.py``. A cell is a system, a seed and a
budget: it trains until the budget is used up, which is CPU time on one core (so that two cells can run side by side),
or wall time on CUDA, and then draws ``--count`` images. Only steps count, and what ours needs beside them, the fit of
its prior and its validation; the calibration of our sampler, once at the end, is told apart. Learning rates reach the
end of their schedules when the budget does. All are in bf16 where the machine has it. Ours samples by DPM-Solver++ 2M
with 16 evaluations, the peers by their DDIM with 50.

A cell that was cut, at any time, goes on from its last state (every ``--save`` seconds of training) or after its last
batch of samples; one that is done is left alone. ``--work`` may be copied from machine to machine of the same kind.

``--report`` measures what is there: Frechet distances to all test images in the features of radiomics and of a probe
(``--probe``, or trained here once), and how far the power of the texture is off from all real images' at most, up to
half the Nyquist frequency; beside the floor, which is as many real training images, or all there are. It writes
report.json, report.png and a picture of each system's first samples, and says which cells are missing.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import peers
import torch

from scansynth.files import atomic, read_json, write_json
from scansynth.store import Store, evenly, open_store

BATCH = 20  # images sampled at once
SHOWN = 6  # images a row of a picture


@dataclass(frozen=True)
class Cell:
    """A system, a seed, and minutes to train."""

    system: str
    seed: int
    minutes: float

    @property
    def name(self) -> str:
        return f"{self.system}/{self.seed}/{self.minutes:g}"

    @classmethod
    def named(cls, name: str) -> "Cell":
        system, seed, minutes = name.split("/")
        return cls(system, int(seed), float(minutes))

    def folder(self, work: Path) -> Path:
        return work / self.name.replace("/", "-")


def clock() -> float:
    """Seconds of this process on the CPU; on CUDA, of the wall."""
    if not torch.cuda.is_available():
        return time.process_time()
    peers.wait()
    return time.perf_counter()


def train(cell: Cell, system: peers.Ours | peers.Peer, folder: Path, save_every: float) -> dict:
    """Train to the end of the budget from wherever an earlier process was; steps and seconds."""
    budget, path = 60 * cell.minutes, folder / "state"
    about = system.resume(path)
    if about is None:
        about, start = {"seconds": 0.0, "steps": 0}, clock()
        system.begin()
        about["seconds"] += clock() - start
    saved = about["seconds"]
    while about["seconds"] < budget:
        start = clock()
        system.advance(about["seconds"] / budget)
        about["seconds"] += clock() - start
        about["steps"] += 1
        if about["seconds"] - saved >= save_every or about["seconds"] >= budget:
            system.save(path, {key: about[key] for key in ("seconds", "steps")})
            saved = about["seconds"]
            print(f"{cell.name}: {saved:.0f} of {budget:.0f} s, {about['steps']} steps", file=sys.stderr, flush=True)
    return about


def run(cell: Cell, options: argparse.Namespace) -> None:
    """Train and sample, as far as that has not been done."""
    folder = cell.folder(options.work)
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    system = peers.SYSTEMS[cell.system](open_store(options.store), "auto", cell.seed)
    about = train(cell, system, folder, options.save)
    start = clock()
    system.finish()
    finishing, parts, seconds = clock() - start, [], []
    for first in range(0, options.count, BATCH):
        path = folder / f"samples_{first:05}.npy"
        if not path.exists():
            seed, count = 100_000 * cell.seed + first, min(BATCH, options.count - first)
            start = clock()
            drawn = system.sample(count, seed, peers.EVALUATIONS[cell.system])
            seconds.append((clock() - start) / count)
            with atomic(path) as partial:
                np.save(partial, drawn, allow_pickle=False)
        parts.append(np.load(path, allow_pickle=False))
    with atomic(folder / "samples.npy") as partial:
        np.save(partial, np.concatenate(parts), allow_pickle=False)
    figures = {key: about[key] for key in ("seconds", "steps")} | {"parameters": system.parameters}
    figures["images_a_second"] = round(about["steps"] * peers.BATCH / about["seconds"], 3)
    # Of the images that this process drew: an earlier one, that was cut, may have drawn the others.
    figures["seconds_to_finish"] = round(finishing, 1)
    figures["seconds_an_image"] = round(statistics.mean(seconds), 3) if seconds else None
    write_json(folder / "cell.json", figures | {"threads": torch.get_num_threads(), "device": peers.best_device().type})


def spaces(options: argparse.Namespace, store: Store) -> list:
    """The extractors of features, the probe trained first if there is none."""
    from scansynth.evaluate import classifier, extractors, probe
    from scansynth.sections import Probe

    path = options.probe or options.work / "probe.safetensors"
    if not path.exists():
        classifier.save(path, *probe.train(store, Probe()))
    return [extractors.make(name, store, {"probe": path}) for name in ("radiomics", "probe")]


def report(cells: Iterable[Cell], options: argparse.Namespace) -> dict:
    """Distances of all cells that are done, by budget and system; what is missing."""
    from scansynth.evaluate.anatomy.spectrum import radial_power, spectrum_deviation
    from scansynth.evaluate.frechet import Gaussian, frechet_distance

    store, folders = open_store(options.store), {cell: cell.folder(options.work) for cell in cells}
    done = {cell: folder for cell, folder in folders.items() if (folder / "cell.json").exists()}
    extractors = spaces(options, store)
    real = [Gaussian.fitted(each.features(store.pixels[store.indices("test")])) for each in extractors]
    power = radial_power(store.pixels).mean(0)

    def distances(pixels: np.ndarray) -> dict[str, float]:
        fitted = [Gaussian.fitted(each.features(pixels)) for each in extractors]
        found = {
            each.name: frechet_distance(*pair)
            for each, pair in zip(extractors, zip(fitted, real, strict=True), strict=True)
        }
        return found | {"texture": float(spectrum_deviation(power, radial_power(pixels).mean(0)))}

    found = {"store": options.store.name, "images": options.count, "held_out": len(store.indices("test"))}
    found["floor"] = distances(store.pixels[evenly(store.indices("train"), options.count)])
    found["missing"] = [cell.name for cell in folders if cell not in done]
    for cell, folder in done.items():
        figures = read_json(folder / "cell.json") | distances(np.load(folder / "samples.npy", allow_pickle=False))
        of_system = found.setdefault(f"{cell.minutes:g} min", {}).setdefault(cell.system, {"seeds": {}})
        of_system["seeds"][cell.seed] = figures
    for key in {f"{cell.minutes:g} min" for cell in done}:
        for of_system in found[key].values():
            for name in ("radiomics", "probe", "texture", "images_a_second"):
                values = [figures[name] for figures in of_system["seeds"].values()]
                of_system[name] = {"mean": statistics.mean(values), "least": min(values), "most": max(values)}
    return found


def draw_report(path: Path, found: dict) -> None:
    """A panel a feature space: a point a seed, a column a budget and system, the floor as a line."""
    from matplotlib.figure import Figure

    columns = [(minutes, system) for minutes in found if minutes.endswith(" min") for system in found[minutes]]
    figure = Figure(figsize=(3 + 0.9 * len(columns), 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("radiomics", "probe"), strict=True):
        for place, (minutes, system) in enumerate(columns):
            values = [figures[name] for figures in found[minutes][system]["seeds"].values()]
            axes.plot([place] * len(values), values, "o", color=f"C{list(peers.SYSTEMS).index(system)}", alpha=0.7)
        axes.axhline(found["floor"][name], color="gray", linestyle=":", label="floor")
        axes.set(title=f"Frechet distance, {name}", yscale="log")
        axes.set_xticks(range(len(columns)), [f"{system}\n{minutes}" for minutes, system in columns])
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def draw_samples(path: Path, pixels: np.ndarray, channels: list[str]) -> None:
    """The first samples as they come."""
    from scansynth.picture import shown, tiled

    with atomic(path) as partial:
        tiled(shown(pixels[: SHOWN**2], channels), SHOWN, SHOWN).save(partial, format="PNG", optimize=True)


def main() -> None:
    """Run the cells one after another, or report on them; with ``--task``, be one cell's process."""
    parser = peers.arguments(__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs="+", default=[10, 30])
    parser.add_argument("--seeds", "--seed", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", choices=peers.SYSTEMS, nargs="+", default=list(peers.SYSTEMS))
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--save", type=float, default=60, help="seconds of training between states")
    parser.add_argument("--probe", type=Path)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.task:
        run(Cell.named(options.task), options)
        return
    cells = [Cell(*each) for each in product(options.only, options.seeds, options.minutes)]
    if options.report:
        found = report(cells, options)
        write_json(options.work / "report.json", found)
        draw_report(options.work / "report.png", found)
        channels = open_store(options.store).manifest["channels"]
        for cell in cells:
            if (pixels := cell.folder(options.work) / "samples.npy").exists():
                draw_samples(cell.folder(options.work) / "samples.png", np.load(pixels, allow_pickle=False), channels)
        print(json.dumps(found, indent=2))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # subprocess.run then ends the cell's process too
    told = ["--store", str(options.store), "--work", str(options.work)]
    told += ["--count", str(options.count), "--save", str(options.save)]
    for cell in cells:
        if not (cell.folder(options.work) / "cell.json").exists():
            command = [peers.python(cell.system, options.peers), __file__, *told, "--task", cell.name]
            subprocess.run(command, env=peers.environment(1), check=True)


if __name__ == "__main__":
    main()
