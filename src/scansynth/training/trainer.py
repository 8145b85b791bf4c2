"""A training run: its state, one step of it, and the choice among the averages of its weights."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scansynth import model
from scansynth.config import Settings
from scansynth.device import best_device, repeatable, resolve_compile, resolve_precision
from scansynth.diffusion.denoiser import Denoiser
from scansynth.errors import ScansynthError
from scansynth.networks.ema import PowerEMA, assign
from scansynth.store import Store, evenly
from scansynth.training.batches import Batches, Part, images, noise, to_device
from scansynth.training.muon import Muon
from scansynth.training.parallel import Group, tree_sum
from scansynth.training.schedule import schedule

PRIOR_IMAGES = 10_000  # images, at most, that the Gaussian prior is fitted to
# Fewer test images than this could be drawn as one image by a bootstrap, which has no spread.
LEAST_IMAGES = {"train": 10, "val": 1, "test": 10}
VALIDATION_IMAGES = 64  # held-out images, at most, of the validation loss
LATE = 0.75  # share of the run after which every validation is of all averages, and the best one is kept


class NotFiniteError(ScansynthError):
    """The gradient of a step is not finite; the state is that before it."""


class Trainer:
    """A training run. The network of ``denoiser`` is trained, ``averaged`` takes the weights that are to be used.

    Raises:
        ScansynthError: if the store is too small, or a batch can't be cut as ``settings`` and ``group`` ask for.
    """

    def __init__(self, store: Store, settings: Settings, group: Group | None = None) -> None:
        self.options, self.store, self.group = settings.train, store, group or Group()
        self.device = best_device()
        repeatable(self.device)
        self.precision = resolve_precision(self.options.precision, self.device)
        self.compiled = resolve_compile(self.options.compile, self.device)
        for split, least in LEAST_IMAGES.items():
            if (found := len(store.indices(split))) < least:
                raise ScansynthError(
                    f"the {split} split has {found} images, and {least} are the least that figures can be had from: "
                    "add patients, or change their shares (images.train, images.val, images.test)"
                )
        self.step = 0
        torch.manual_seed(self.options.seed)
        self.denoiser = model.build(
            store.pixels.shape[1:], model.vocabulary(store.manifest), settings.network, settings.diffusion
        )
        self.denoiser.bf16 = self.precision == "bf16"
        self.denoiser.to(self.device, memory_format=torch.channels_last)
        self.parameters = list(self.denoiser.parameters())
        self.averaged = copy.deepcopy(self.denoiser).eval().requires_grad_(False)
        self.averages = {width: PowerEMA(self.denoiser, width) for width in self.options.ema}
        self.candidates: list[dict[str, float]] = []  # of which the one with the lowest loss is the model
        self.chosen = [value.clone() for value in self.averages[self.options.ema[0]].values]
        self.batches = Batches(store, self.options, self.denoiser.sde, self.group, self.device)
        self.optimizers = optimizers(self.parameters)
        if self.compiled:
            self.denoiser.network.compile()

    def begin(self) -> None:
        """Fit the prior: what a run starts with that is not resumed."""
        fitted = evenly(self.store.indices("train"), PRIOR_IMAGES)
        prior = copy.deepcopy(self.denoiser.prior).cpu()
        prior.fit(images(self.store, fitted), self.batches.conditions[fitted])
        for denoiser in (self.denoiser, self.averaged):
            denoiser.prior.load_state_dict(prior.state_dict())

    def advance(self) -> float:
        """Take one step of the optimiser; its loss.

        Raises:
            NotFiniteError: if the gradient is not finite; the weights are then those of the step before.
        """
        options = self.options
        self.denoiser.train()
        *gradients, loss = self.group.sum(tree_sum(self._gradients(part) for part in self.batches[self.step]))
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, options.gradient_clip)
        if not torch.isfinite(norm):
            self._forget_gradients()
            raise NotFiniteError(
                f"the loss is not finite at step {self.step + 1}: "
                "lower train.learning_rate or set train.precision to fp32"
            )
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = options.learning_rate * schedule(self.step, options.steps, options.warmup)
            optimizer.step()
        self._forget_gradients()
        self.step += 1
        for average in self.averages.values():
            average.update(self.denoiser, self.step)
        return float(loss)

    def _gradients(self, part: Part) -> list[Tensor]:
        """Gradients of a part's share of the batch's mean loss, and that share."""
        torch.manual_seed(part.seed)  # dropout's
        loss = self.denoiser.loss(*part.tensors).sum() / self.options.batch
        loss.backward()
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        self._forget_gradients()
        return [*gradients, loss.detach()]

    def _forget_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def validate(self) -> dict[str, float]:
        """Losses of the averaged weights on held-out patients, as ``val_loss`` of the first length, or of each.

        Late in the run (``LATE``) each length is a candidate for the model, and the best so far is kept.
        """
        if self.step <= LATE * self.options.steps:
            return {"val_loss": self.validation_loss(next(iter(self.averages.values())))}
        losses = {width: self.validation_loss(average) for width, average in self.averages.items()}
        for width, loss in losses.items():
            if not self.candidates or loss < self.best()["val_loss"]:
                self.chosen = [value.clone() for value in self.averages[width].values]
            self.candidates.append({"ema": width, "step": self.step, "val_loss": loss})
        first = {"val_loss": losses[self.options.ema[0]]}
        return first | {f"val_loss_{width}": loss for width, loss in losses.items()}

    def best(self) -> dict[str, float]:
        """The candidate with the lowest loss; the first such one."""
        return min(self.candidates, key=lambda candidate: candidate["val_loss"])

    @torch.no_grad()
    def validation_loss(self, average: PowerEMA) -> float:
        """Loss of averaged weights on held-out patients, at the same noise each time."""
        options, random = self.options, np.random.default_rng([self.options.seed, 2**32])
        assign(self.averaged, average.values)
        indices = random.permutation(evenly(self.store.indices("val"), VALIDATION_IMAGES))
        losses = []
        for batch in np.array_split(indices, -(-len(indices) // options.batch)):
            log_snr, epsilon = noise(len(batch), self.averaged.shape, self.averaged.sde, random)
            known = torch.ones(len(batch), dtype=torch.bool)
            tensors = (images(self.store, batch), epsilon, log_snr, self.batches.conditions[batch], known)
            losses.append(self.averaged.loss(*to_device(tensors, self.device)))
        return float(torch.cat(losses).mean())

    def result(self) -> Denoiser:
        """The denoiser with the weights that validation chose."""
        assign(self.averaged, self.chosen)
        return self.averaged

    def tensors(self) -> dict[str, Tensor]:
        """All that the rest of the run depends on, beside ``about``."""
        tensors = {f"last.{name}": value for name, value in self.denoiser.state_dict().items()}
        kept = [average.values for average in self.averages.values()]
        for number, values in enumerate([self.chosen, *kept]):
            tensors |= {f"average.{number}.{place}": value for place, value in enumerate(values)}
        for kind, optimizer in enumerate(self.optimizers):
            for number, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{kind}.{number}.{name}": value for name, value in state.items()}
        return tensors

    def about(self) -> dict[str, Any]:
        """What of the state is no tensor."""
        return {"step": self.step, "candidates": self.candidates}

    @torch.no_grad()
    def resume(self, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        """Take up the state that ``tensors`` and ``about`` were."""
        self.step, self.candidates = about["step"], about["candidates"]
        self.denoiser.load_state_dict(_part(tensors, "last."))
        self.averaged.prior.load_state_dict(self.denoiser.prior.state_dict())
        kept = [average.values for average in self.averages.values()]
        for number, values in enumerate([self.chosen, *kept]):
            for place, value in enumerate(values):
                value.copy_(tensors[f"average.{number}.{place}"])
        for kind, optimizer in enumerate(self.optimizers):
            parameters, state = optimizer.param_groups[0]["params"], {}
            for name, value in _part(tensors, f"optimizer.{kind}.").items():
                number, key = name.split(".")
                # The fused optimiser walks a parameter and its moments in memory order: they need the same strides.
                moment = torch.empty_like(parameters[int(number)]).copy_(value) if value.ndim else value
                state.setdefault(int(number), {})[key] = moment
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def optimizers(parameters: Sequence[nn.Parameter]) -> list[torch.optim.Optimizer]:
    """Muon for the kernels of convolutions, AdamW for all else.

    On chest phantoms Muon had after 750 steps of 8 images a lower validation loss than AdamW alone after 1,250, for
    one fifth more time a step.
    """
    kernels = [parameter for parameter in parameters if is_kernel(parameter)]
    others = [parameter for parameter in parameters if not is_kernel(parameter)]
    return [Muon(kernels), torch.optim.AdamW(others, betas=(0.9, 0.99), fused=True)]


def is_kernel(parameter: Tensor) -> bool:
    """Whether a parameter is the kernel of a convolution that looks farther than one pixel."""
    return parameter.ndim == 4 and parameter.shape[-1] > 1


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
