"""What is compared: this project, MONAI and diffusers behind one interface, and how their processes are run.

All see the same training images without their labels, in [-1, 1] and in the same batches, and have about as many
weights: within 10% of ours. Otherwise each has its own settings:

ours       the preset ``laptop``
monai      DiffusionModelUNet, DDPMScheduler and DiffusionInferer as in the tutorial 2d_ddpm: Adam at 2.5e-5, 1
           residual block a scale, attention of one head at the coarsest, epsilon, linear betas, no warm-up, no EMA
diffusers  UNet2DModel and DDPMScheduler as in train_unconditional.py: AdamW at 1e-4 with betas 0.95 and 0.999 and
           weight decay 1e-6, 2 residual blocks a scale, epsilon, linear betas, cosine decay after a warm-up, gradients
           clipped at 1, EMAModel with power 3/4. Its warm-up of 500 steps would be longer than a short run on a CPU: it
           is a tenth of the run at most

The peers need an environment of their own::

    python -m venv /tmp/peers && /tmp/peers/bin/pip install numpy torch monai einops diffusers

and ``--peers /tmp/peers/bin/python``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scansynth.conditions import COLUMNS
from scansynth.device import best_device, resolve_precision
from scansynth.store import Store, open_store
from scansynth.training.schedule import schedule

ROOT = Path(__file__).parents[2]
BATCH = 8  # training images a step, of all
TIMESTEPS = 1000  # of the peers' process
EVALUATIONS = {"ours": 16, "monai": 50, "diffusers": 50}  # of the network for an image: DPM-Solver++ 2M, DDIM, DDIM
ENDLESS = 10**9  # steps of a run that the clock ends


def unlabelled(store: Store) -> Store:
    """The store without conditions: the peers are told of none."""
    table = [row | dict.fromkeys(COLUMNS, "") for row in store.table]
    nothing = {name: [] for name in ("findings", "views", "sexes", "ages")}
    return replace(store, table=table, manifest=store.manifest | nothing)


class Ours:
    """This project's Trainer and sampler."""

    def __init__(self, store: Store, precision: str, seed: int) -> None:
        import yaml

        from scansynth.config import Settings
        from scansynth.training.trainer import Trainer

        values = yaml.safe_load((ROOT / "config" / "presets" / "laptop.yaml").read_text(encoding="utf-8"))
        train = values["train"] | {"batch": BATCH, "steps": ENDLESS, "precision": precision, "seed": seed}
        sections = {"network": values["network"], "train": train, "diffusion": {}, "sample": {}}
        self.settings = Settings.model_validate(sections)
        self.trainer = Trainer(unlabelled(store), self.settings)

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.trainer.denoiser.parameters())

    def begin(self) -> None:
        self.trainer.begin()

    def advance(self, share: float) -> None:
        """A step, ``share`` of the run being over: the learning rate follows the clock."""
        self._last(round(self.trainer.step / share) if share else ENDLESS)
        self.trainer.advance()
        if self.trainer.step % self.trainer.options.validate_every == 0:
            self.trainer.validate()

    def finish(self) -> None:
        """Choose the average of the weights, and calibrate the sampler."""
        from scansynth.calibrate import calibrate
        from scansynth.sections import Calibrate

        self._last(self.trainer.step)
        self.trainer.validate()
        calibrate(self.trainer.result(), self.trainer.store, Calibrate(seed=self.trainer.options.seed))

    def sample(self, count: int, seed: int, evaluations: int) -> np.ndarray:
        """Images, uint8 (count, channels, size, size), in one batch."""
        from scansynth.synthesise import synthesise

        options = self.settings.sample.model_copy(update={"seed": seed, "batch": count, "steps": evaluations})
        nothing = np.zeros((count, 0), np.float32)
        return synthesise(self.trainer.result(), nothing, nothing, options)

    def save(self, path: Path, about: dict) -> None:
        from scansynth.training import state

        state.save(path.with_suffix(".safetensors"), self.trainer.tensors(), self.trainer.about() | about)

    def resume(self, path: Path) -> dict | None:
        """Take up what ``save`` wrote; its ``about``, or None where it never did."""
        from scansynth.training import state

        if found := state.load(path.with_suffix(".safetensors")):
            self.trainer.resume(*found)
            return found[1]
        return None

    def _last(self, steps: int) -> None:
        self.trainer.options = self.trainer.options.model_copy(update={"steps": max(steps, self.trainer.step)})


