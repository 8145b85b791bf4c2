"""Train the reader: a classifier, of real images alone, that says what a synthetic one shows.

It tells every finding and the view apart, so that a synthetic image can be asked whether it shows what it was asked to.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import trange

from scansynth import stage
from scansynth.conditions import labelled
from scansynth.errors import ScansynthError
from scansynth.evaluate.classifier import as_input, block
from scansynth.evaluate.fidelity import aurocs
from scansynth.files import atomic
from scansynth.sections import Reader as Options
from scansynth.store import Store, open_store

LARGEST = 128  # pixels a side: a nodule of 2 cm on a chest has 6 of them
SHIFT = 0.06  # of the side, at most, in training
CONTRAST = 0.2  # change of contrast and brightness, at most, in training
CHECKS = 10  # times that the validation images are read in training
BATCH = 64  # images read at once


@dataclass(frozen=True)
class About:
    """What a reader tells apart, and how well it does so on images of the validation split."""

    channels: int
    findings: tuple[str, ...]
    views: tuple[str, ...]
    no_finding: str  # the label for the absence of findings, if that has one
    val_aurocs: dict[str, float]  # of the classes that have enough images there
    reason: str | None  # why it tells nothing apart, if so


class Reader:
    """A trained reader. Its classes are ``findings``, of which an image may show several, and ``views``."""

    def __init__(self, network: nn.Module, about: About) -> None:
        self._network = network.eval()
        self.about = about
        self.findings, self.views = list(about.findings), list(about.views)

    @torch.inference_mode()
    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Probability of each finding, then of each view: float64 (n, findings + views), for uint8 images.

        Those of the findings are each between 0 and 1; those of the views add up to 1.
        """
        if self.about.reason:
            return np.empty((len(pixels), 0))
        parts = [np.empty((0, len(self.findings) + len(self.views)))]
        for i in range(0, len(pixels), BATCH):
            found, seen = _split(self._network(_input(pixels[i : i + BATCH])).double(), self.about)
            parts.append(torch.cat([found.sigmoid(), seen.softmax(1)], 1).numpy())
        return np.concatenate(parts)


def train(store: Store, options: Options) -> Reader:
    """A reader of the store's training split, the same to the bit for the same seed and number of threads.

    Of the states that it passes through, that with the highest mean area under the ROC curve on the validation split is
    kept; the last one where no class has enough images there.

    Raises:
        ScansynthError: if the training split is empty.
    """
    rows = [store.table[i] for i in store.indices("train")]
    if not rows:
        raise ScansynthError("the training split is empty: a reader needs images to learn from (images.train)")
    findings, views = _told_apart(rows, "findings"), _told_apart(rows, "view")
    channels, no_finding = store.pixels.shape[1], store.manifest["no_finding"]
    if not findings and not views:
        reason = "all training images have the same labels, or none"
        return Reader(nn.Identity(), About(channels, (), (), no_finding, {}, reason))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        about = About(channels, findings, views, no_finding, {}, None)
        network = _network(about)
    best, weights = {}, None
    for state in _states(network, store, about, options):
        scores = _validated(Reader(network, about), store)
        if weights is None or np.mean([*scores.values()] or [0]) >= np.mean([*best.values()] or [0]):
            best, weights = scores, {name: value.clone() for name, value in state.items()}
        network.train()
    network.load_state_dict(weights)
    return Reader(network, About(channels, findings, views, no_finding, best, None))


def save(path: Path, reader: Reader) -> None:
    """Write the reader atomically; the same reader gives the same bytes."""
    # One key: safetensors writes several in an order that changes from process to process.
    tensors = {name: value.contiguous() for name, value in reader._network.state_dict().items()}
    with atomic(path) as partial:
        save_file(tensors, partial, metadata={"reader": json.dumps(asdict(reader.about))})


