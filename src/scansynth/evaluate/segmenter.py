"""Train the segmenter: it outlines lungs and heart in frontal chest radiographs, having learned that from phantoms.

Phantoms come with their outlines, so that neither annotations nor outside weights are needed; their variations make it
hold on real films (``scansynth.evaluate.phantom_films``). Its error is measured on other phantoms.
"""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from scansynth import stage
from scansynth.errors import ScansynthError
from scansynth.evaluate.anatomy.chest import STRUCTURES, cardiothoracic_ratio
from scansynth.evaluate.bootstrap import Estimate, multiplicities
from scansynth.evaluate.phantom_films import Phantoms, render, varied
from scansynth.files import atomic
from scansynth.sections import Segmenter as Settings

SIDE = 96  # pixels a side that the network sees, whatever the image has
FOLD = 4  # pixels a side that the network takes as one, with all their values
WIDTHS = (32, 64, 128)  # channels at each scale
CLASSES = 1 + len(STRUCTURES)  # the background is 0
WARMUP = 0.1  # share of the steps
HELD_OUT = 150  # phantoms that the error is measured on, at most
REPLICATES = 1000  # of the bootstrap
# Seeds of phantoms that no experiment has: its own end below 2**32. Numbers above are two words to SeedSequence, and
# the second of these is no key of the phantoms' streams.
TRAINING, TESTING = 8 << 32, 9 << 32


class Network(nn.Module):
    """A small U-Net (Ronneberger et al. 2015, arXiv:1505.04597): (n, 1, SIDE, SIDE) -> logits (n, CLASSES, SIDE, SIDE).

    Squares of pixels are folded into channels before and unfolded after it (Shi et al. 2016, arXiv:1609.05158), for a
    quarter of the time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(map(_block, (FOLD**2, *WIDTHS), WIDTHS))
        self.up = nn.ModuleList(_block(a + b, b) for b, a in zip(WIDTHS[-2::-1], WIDTHS[:0:-1], strict=True))
        self.last = nn.Conv2d(WIDTHS[0], CLASSES * FOLD**2, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the classes; brightness and contrast of the whole image do not matter."""
        spread, mean = torch.std_mean(images, (1, 2, 3), keepdim=True)
        maps = [self.down[0](F.pixel_unshuffle((images - mean) / (spread + 1e-3), FOLD))]
        for block in self.down[1:]:
            maps.append(block(F.max_pool2d(maps[-1], 2)))
        result = maps.pop()
        for block in self.up:
            result = block(torch.cat([F.interpolate(result, scale_factor=2.0), maps.pop()], 1))
        return F.pixel_shuffle(self.last(result), FOLD)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers = [
        (nn.Conv2d(a, outputs, 3, padding=1, bias=False), nn.GroupNorm(8, outputs), nn.SiLU())
        for a in (inputs, outputs)
    ]
    return nn.Sequential(*layers[0], *layers[1])


class Segmenter:
    """A trained network, and the error that it was measured to have."""

    def __init__(self, network: Network, about: dict[str, Any]) -> None:
        self.network, self.about = network.eval(), about

    @torch.inference_mode()
    def outline(self, pixels: np.ndarray, batch: int = 64) -> np.ndarray:
        """Masks uint8 (n, size, size) of images uint8 (n, channels, size, size).

        0 is background, 1 the lung at the picture's left, 2 that at its right, 3 the heart: each the largest connected
        part, its holes filled.
        """
        masks = np.zeros((len(pixels), *pixels.shape[2:]), np.uint8)
        for i in range(0, len(pixels), batch):
            logits = self.network(as_input(pixels[i : i + batch]))
            whole = F.interpolate(logits, pixels.shape[2:], mode="bilinear", align_corners=False)
            masks[i : i + batch] = [tidy(mask) for mask in whole.argmax(1).byte().numpy()]
        return masks


