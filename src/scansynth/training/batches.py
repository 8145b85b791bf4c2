"""What each step is computed from: images and noise that are functions of (seed, step) alone."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from scansynth.diffusion.vp_sde import VPSDE
from scansynth.errors import ScansynthError
from scansynth.sections import Train
from scansynth.store import Store
from scansynth.training import geometry
from scansynth.training.parallel import Group


@dataclass(frozen=True)
class Part:
    """One of the equal parts that a step's batch is computed in."""

    seed: int  # of dropout
    tensors: tuple[Tensor | None, ...]  # the arguments of ``Denoiser.loss``


class Batches:
    """The parts of each step's batch that this process computes.

    Beside CUDA the next step's are made, in pinned memory, by a thread while this step's are computed with.

    Raises:
        ScansynthError: if the batch can't be cut into parts as settings and processes ask for.
    """

    def __init__(self, store: Store, options: Train, sde: VPSDE, group: Group, device: torch.device) -> None:
        if options.batch % options.accumulate:
            raise ScansynthError(
                f"train.batch is {options.batch}, and can't be cut into {options.accumulate} equal parts: make it a "
                f"multiple of train.accumulate ({options.accumulate})"
            )
        self.store, self.options, self.sde, self.device = store, options, sde, device
        self.indices, self.conditions = store.indices("train"), torch.from_numpy(store.conditions)
        self.block = group.block(options.accumulate)
        self.thread = ThreadPoolExecutor(1) if device.type == "cuda" else None
        self.ahead: tuple[int, Future[list[Part]]] | None = None

    def __getitem__(self, step: int) -> list[Part]:
        """The parts of ``step`` (0, 1, ...), on the device."""
        if self.thread is None:
            return self._make(step)
        parts = self.ahead[1].result() if self.ahead and self.ahead[0] == step else self._make(step)
        if step + 1 < self.options.steps:
            self.ahead = (step + 1, self.thread.submit(self._make, step + 1))
        return [Part(part.seed, to_device(part.tensors, self.device)) for part in parts]

    def _make(self, step: int) -> list[Part]:
        options, random = self.options, np.random.default_rng([self.options.seed, step])
        n = options.batch
        chosen = self.indices[order(len(self.indices), options.seed, step * n, n)]
        known = torch.from_numpy(random.random(n) >= options.null_probability)
        log_snr, epsilon = noise(n, self.store.pixels.shape[1:], self.sde, random)
        told = geometry.draw(n, options.augmentation, random) if options.augmentation else None
        seeds = random.integers(2**63, size=options.accumulate)
        size = n // options.accumulate
        parts = []
        for index in self.block:
            place = slice(index * size, (index + 1) * size)
            x_0 = images(self.store, chosen[place])
            if told is not None:
                x_0 = geometry.augment(x_0, told[place])
            tensors = (x_0, epsilon[place], log_snr[place], self.conditions[chosen[place]], known[place])
            tensors += (None if told is None else told[place],)
            if self.thread is not None:
                tensors = tuple(tensor if tensor is None else tensor.pin_memory() for tensor in tensors)
            parts.append(Part(int(seeds[index]), tensors))
        return parts


def to_device(tensors: tuple[Tensor | None, ...], device: torch.device) -> tuple[Tensor | None, ...]:
    """The tensors on ``device``; from pinned memory this does not wait for the copy."""
    return tuple(tensor if tensor is None else tensor.to(device, non_blocking=True) for tensor in tensors)


def images(store: Store, indices: np.ndarray) -> Tensor:
    """Images as float32 in [-1, 1]."""
    return torch.from_numpy(store.pixels[indices]).float() / 127.5 - 1


def noise(n: int, shape: tuple[int, ...], sde: VPSDE, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Noise levels (n), spread evenly over the process's log-SNRs from a random start, and noise (n, *shape)."""
    low, high = sde.log_snr_min, sde.log_snr_max
    level = low + (high - low) * ((random.random() + np.arange(n) / n) % 1)
    epsilon = torch.from_numpy(random.standard_normal((n, *shape), dtype=np.float32))
    return torch.from_numpy(level + sde.shift).float(), epsilon


def order(images: int, seed: int, start: int, count: int) -> np.ndarray:
    """Positions of the ``count`` images shown from the ``start``-th on: every epoch is a new permutation of all."""
    places = range(start, start + count)
    return np.array([_permutation(images, seed, place // images)[place % images] for place in places])


@lru_cache(maxsize=2)
def _permutation(images: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, 2**32 + 1, epoch]).permutation(images)
