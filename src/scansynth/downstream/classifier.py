"""The classifier of an arm: MONAI's ResNet, trained from nothing on what the arm may see.

He et al., Deep Residual Learning for Image Recognition (2016). All arms have the same network, the same number of
optimiser steps and images a step, and the same choice of a state by real validation patients.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F
from tqdm import trange

from scansynth.downstream.classical import augmented
from scansynth.evaluate.classifier import as_input
from scansynth.sections import Arm as Options

CHECKS = 10  # times that the validation images are read in training
BATCH = 128  # images read at once
WEIGHT_DECAY = 0.02


@dataclass(frozen=True)
class Images:
    """Images, uint8 of shape (n, channels, size, size), what they show, bool (n, classes), and how many are made up."""

    pixels: np.ndarray
    shown: np.ndarray
    synthetic: int = 0

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True)
class Phase:
    """A run of steps; each batch has so many images of each source."""

    steps: int
    sources: Sequence[tuple[Images, int]]


@dataclass(frozen=True)
class Trained:
    """A classifier, and how it came about: a row a check of (step, training loss since the last, validation score)."""

    network: nn.Module
    history: np.ndarray
    chosen: int  # step of the state that was kept

    @torch.inference_mode()
    def probabilities(self, pixels: np.ndarray, size: int) -> np.ndarray:
        """Probability of each class, float32 (n, classes), each for itself."""
        self.network.eval()
        parts = [_input(pixels[i : i + BATCH], size) for i in range(0, len(pixels), BATCH)]
        return torch.cat([self.network(part).sigmoid() for part in parts]).numpy()


def train(phases: Sequence[Phase], val: Images, classical: bool, options: Options, seed: int) -> Trained:
    """A classifier, the same to the bit for the same seed and number of threads.

    Which images a step has, and how they are changed where ``classical`` is true, is a function of (seed, step). Of the
    states that it passes through, the one with the highest mean area under the ROC curve on ``val`` is kept.
    """
    channels, classes = val.pixels.shape[1], val.shown.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make(channels, classes).to(memory_format=torch.channels_last)  # faster on a CPU
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.learning_rate, options.steps + 1)
    plan = [(number, step, phase) for number, phase in enumerate(phases) for step in range(phase.steps)]
    best, history, losses = None, [], []
    for step in trange(len(plan), unit="step"):
        pixels, shown = _batch(*plan[step], seed)
        images = as_input(pixels, options.size)
        if classical:
            images = augmented(images, np.random.default_rng([seed, step, 1]), options.flips)
        network.train()
        optimiser.zero_grad()
        loss = F.binary_cross_entropy_with_logits(network(2 * images - 1), torch.from_numpy(shown).float())
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) * CHECKS // len(plan) > step * CHECKS // len(plan):
            score = mean_auroc(Trained(network, np.empty(0), 0).probabilities(val.pixels, options.size), val.shown)
            history.append((step + 1, np.mean(losses), score))
            losses = []
            if best is None or score >= best[0]:
                best = score, step + 1, {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(best[2])
    return Trained(network, np.array(history), best[1])


def make(channels: int, classes: int) -> nn.Module:
    """The network with its initial weights: (n, channels, size, size) in -1 to 1 -> logits (n, classes)."""
    from monai.networks.nets.resnet import ResNet  # it takes seconds to load

    return ResNet(
        "basic",
        layers=[1, 1, 1, 1],
        block_inplanes=[16, 32, 64, 64],
        spatial_dims=2,
        n_input_channels=channels,
        conv1_t_size=5,
        conv1_t_stride=2,
        num_classes=classes,
    )


def mean_auroc(probabilities: np.ndarray, shown: np.ndarray) -> float:
    """Mean area under the ROC curve of the classes that some of the images show and some do not; 0.5 without any."""
    areas = [
        roc_auc_score(column, scores)
        for column, scores in zip(shown.T, probabilities.T, strict=True)
        if column.any() and not column.all()
    ]
    return float(np.mean(areas)) if areas else 0.5


def _batch(number: int, step: int, phase: Phase, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and what they show: of each source, its next images in an order that is drawn anew when it ends."""
    parts = []
    for source, (images, count) in enumerate(phase.sources):
        places = np.arange(step * count, (step + 1) * count)
        rounds, within = places // len(images), places % len(images)
        orders = {each: _order(seed, number, source, each, len(images)) for each in set(rounds.tolist())}
        indices = [orders[each][i] for each, i in zip(rounds.tolist(), within, strict=True)]
        parts.append((images.pixels[indices], images.shown[indices]))
    return np.concatenate([pixels for pixels, _ in parts]), np.concatenate([shown for _, shown in parts])


@lru_cache(maxsize=8)
def _order(seed: int, phase: int, source: int, number: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, phase, source, number, 2]).permutation(count)


def _input(pixels: np.ndarray, size: int) -> torch.Tensor:
    return 2 * as_input(pixels, size) - 1