class Peer(ABC):
    """What MONAI and diffusers have in common: the loop of their tutorials."""

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer

    def __init__(self, store: Store, precision: str, seed: int) -> None:
        self.device, self.seed, self.step = best_device(), seed, 0
        self.bf16 = resolve_precision(precision, self.device) == "bf16"
        self.pixels, self.indices = store.pixels, store.indices("train")
        torch.manual_seed(seed)

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())

    def begin(self) -> None:
        self.network.train()

    def advance(self, share: float) -> None:
        """A step, ``share`` of the run being over."""
        random = np.random.default_rng([self.seed, self.step])
        chosen = random.choice(self.indices, BATCH, replace=len(self.indices) < BATCH)
        images = torch.from_numpy(self.pixels[chosen]).float() / 127.5 - 1
        noise = torch.from_numpy(random.standard_normal(images.shape, dtype=np.float32))
        timesteps = torch.from_numpy(random.integers(TIMESTEPS, size=BATCH))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            predicted = self.predict(*(tensor.to(self.device) for tensor in (images, noise, timesteps)))
        functional.mse_loss(predicted.float(), noise.to(self.device)).backward()
        self.update(share)
        self.optimizer.zero_grad()
        self.step += 1

    @abstractmethod
    def predict(self, images: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The noise that the network sees in the noisy images."""

    def update(self, share: float) -> None:
        """Change the weights by their gradients."""
        self.optimizer.step()

    def finish(self) -> None:
        self.network.eval()

    def sample(self, count: int, seed: int, evaluations: int) -> np.ndarray:
        """Images, uint8 (count, channels, size, size), in one batch."""
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            images = self.draw(count, torch.Generator().manual_seed(seed), evaluations)
        return images.float().mul(127.5).add(127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()

    @abstractmethod
    def draw(self, count: int, generator: torch.Generator, evaluations: int) -> Tensor:
        """Images in [-1, 1] by DDIM."""

    def state(self) -> dict:
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}

    def save(self, path: Path, about: dict) -> None:
        from scansynth.files import atomic

        with atomic(path.with_suffix(".pt")) as partial:
            torch.save(self.state() | {"about": about}, partial)

    def resume(self, path: Path) -> dict | None:
        """Take up what ``save`` wrote; its ``about``, or None where it never did."""
        file = path.with_suffix(".pt")
        if not file.exists():
            return None
        found = torch.load(file, map_location=self.device, weights_only=True)
        self.load(found)
        self.network.train()
        return found["about"]

    def load(self, found: dict) -> None:
        """Take up what ``state`` saved."""
        self.network.load_state_dict(found["network"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.step = found["step"]


class Monai(Peer):
    """MONAI's network, scheduler and inferer."""

    def __init__(self, store: Store, precision: str, seed: int) -> None:
        from monai.inferers import DiffusionInferer
        from monai.networks.nets import DiffusionModelUNet
        from monai.networks.schedulers import DDPMScheduler

        super().__init__(store, precision, seed)
        channels, widths = store.pixels.shape[1], (32, 64, 96, 96)
        self.network = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=channels,
            out_channels=channels,
            num_res_blocks=1,
            channels=widths,
            attention_levels=(False, False, False, True),
            num_head_channels=widths,
        ).to(self.device)
        self.inferer = DiffusionInferer(DDPMScheduler(num_train_timesteps=TIMESTEPS))
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=2.5e-5)

    def predict(self, images: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return self.inferer(inputs=images, diffusion_model=self.network, noise=noise, timesteps=timesteps)

    def draw(self, count: int, generator: torch.Generator, evaluations: int) -> Tensor:
        from monai.networks.schedulers import DDIMScheduler

        scheduler = DDIMScheduler(num_train_timesteps=TIMESTEPS)
        scheduler.set_timesteps(evaluations)
        noise = torch.randn((count, *self.pixels.shape[1:]), generator=generator).to(self.device)
        return self.inferer.sample(noise, self.network, scheduler, verbose=False)


class Diffusers(Peer):
    """diffusers' network, scheduler, average and pipeline."""

    RATE, WARMUP = 1e-4, 500

    def __init__(self, store: Store, precision: str, seed: int) -> None:
        from diffusers import DDPMScheduler, UNet2DModel
        from diffusers.training_utils import EMAModel

        super().__init__(store, precision, seed)
        _, channels, size, _ = store.pixels.shape
        self.network = UNet2DModel(
            sample_size=size,
            in_channels=channels,
            out_channels=channels,
            layers_per_block=2,
            block_out_channels=(32, 32, 64, 96),
            down_block_types=("DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
        ).to(self.device)
        self.scheduler = DDPMScheduler(num_train_timesteps=TIMESTEPS)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), self.RATE, betas=(0.95, 0.999), weight_decay=1e-6)
        self.average = EMAModel(self.network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)

    def predict(self, images: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return self.network(self.scheduler.add_noise(images, noise, timesteps), timesteps).sample

    def update(self, share: float) -> None:
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        steps = round(self.step / share) if share else ENDLESS
        warmup = min(self.WARMUP, max(steps // 10, 1))
        for group in self.optimizer.param_groups:
            group["lr"] = self.RATE * schedule(self.step, steps, warmup)
        self.optimizer.step()
        self.average.step(self.network.parameters())

    def draw(self, count: int, generator: torch.Generator, evaluations: int) -> Tensor:
        from diffusers import DDIMPipeline, DDIMScheduler

        pipeline = DDIMPipeline(self.network, DDIMScheduler.from_config(self.scheduler.config))
        pipeline.set_progress_bar_config(disable=True)
        self.average.store(self.network.parameters())
        self.average.copy_to(self.network.parameters())
        images = pipeline(count, generator, num_inference_steps=evaluations, output_type="np").images
        self.average.restore(self.network.parameters())
        return torch.from_numpy(images).movedim(-1, 1) * 2 - 1

    def state(self) -> dict:
        return super().state() | {"average": self.average.state_dict()}

    def load(self, found: dict) -> None:
        super().load(found)
        self.average.load_state_dict(found["average"])


SYSTEMS: dict[str, Callable[[Store, str, int], Ours | Peer]] = {"ours": Ours, "monai": Monai, "diffusers": Diffusers}


def wait() -> None:
    """Until the device has done what it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def arguments(doc: str) -> argparse.ArgumentParser:
    """The options that all three benchmarks have."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--store", type=Path, default=Path("data/images/nih_cxr14_128.npy"))
    parser.add_argument("--peers", default=sys.executable, help="the Python that has MONAI, einops and diffusers")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    return parser


def python(system: str, peers: str) -> str:
    """The interpreter of a system's processes."""
    return sys.executable if system == "ours" else peers


def environment(threads: int) -> dict[str, str]:
    """That of a process of so many threads, which finds this project whatever its interpreter."""
    told = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    path = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | told | {"PYTHONPATH": path}


def in_turns(script: str, told: list[str], options: argparse.Namespace, tasks: Iterable[str]) -> dict[str, list[dict]]:
    """What ``script`` measured of each task, a process each: ``options.repeats`` rounds of all of them."""
    found: dict[str, list[dict]] = {}
    tasks = list(tasks)
    for _ in range(options.repeats):
        for task in tasks:
            command = [python(task.split("/")[0], options.peers), script, "--store", str(options.store), *told]
            done = subprocess.run(
                [*command, "--task", task],
                env=environment(options.threads),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found.setdefault(task, []).append(json.loads(done.stdout.splitlines()[-1]))
            print(task, found[task][-1], file=sys.stderr)
    return found


def timed(work: Callable[[], object]) -> float:
    """Wall seconds."""
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def opened(task: str, store: Path) -> Ours | Peer:
    """The system and the precision that ``task`` names."""
    name, precision = task.split("/")
    return SYSTEMS[name](open_store(store), precision, 0)


def beside(found: dict[str, list[dict]], key: str) -> dict[str, dict]:
    """Medians of each task, and how many times its ``key`` our best one's is: the median, least and most of a round."""
    medians = {task: statistics.median(turn[key] for turn in turns) for task, turns in found.items()}
    ours = max((task for task in medians if task.startswith("ours/")), key=medians.__getitem__)
    result = {}
    for task, turns in found.items():
        result[task] = {name: round(statistics.median(turn[name] for turn in turns), 3) for name in turns[0]}
        ratios = [mine[key] / its[key] for mine, its in zip(found[ours], turns, strict=True)]
        if task != ours:
            result[task]["ours_over_its"] = round(statistics.median(ratios), 2)
            result[task]["spread"] = [round(min(ratios), 2), round(max(ratios), 2)]
    fair = {task: each["parameters"] / result[ours]["parameters"] for task, each in result.items()}
    if unfair := {task: round(ratio, 2) for task, ratio in fair.items() if abs(ratio - 1) > 0.1}:
        raise SystemExit(f"the peers' widths have to be changed: weights by ours {unfair}")
    return result


def draw_bars(path: Path, result: dict[str, dict], key: str, label: str) -> None:
    """A bar a task, and how many times as long ours is."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 0.5 + 0.4 * len(result)), layout="constrained")
    axes = figure.add_subplot()
    tasks = list(result)[::-1]
    bars = axes.barh(tasks, [result[task][key] for task in tasks])
    times = [f"  ours: {result[task]['ours_over_its']} times" if "spread" in result[task] else "" for task in tasks]
    axes.bar_label(bars, [f"{result[task][key]:.3g}{text}" for task, text in zip(tasks, times, strict=True)], padding=3)
    axes.set(xlabel=label, xmargin=0.4)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
