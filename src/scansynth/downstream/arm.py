"""One arm of the experiment on augmentation: a classifier, trained on what the arm may see, reads the test patients.

``real``            the fraction's training images
``classical``       the same with classical augmentation: the arm to beat
``synthetic``       synthetic images alone
``mixed_N``         in each batch, N synthetic images for each real one
``pretrained``      half of the steps on synthetic images, then half on real ones
``oversampled``     real images, and as many synthetic ones of the rarest class as the commonest has more
``..._classical``   one of these with classical augmentation on top
"""

import json

import numpy as np
import torch

from scansynth import stage
from scansynth.config import Settings
from scansynth.downstream.classifier import Images, Phase, train
from scansynth.downstream.task import Task, task_of
from scansynth.errors import ScansynthError
from scansynth.files import atomic
from scansynth.sections import Arm as Options
from scansynth.store import Store, open_store, read_table

CLASSICAL = "classical"
REAL = ("real", CLASSICAL)  # arms that do without synthetic images; the others are compared with them


def phases(arm: str, real: Images, common: Images, rare: Images, options: Options) -> list[Phase]:
    """What the arm is trained on; ``common`` are the synthetic images of all classes, ``rare`` those of the rarest."""
    kind = arm.removesuffix(f"_{CLASSICAL}").split("_")[0]
    batch, steps = options.batch, options.steps
    match kind:
        case "real" | "classical":
            return [Phase(steps, [(real, batch)])]
        case "synthetic":
            return [Phase(steps, [(common, batch)])]
        case "mixed":
            synthetic = options.synthetic_of(arm)
            return [Phase(steps, [(real, batch - synthetic), (common, synthetic)])]
        case "pretrained":
            return [Phase(steps // 2, [(common, batch)]), Phase(steps - steps // 2, [(real, batch)])]
        case "oversampled":
            pixels, shown = np.concatenate([real.pixels, rare.pixels]), np.concatenate([real.shown, rare.shown])
            return [Phase(steps, [(Images(pixels, shown, len(rare)), batch)])]
    raise ScansynthError(f"augmentation.arms: {arm!r} is none; config/defaults.yaml says which there are")


def images_of(store: Store, task: Task, split: str) -> Images:
    """The images of a split that the task asks about.

    Raises:
        ScansynthError: if there are none.
    """
    indices = task.rows(store.table, split)
    if not len(indices):
        raise ScansynthError(f"no image of the {split} split is asked about: see images.{split}, task.target")
    return Images(store.pixels[indices], task.truth([store.table[i] for i in indices]))


def predict(arm: str, seed: int, store: Store, synthetic: tuple[Images, Images], settings: Settings) -> dict:
    """Train the arm's classifier; probabilities of the classes for validation and test images, and the history."""
    task, options = task_of(store.table, store.manifest, settings.task), settings.arm
    real, val, test = (images_of(store, task, split) for split in ("train", "val", "test"))
    plan = phases(arm, real, *synthetic, options)
    trained = train(plan, val, arm.endswith(CLASSICAL), options, seed)
    sources = [images for phase in plan for images, _ in phase.sources]
    return {
        "about": {
            "arm": arm,
            "seed": seed,
            "classes": task.classes,
            "chosen": trained.chosen,
            "real": sum(len(images) - images.synthetic for images in sources),
            "synthetic": sum(images.synthetic for images in sources),
            "patients": len({store.table[i]["patient"] for i in task.rows(store.table, "train")}),
            "shown": dict(zip(task.classes, real.shown.sum(0).tolist(), strict=True)),
            "parameters": sum(parameter.numel() for parameter in trained.network.parameters()),
        },
        "history": trained.history,
        "val": trained.probabilities(val.pixels, options.size),
        "test": trained.probabilities(test.pixels, options.size),
        "test_ids": np.array([store.table[i]["id"] for i in task.rows(store.table, "test")]),
    }


def _synthetic(job: stage.Job, task: Task) -> tuple[Images, Images]:
    """The synthetic images of all classes, and those of the rarest."""
    if not job.lists["samples"]:
        return Images(np.empty(0), np.empty(0)), Images(np.empty(0), np.empty(0))
    pixels = np.load(job.lists["samples"][0], mmap_mode="r", allow_pickle=False)
    shown = task.truth(read_table(job.lists["conditions"][0]))
    count = job.settings.synthetic.images
    return tuple(Images(pixels[part], shown[part], len(pixels[part])) for part in (slice(count), slice(count, None)))


def work(job: stage.Job) -> None:
    """Train the classifier of ``--arm`` with ``--seed`` and write what it says of the test patients."""
    store = open_store(job.inputs["pixels"])
    synthetic = _synthetic(job, task_of(store.table, store.manifest, job.settings.task))
    found = predict(job.texts["arm"], int(job.texts["seed"]), store, synthetic, job.settings)
    job.facts |= {**found["about"], "threads": torch.get_num_threads()}
    with atomic(job.outputs["predictions"]) as partial:
        np.savez(partial, **{**found, "about": json.dumps(found["about"] | {"fraction": float(job.texts["fraction"])})})


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    stage.run(
        "downstream.arm",
        work,
        inputs=("pixels", "table", "manifest"),
        lists=("samples", "conditions"),
        outputs=("predictions",),
        texts=("fraction", "arm", "seed"),
        argv=argv,
    )


if __name__ == "__main__":
    main()
