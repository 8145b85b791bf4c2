"""Train the probe: a classifier of the real training images, whose features the distances are measured in.

It stands in for the Inception network of the FID (Heusel et al. 2017, arXiv:1706.08500) where no outside weights may be
used: it has seen these scans alone, and nothing but the labels says what it looks at.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scansynth import stage
from scansynth.errors import ScansynthError
from scansynth.evaluate.classes import JointClasses
from scansynth.evaluate.classifier import About, Classifier, as_input, save
from scansynth.sections import Probe
from scansynth.store import Store, open_store

ROTATIONS = ("0 degrees", "90 degrees", "180 degrees", "270 degrees")


def train(store: Store, settings: Probe) -> tuple[Classifier, About]:
    """A probe of the store's training split, the same to the bit for the same seed and number of threads.

    The classes are the pairs (rarest finding, view). Where there are fewer than two, it tells by how many quarter turns
    an image was rotated (Gidaris et al. 2018, arXiv:1803.07728). Images of the validation split whose class training
    does not have count as errors.

    Raises:
        ScansynthError: if the training split is empty.
    """
    train_indices, val_indices = store.indices("train"), store.indices("val")
    if not len(train_indices):
        raise ScansynthError("the training split is empty: a probe needs images to learn from (images.train)")
    classes = JointClasses.of([store.table[i] for i in train_indices])
    by_labels = len(classes.names) > 1
    targets = classes.indices(store.table) if by_labels else None
    names = classes.names if by_labels else ROTATIONS

    # Initial weights come from the global generator: it is seeded here and given back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = Classifier(store.pixels.shape[1], settings.features, len(names))
    _fit(model, store.pixels, train_indices, targets, settings)

    accuracy = chance = None
    if len(val_indices):
        accuracy, chance = _scores(model, store.pixels, train_indices, val_indices, targets)
    task = "labels" if by_labels else "rotation"
    return model, About(store.pixels.shape[1], settings.features, task, names, accuracy, chance)


def _fit(
    model: Classifier, pixels: np.ndarray, indices: np.ndarray, targets: np.ndarray | None, settings: Probe
) -> None:
    generator = np.random.default_rng(settings.seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    batch = min(settings.batch, len(indices))
    order = np.empty(0, dtype=np.int64)
    model.train()
    for _ in range(settings.steps):
        if len(order) < batch:
            order = generator.permutation(indices)
        chosen, order = order[:batch], order[batch:]
        images = as_input(pixels[chosen])
        if targets is None:
            labels = torch.from_numpy(generator.integers(len(ROTATIONS), size=batch))
            images = _rotated(images, labels)
        else:
            labels = torch.from_numpy(targets[chosen])
        optimiser.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimiser.step()
        schedule.step()


def _scores(
    model: Classifier,
    pixels: np.ndarray,
    train_indices: np.ndarray,
    val_indices: np.ndarray,
    targets: np.ndarray | None,
) -> tuple[float, float]:
    """Accuracy on the validation split, and that of always naming the most frequent training class."""
    if targets is None:
        images = as_input(pixels[val_indices])
        turns = torch.arange(len(images)) % len(ROTATIONS)
        with torch.inference_mode():
            right = model(_rotated(images, turns)).argmax(1) == turns
        return right.float().mean().item(), 1 / len(ROTATIONS)
    predicted = model.classify(model.extract(pixels[val_indices])).argmax(1)
    most_frequent = np.bincount(targets[train_indices]).argmax()
    return float((predicted == targets[val_indices]).mean()), float((targets[val_indices] == most_frequent).mean())


def _rotated(images: Tensor, turns: Tensor) -> Tensor:
    return torch.stack([image.rot90(int(k), dims=(1, 2)) for image, k in zip(images, turns, strict=True)])


def work(job: stage.Job) -> None:
    """Train the probe of a store and write it."""
    model, about = train(open_store(job.inputs["pixels"]), job.settings.probe)
    save(job.outputs["weights"], model, about)
    job.facts |= {
        "task": about.task,
        "classes": len(about.classes),
        "val_accuracy": about.val_accuracy,
        "chance": about.chance,
        "threads": torch.get_num_threads(),
    }


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    stage.run("evaluate.probe", work, inputs=("pixels", "table", "manifest"), outputs=("weights",), argv=argv)


if __name__ == "__main__":
    main()