def tidy(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of each structure of a mask (size, size), its holes filled."""
    kept = np.zeros_like(mask)
    for structure in STRUCTURES:
        parts, count = ndimage.label(mask == structure)
        if count:
            largest = ndimage.binary_fill_holes(parts == np.bincount(parts.ravel())[1:].argmax() + 1)
            kept[largest & (kept == 0)] = structure
    return kept


def as_input(pixels: np.ndarray) -> Tensor:
    """Images uint8 (n, channels, size, size) as the network takes them: (n, 1, SIDE, SIDE), 0 to 1."""
    return _resized(torch.from_numpy(np.array(pixels, dtype=np.float32)).mean(1, keepdim=True) / 255)


def as_target(masks: np.ndarray) -> Tensor:
    """The share of each class in each pixel that the network sees, (n, CLASSES, SIDE, SIDE)."""
    return torch.cat([_resized(torch.from_numpy(masks == k).float()[:, None]) for k in range(CLASSES)], 1)


def _resized(images: Tensor) -> Tensor:
    return F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)


def train(phantoms: Phantoms, settings: Settings) -> Network:
    """A network trained on the phantoms, the same to the bit for the same seed and number of threads."""
    # Initial weights come from the global generator: it is seeded here and given back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = Network()
    generator = torch.Generator().manual_seed(settings.seed)
    images, targets = as_input(phantoms.pixels), as_target(phantoms.masks)
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(_rate, steps=settings.steps))
    for _ in range(settings.steps):
        chosen = torch.randint(len(images), (settings.batch,), generator=generator)
        seen, wanted = varied(images[chosen], targets[chosen], generator)
        optimiser.zero_grad()
        _loss(network(seen), wanted).backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def _rate(step: int, steps: int) -> float:
    """The learning rate at a step, as a share of its peak: a linear rise, then half a cosine down to 0."""
    return min(1, (step + 1) / (WARMUP * steps)) * (1 + math.cos(math.pi * step / steps)) / 2


def _loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy and soft Dice (Milletari et al. 2016, arXiv:1606.04797), which gives small structures a say."""
    both = torch.stack([logits.softmax(1), targets])[:, :, 1:]
    overlap, areas = both.prod(0).sum((0, 2, 3)), both.sum((0, 1, 3, 4))
    return F.cross_entropy(logits, targets) + 1 - (2 * overlap / (areas + 1e-3)).mean()


def errors(segmenter: Segmenter, phantoms: Phantoms, seed: int) -> dict[str, Any]:
    """What is wrong with outlines of phantoms: mean Dice coefficient of each structure, error of the ratio.

    Both with 95% intervals by bootstrap over patients. A ratio that could not be taken counts as 1 off.
    """
    masks = segmenter.outline(phantoms.pixels)
    off = np.nan_to_num(cardiothoracic_ratio(masks) - phantoms.ratios, nan=1.0)
    values = {"cardiothoracic_ratio_mean_absolute_error": np.abs(off), "cardiothoracic_ratio_bias": off}
    for label, structure in STRUCTURES.items():
        found, true = masks == label, phantoms.masks == label
        areas = found.sum((1, 2)) + true.sum((1, 2))
        values[f"dice_{structure.replace(' ', '_')}"] = 2 * (found & true).sum((1, 2)) / np.maximum(areas, 1)
    weights = multiplicities(np.random.default_rng(seed), phantoms.patients, REPLICATES)
    weights /= weights.sum(1, keepdims=True)
    return {name: Estimate(value.mean(), weights @ value).as_json() for name, value in values.items()}


def save(path: Path, segmenter: Segmenter) -> None:
    """Write the segmenter atomically; the same one gives the same bytes."""
    # One key: safetensors writes several in an order that changes from process to process.
    with atomic(path) as unfinished:
        save_file(segmenter.network.state_dict(), unfinished, metadata={"segmenter": json.dumps(segmenter.about)})


def load(path: Path) -> Segmenter:
    """Read a segmenter that ``save`` wrote.

    Raises:
        ScansynthError: if the file is none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["segmenter"])
    except (KeyError, ValueError, SafetensorError) as error:
        raise ScansynthError(f"{path}: not a segmenter that scansynth trained ({error}): make it anew") from error
    network = Network()
    network.load_state_dict(load_file(path))
    return Segmenter(network, about)


def work(job: stage.Job) -> None:
    """Render phantoms, train the segmenter on them, measure its error on others, and write it."""
    settings, images = job.settings.segmenter, job.settings.images
    held_out = min(HELD_OUT, settings.count)
    about = {"phantoms": settings.count, "held_out": held_out, "size": images.size}
    segmenter = Segmenter(train(render(TRAINING + settings.seed, settings.count, images), settings), about)
    about["held_out_error"] = errors(segmenter, render(TESTING + settings.seed, held_out, images), settings.seed)
    save(job.outputs["weights"], segmenter)
    job.facts |= about | {"threads": torch.get_num_threads()}


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    stage.run("evaluate.segmenter", work, outputs=("weights",), argv=argv)


if __name__ == "__main__":
    main()
