"""Train a diffusion model on the training patients of an image store.

The order of the images and all noise are functions of (seed, step), so that a run that was killed and resumed ends
with the same bytes as one that was not.
"""

import json
import shutil
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from scansynth import digest, model
from scansynth.config import Settings
from scansynth.device import best_device, facts, resolve_precision
from scansynth.diffusion.denoiser import Denoiser
from scansynth.errors import ScansynthError
from scansynth.files import atomic, sha256
from scansynth.networks.ema import PowerEMA
from scansynth.stage import Job, run
from scansynth.store import Store, evenly, open_store

PRIOR_IMAGES = 10_000  # images, at most, that the Gaussian prior is fitted to
# Fewer test images than this could be drawn as one image by a bootstrap, which has no spread.
LEAST_IMAGES = {"train": 10, "val": 1, "test": 10}
VALIDATION_IMAGES = 64  # held-out images, at most, of the validation loss


class Trainer:
    """A training run: its state, one step of it, and what it takes to resume it."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.options, self.store = settings.train, store
        self.device = best_device()
        self.precision = resolve_precision(self.options.precision, self.device)
        self.train, self.val = store.indices("train"), evenly(store.indices("val"), VALIDATION_IMAGES)
        for split, least in LEAST_IMAGES.items():
            if (found := len(store.indices(split))) < least:
                raise ScansynthError(
                    f"the {split} split has {found} images, and {least} are the least that figures can be had from: "
                    "add patients, or change their shares (images.train, images.val, images.test)"
                )
        self.conditions = torch.from_numpy(store.conditions)
        self.step = 0
        torch.manual_seed(self.options.seed)
        self.denoiser = model.build(
            store.pixels.shape[1:], model.vocabulary(store.manifest), settings.network, settings.diffusion
        )
        self.denoiser.bf16 = self.precision == "bf16"
        self.denoiser.prior.fit(self.images(evenly(self.train, PRIOR_IMAGES)))
        self.denoiser.to(self.device, memory_format=torch.channels_last)
        self.average = PowerEMA(self.denoiser, self.options.ema)
        self.optimizer = torch.optim.AdamW(self.denoiser.parameters(), betas=(0.9, 0.99), fused=True)

    def images(self, indices: np.ndarray) -> Tensor:
        """Images as float32 in [-1, 1]."""
        return torch.from_numpy(self.store.pixels[indices]).float() / 127.5 - 1

    def advance(self) -> float:
        """Take one step of the optimiser; its loss.

        Raises:
            ScansynthError: if the gradient is not finite; the weights are then those of the step before.
        """
        options, random = self.options, np.random.default_rng([self.options.seed, self.step])
        chosen = self.train[order(len(self.train), options.seed, self.step * options.batch, options.batch)]
        known = torch.from_numpy(random.random(len(chosen)) >= options.null_probability)
        self.denoiser.train()
        torch.manual_seed(int(random.integers(2**63)))  # dropout's
        loss = self.losses(self.denoiser, chosen, known, random).mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), options.gradient_clip)
        if not torch.isfinite(norm):
            raise ScansynthError(
                f"the loss is not finite at step {self.step + 1}: "
                "lower train.learning_rate or set train.precision to fp32"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = options.learning_rate * schedule(self.step, options.steps, options.warmup)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.average.update(self.denoiser, self.step)
        return float(loss.detach())

    @torch.no_grad()
    def validate(self) -> float:
        """Loss of the averaged weights on held-out patients, at the same noise each time."""
        random = np.random.default_rng([self.options.seed, 2**32])
        batches = np.array_split(random.permutation(self.val), -(-len(self.val) // self.options.batch))
        told = [torch.ones(len(batch), dtype=torch.bool) for batch in batches]
        losses = [self.losses(self.average.model, *part, random) for part in zip(batches, told, strict=True)]
        return float(torch.cat(losses).mean())

    def losses(self, denoiser: Denoiser, chosen: np.ndarray, known: Tensor, random: np.random.Generator) -> Tensor:
        """The loss of each image, at noise levels spread evenly over log-SNR from a random start."""
        n = len(chosen)
        low, high = self.options.log_snr
        level = low + (high - low) * ((random.random() + np.arange(n) / n) % 1)
        epsilon = torch.from_numpy(random.standard_normal((n, *denoiser.shape), dtype=np.float32))
        log_snr = torch.from_numpy(level + denoiser.sde.shift).float()
        tensors = (self.images(chosen), epsilon, log_snr, self.conditions[chosen], known)
        return denoiser.loss(*(tensor.to(self.device) for tensor in tensors))

    def save(self, path: Path) -> None:
        """Write the state, atomically."""
        tensors = {f"last.{name}": value for name, value in self.denoiser.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.model.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        with atomic(path) as partial:
            save_file(tensors, partial, metadata={"step": str(self.step)})

    def resume(self, path: Path) -> None:
        """Take up the state that ``save`` wrote."""
        with safe_open(path, "pt") as file:
            self.step = int(file.metadata()["step"])
        tensors = load_file(path, device=str(self.device))
        self.denoiser.load_state_dict(_part(tensors, "last."))
        self.average.model.load_state_dict(_part(tensors, "average."))
        state: dict[int, dict[str, Tensor]] = {}
        parameters = list(self.denoiser.parameters())
        for name, value in _part(tensors, "optimizer.").items():
            number, key = name.split(".")
            # The fused optimiser walks a parameter and its moments in memory order: they need the same strides.
            moment = torch.empty_like(parameters[int(number)]).copy_(value) if value.ndim else value
            state.setdefault(int(number), {})[key] = moment
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})


def order(images: int, seed: int, start: int, count: int) -> np.ndarray:
    """Positions of the ``count`` images shown from the ``start``-th on: every epoch is a new permutation of all."""
    places = range(start, start + count)
    return np.array([_permutation(images, seed, place // images)[place % images] for place in places])


@lru_cache(maxsize=2)
def _permutation(images: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, 2**32 + 1, epoch]).permutation(images)


def schedule(step: int, steps: int, warmup: int) -> float:
    """Share of the peak learning rate at ``step`` (0, 1, ...): linear warm-up, then a cosine down to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 + 0.5 * float(np.cos(np.pi * (step - warmup) / max(1, steps - warmup)))