def load(path: Path) -> Reader:
    """Read a reader that ``save`` wrote.

    Raises:
        ScansynthError: if the file is none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            values = json.loads((file.metadata() or {})["reader"])
        about = About(**{**values, "findings": tuple(values["findings"]), "views": tuple(values["views"])})
        network = nn.Identity() if about.reason else _network(about)
        network.load_state_dict(load_file(path))
    except (KeyError, RuntimeError, TypeError, ValueError, SafetensorError) as error:
        raise ScansynthError(f"{path}: not a reader of this version of scansynth ({error}): make it anew") from error
    return Reader(network, about)


def _told_apart(rows: list[dict[str, str]], column: str) -> tuple[str, ...]:
    """The labels of a column that some training images have and others have not, sorted; of views not a single one."""
    labels = [set(filter(None, row[column].split("|"))) for row in rows]
    told = tuple(label for label in sorted(set().union(*labels)) if not all(label in each for each in labels))
    return () if column == "view" and len(told) == 1 else told


class Head(nn.Module):
    """Logits of ``classes`` from maps (n, width, h, w): what is seen of each where it lies, and at its clearest spot.

    Places are coarse (4x4): where a shadow lies is part of what it is. A finding that is small, and anywhere, is lost
    in their means; its spot is where the map of its class is highest.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.places = nn.Sequential(
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(16 * width, 64),
            nn.LayerNorm(64),
            nn.SiLU(),
            nn.Linear(64, classes),
        )
        self.spots = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Logits (n, classes)."""
        return self.places(maps) + self.spots(maps).amax((2, 3))


def _network(about: About) -> nn.Module:
    return nn.Sequential(
        *block(about.channels, 16, stride=2),
        *block(16, 32, stride=2),
        *block(32, 64, stride=1),
        *block(64, 64, stride=2),
        Head(64, len(about.findings) + len(about.views)),
    )


def _states(network: nn.Module, store: Store, about: About, options: Options) -> Iterator[dict[str, Tensor]]:
    """Train the network; its weights now and then."""
    indices = store.indices("train")
    targets = _targets([store.table[i] for i in indices], about)
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.learning_rate, options.steps + 1)
    batch, order = min(options.batch, len(indices)), np.empty(0, dtype=np.int64)
    generator = np.random.default_rng(options.seed)
    network.train()
    for step in trange(1, options.steps + 1, unit="step"):
        if len(order) < batch:
            order = generator.permutation(len(indices))
        chosen, order = order[:batch], order[batch:]
        images = _varied(_input(store.pixels[indices[chosen]]), generator)
        optimiser.zero_grad()
        _loss(network(images), targets[chosen], about).backward()
        optimiser.step()
        schedule.step()
        if step % max(1, options.steps // CHECKS) == 0 or step == options.steps:
            yield network.state_dict()


def _loss(logits: Tensor, targets: Tensor, about: About) -> Tensor:
    (found, seen), (findings, views) = _split(logits, about), _split(targets, about)
    loss = torch.zeros(())
    known = findings.isfinite().all(1)
    if about.findings and known.any():
        loss = loss + F.binary_cross_entropy_with_logits(found[known], findings[known])
    if about.views:
        loss = loss - (seen.log_softmax(1) * views).sum(1).mean()  # nothing of an image whose view is unknown
    return loss


def _input(pixels: np.ndarray) -> Tensor:
    """Images of uint8, (n, channels, size, size), as float32 in -1 to 1, averaged down to ``LARGEST`` a side."""
    return 2 * as_input(pixels, LARGEST) - 1


def _targets(rows: list[dict[str, str]], about: About) -> Tensor:
    """1 for each finding that an image shows, and for its view; NaN where unknown: float32 (n, findings + views)."""
    found = np.array([[label in row["findings"].split("|") for label in about.findings] for row in rows], np.float32)
    found[[not labelled(row, about.no_finding) for row in rows]] = np.nan
    seen = [[label == row["view"] for label in about.views] for row in rows]
    return torch.from_numpy(np.hstack([found, seen]).astype(np.float32))


def _split(values: Tensor, about: About) -> tuple[Tensor, Tensor]:
    return values[:, : len(about.findings)], values[:, len(about.findings) :]


def _varied(images: Tensor, generator: np.random.Generator) -> Tensor:
    """Each image shifted a little, with another contrast and brightness; never mirrored: left is not right."""
    n, most = len(images), round(SHIFT * images.shape[-1])
    down, right = generator.integers(-most, most + 1, (2, n))
    size, framed = images.shape[-1], F.pad(images, (most,) * 4, mode="replicate")
    corners = zip(framed, down + most, right + most, strict=True)
    moved = [image[:, y : y + size, x : x + size] for image, y, x in corners]
    change = torch.from_numpy(generator.uniform(-CONTRAST, CONTRAST, (2, n, 1, 1, 1)).astype(np.float32))
    return torch.stack(moved) * (1 + change[0]) + change[1]


def _validated(reader: Reader, store: Store) -> dict[str, float]:
    indices = store.indices("val")
    rows = [store.table[i] for i in indices]
    return aurocs(reader.probabilities(store.pixels[indices]), rows, reader)


def work(job: stage.Job) -> None:
    """Train the reader of a store and write it."""
    reader = train(open_store(job.inputs["pixels"]), job.settings.reader)
    save(job.outputs["weights"], reader)
    job.facts |= {"val_aurocs": reader.about.val_aurocs, "reason": reader.about.reason}
    job.facts |= {"threads": torch.get_num_threads()}


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    stage.run("evaluate.reader", work, inputs=("pixels", "table", "manifest"), outputs=("weights",), argv=argv)


if __name__ == "__main__":
    main()
