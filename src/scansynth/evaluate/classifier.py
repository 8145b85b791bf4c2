"""The probe's network, and the file that it is kept in."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from scansynth.files import atomic

LARGEST = 64  # pixels a side: finer detail costs time and tells the classes apart no better


@dataclass(frozen=True)
class About:
    """What a probe was made for and how good it is."""

    channels: int
    features: int
    task: str  # "labels", or "rotation" where the images have none
    classes: tuple[str, ...]
    val_accuracy: float | None  # None without images to validate on
    chance: float | None  # accuracy on the same images of naming the most frequent class of the training split


class Classifier(nn.Module):
    """A small convolutional network: (n, channels, size, size) in 0 to 1 -> features (n, features) -> logits.

    The features keep a coarse sense of place (2x2), since where a shadow lies is part of what a scan shows.
    """

    def __init__(self, channels: int, features: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *block(channels, 16, stride=2),
            *block(16, 32, stride=2),
            *block(32, 64, stride=2),
            *block(64, 64, stride=1),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * 64, features),
            # Features of unit scale: a distance would otherwise grow with the length of the probe's training.
            nn.LayerNorm(features, elementwise_affine=False),
            nn.SiLU(),
        )
        self.head = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the classes, (n, classes)."""
        return self.head(self.body(2 * images - 1))

    @torch.inference_mode()
    def extract(self, pixels: np.ndarray, batch: int = 64) -> np.ndarray:
        """Activations of the feature layer, float32 of shape (n, features), for uint8 images."""
        self.eval()
        parts = [self.body(2 * as_input(pixels[i : i + batch]) - 1) for i in range(0, len(pixels), batch)]
        return torch.cat(parts).numpy()

    @torch.inference_mode()
    def classify(self, features: np.ndarray) -> np.ndarray:
        """Class probabilities, float64 of shape (n, classes), from the activations of the feature layer."""
        weight, bias = self.head.weight.double(), self.head.bias.double()
        return F.softmax(torch.from_numpy(features).double() @ weight.T + bias, dim=1).numpy()


def as_input(pixels: np.ndarray, largest: int = LARGEST) -> Tensor:
    """Images of uint8, (n, channels, size, size), as float32 in 0 to 1, averaged down to ``largest`` a side at most."""
    images = torch.from_numpy(np.array(pixels)).float() / 255
    return F.avg_pool2d(images, -(-images.shape[-1] // largest))


def save(path: Path, model: Classifier, about: About) -> None:
    """Write the probe atomically; the same probe gives the same bytes."""
    # One key: safetensors writes several in an order that changes from process to process.
    with atomic(path) as partial:
        save_file(model.state_dict(), partial, metadata={"probe": json.dumps(asdict(about))})


def load(path: Path) -> tuple[Classifier, About]:
    """Read a probe that ``save`` wrote."""
    with safe_open(path, framework="pt") as file:
        values: dict[str, Any] = json.loads(file.metadata()["probe"])
    about = About(**{**values, "classes": tuple(values["classes"])})
    model = Classifier(about.channels, about.features, len(about.classes))
    model.load_state_dict(load_file(path))
    return model.eval(), about


def block(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, ...]:
    """A convolution of 3x3 with group normalisation and an activation."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.GroupNorm(8, outputs), nn.SiLU()