def fit(trainer: Trainer, work: Path) -> Path:
    """Train to the last step from wherever ``work`` says that an earlier run was; the file of metrics."""
    options, state, metrics = trainer.options, work / "state.safetensors", work / "metrics.jsonl"
    work.mkdir(parents=True, exist_ok=True)
    if state.exists():
        trainer.resume(state)
        print(f"resumed after step {trainer.step} of {options.steps}", file=sys.stderr)
    _truncate(metrics, trainer.step)
    bar = tqdm(
        total=options.steps * options.batch,
        initial=trainer.step * options.batch,
        unit=" images",
        mininterval=1,
        smoothing=0.1,
    )
    with metrics.open("a", encoding="utf-8", buffering=1) as log, bar:
        while trainer.step < options.steps:
            row = {"step": trainer.step + 1, "loss": trainer.advance()}
            if trainer.step % options.validate_every == 0 or trainer.step == options.steps:
                row["val_loss"] = trainer.validate()
            log.write(json.dumps(row) + "\n")
            bar.set_postfix(row, refresh=False)
            bar.update(options.batch)
            if trainer.step % options.checkpoint_every == 0 or trainer.step == options.steps:
                trainer.save(state)
    return metrics


def _truncate(metrics: Path, step: int) -> None:
    """Drop the rows after ``step``: they were written after the state that is resumed from, and come again."""
    lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True) if metrics.exists() else []
    with atomic(metrics) as partial:
        partial.write_text("".join(lines[:step]), encoding="utf-8")


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def work(job: Job) -> None:
    """The stage."""
    store, settings = open_store(job.inputs["pixels"]), job.settings
    trainer = Trainer(store, settings)
    sections = settings.model_dump(mode="json", exclude_none=True)
    # The folder is named by all that the run depends on, so that no run ever resumes another's.
    name = digest.of_value(
        [sections, digest.of_code("scansynth.train"), [sha256(path) for path in job.inputs.values()]]
    )
    folder = job.outputs["model"].parent / "work"
    metrics = fit(trainer, folder / name)
    described = {key: store.manifest[key] for key in ("dataset", "findings", "views")}
    model.save(
        job.outputs["model"],
        trainer.average.model,
        trainer.denoiser.network,
        sections | described | {"shape": store.pixels.shape[1:]},
    )
    with atomic(job.outputs["metrics"]) as partial:
        shutil.copyfile(metrics, partial)
    for stale in folder.iterdir():
        if stale.name != name:
            shutil.rmtree(stale, ignore_errors=True)
    job.facts |= facts(trainer.device, trainer.precision) | {
        "seed": settings.train.seed,
        "parameters": sum(parameter.numel() for parameter in trainer.denoiser.parameters()),
        "images": len(trainer.train),
    }


def main(argv: list[str] | None = None) -> None:
    """Run the stage from the command line."""
    run("train", work, inputs=("pixels", "table", "manifest"), outputs=("model", "metrics"), argv=argv)


if __name__ == "__main__":
    main()
