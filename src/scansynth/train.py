"""Train a diffusion model on the training patients of an image store.

The order of the images and all noise are functions of (seed, step), so that a run that was killed and resumed ends
with the same bytes as one that was not; so does one that several processes share, see ``training.parallel``.

A run may be made in slices: at SIGTERM, at SIGINT, or after SCANSYNTH_SLICE_MINUTES minutes it saves its state after
the step in progress and ends with status 75. The same command goes on from there.
"""

import functools
import json
import os
import shutil
import sys
from pathlib import Path

from tqdm import tqdm

from scansynth import digest, model
from scansynth.config import Settings
from scansynth.device import facts
from scansynth.errors import ScansynthError
from scansynth.files import atomic, sha256
from scansynth.stage import Job, run
from scansynth.store import open_store
from scansynth.training import parallel, state
from scansynth.training.parallel import Group
from scansynth.training.slices import STATUS, Slice
from scansynth.training.trainer import NotFiniteError, Trainer

# What a model's file says of its images, from their manifest.
DESCRIBED = ("dataset", "channels", "findings", "no_finding", "views", "sexes", "ages")


def fit(trainer: Trainer, folder: Path) -> Path:
    """Train to the last step from wherever ``folder`` says that an earlier run was; the file of metrics.

    Raises:
        SystemExit: with status 75, at the end of a slice that is not the last.
        ScansynthError: if the gradient is not finite; the state of the step before is saved.
    """
    options, first = trainer.options, trainer.group.rank == 0
    path, metrics = folder / "state.safetensors", folder / "metrics.jsonl"
    with Slice() as now:
        if found := state.load(path):
            trainer.resume(*found)
            _say(first, f"resumed after step {trainer.step} of {options.steps}")
        else:
            trainer.begin()
        if first:
            _tidy(folder, metrics, trainer.step)
        bar = tqdm(
            total=options.steps * options.batch,
            initial=trainer.step * options.batch,
            unit=" images",
            mininterval=1,
            smoothing=0.1,
            disable=not first,
        )
        rows = metrics if first else Path(os.devnull)
        with rows.open("a", encoding="utf-8", buffering=1) as log, bar:
            while trainer.step < options.steps:
                try:
                    row = {"step": trainer.step + 1, "loss": trainer.advance()}
                except NotFiniteError:
                    _save(trainer, path)
                    raise
                last = trainer.step == options.steps
                if first and (trainer.step % options.validate_every == 0 or last):
                    row |= trainer.validate()
                log.write(json.dumps(row) + "\n")
                bar.set_postfix(row, refresh=False)
                bar.update(options.batch)
                over = trainer.group.tell(now.over())
                if over or last or trainer.step % options.checkpoint_every == 0:
                    _save(trainer, path)
                if over and not last:
                    _say(
                        first,
                        f"{over}: stopped after step {trainer.step} of {options.steps}, whose state is saved; "
                        "the same command goes on from there",
                    )
                    raise SystemExit(STATUS)
    return metrics


def _save(trainer: Trainer, path: Path) -> None:
    if trainer.group.rank == 0:
        state.save(path, trainer.tensors(), trainer.about())


def _say(first: bool, message: str) -> None:
    if first:
        print(message, file=sys.stderr)


def _tidy(folder: Path, metrics: Path, step: int) -> None:
    """Remove what a killed run left half written, and the rows after ``step``: these come again."""
    folder.mkdir(parents=True, exist_ok=True)
    for partial in folder.glob(".*.partial.*"):
        partial.unlink()
    lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True) if metrics.exists() else []
    with atomic(metrics) as partial:
        partial.write_text("".join(lines[:step]), encoding="utf-8")


def work(job: Job, group: Group) -> None:
    """The stage, in the first process of ``group``."""
    settings = job.settings
    sections = settings.model_dump(mode="json", exclude_none=True)
    # The folder is named by all that the run depends on, so that no run ever resumes another's.
    name = digest.of_value(
        [sections, digest.of_code("scansynth.train"), [sha256(path) for path in job.inputs.values()]]
    )
    folder = job.outputs["trained"].parent / "work"
    group.tell({"settings": sections, "pixels": str(job.inputs["pixels"]), "folder": str(folder / name)})
    store = open_store(job.inputs["pixels"])
    trainer = Trainer(store, settings, group)
    metrics = fit(trainer, folder / name)
    described = {key: store.manifest[key] for key in DESCRIBED}
    about = sections | described | {"shape": store.pixels.shape[1:], "chosen": trainer.best()}
    model.save(job.outputs["trained"], trainer.result(), about, last=trainer.denoiser.network)
    with atomic(job.outputs["metrics"]) as partial:
        shutil.copyfile(metrics, partial)
    for stale in folder.iterdir():
        if stale.name != name:
            shutil.rmtree(stale, ignore_errors=True)
    job.facts |= facts(trainer.device, trainer.precision) | {
        "seed": settings.train.seed,
        "parameters": sum(parameter.numel() for parameter in trainer.parameters),
        "images": len(trainer.batches.indices),
        "processes": group.size,
        "compiled": trainer.compiled,
        "chosen": trainer.best(),
        "candidates": trainer.candidates,
    }


def follow(group: Group) -> None:
    """The part of the stage that a process other than the first one has."""
    told = group.tell()
    trainer = Trainer(open_store(Path(told["pixels"])), Settings.model_validate(told["settings"]), group)
    fit(trainer, Path(told["folder"]))


def main(argv: list[str] | None = None) -> None:
    """Run the stage from the command line."""
    group = parallel.join()
    if group.rank == 0:
        stage = functools.partial(work, group=group)
        run("train", stage, inputs=("pixels", "table", "manifest"), outputs=("trained", "metrics"), argv=argv)
    else:
        try:
            follow(group)
        except ScansynthError:
            raise SystemExit(1) from None  # the first process says it
    parallel.leave(group)


if __name__ == "__main__":
    main()
