"""How probable the model holds real images to be, in bits: held-out and training ones, and beside a Gaussian."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from scansynth import model, stage
from scansynth.device import best_device, facts
from scansynth.diffusion.denoiser import Denoiser
from scansynth.diffusion.likelihood import bits_per_dimension, log_likelihood
from scansynth.diffusion.prior import GaussianPrior, Spectrum
from scansynth.diffusion.vp_sde import VPSDE, alpha
from scansynth.evaluate.bootstrap import Estimate, multiplicities
from scansynth.evaluate.imagesets import ImageSet, split_set
from scansynth.evaluate.report import header
from scansynth.files import write_json
from scansynth.sections import Evaluate, Likelihood
from scansynth.store import Store, open_store

LEVEL = 1 / 127.5  # distance of two neighbouring values of a byte in images of [-1, 1]
BATCH = 8  # images at once, always as many: kernels are chosen by it, and with them the last bits of a figure
KINDS = ("model", "prior", "prior_exact")
SPLITS = {"held_out": "test", "training": "train"}
MEANING = {
    "held_out": "real images of the test split: patients that the model has not seen",
    "training": "images of the train split, which the model was trained on",
}
METRIC = (
    "bits per dimension (a pixel's value in a channel) that an ideal code of the images by the model would take: less "
    "is better; 8 is what bytes take without a model"
)


def bits(denoiser: Denoiser, images: ImageSet, conditions: np.ndarray, options: Likelihood) -> dict[str, np.ndarray]:
    """Bits per dimension of each image, (n,), given its ``conditions``: by the ``model``, and by its prior.

    ``prior`` is had as the model's is, with the same steps and probes, so that their errors are alike and hardly matter
    in the difference of both; ``prior_exact`` tells these errors.
    """
    parts = [
        _batch(denoiser, images, conditions, places, options)
        for places in tqdm(list(_batches(len(images))), unit="batch")
    ]
    return {name: np.concatenate([part[name] for part in parts])[: len(images)] for name in KINDS}


def _batches(count: int) -> Iterator[np.ndarray]:
    """Positions of the images of each batch; the last one is filled up from the start."""
    filled = np.resize(np.arange(count), -(-count // BATCH) * BATCH)
    return iter(filled.reshape(-1, BATCH))


def _batch(
    denoiser: Denoiser, images: ImageSet, conditions: np.ndarray, places: np.ndarray, options: Likelihood
) -> dict[str, np.ndarray]:
    device = next(denoiser.parameters()).device
    drawn = [dequantised(images.array[i], options.seed, i) for i in images.indices[places]]
    x_0, probe = (torch.from_numpy(np.stack(each)).to(device) for each in zip(*drawn, strict=True))
    condition = torch.from_numpy(conditions[places]).to(device)
    flows = {"model": denoiser.given(condition), "prior": denoiser.prior.denoiser(condition)}
    end = denoiser.sde.grid(2)[0]

    def start(x: Tensor) -> Tensor:
        density = prior_log_density(denoiser.prior, x / alpha(end).to(x), condition, math.exp(-end))
        return density - x[0].numel() * alpha(end).log()

    with torch.no_grad():
        densities = {
            name: log_likelihood(denoise, denoiser.sde, x_0, options.steps, probe[None], start)
            for name, denoise in flows.items()
        }
        densities["prior_exact"] = prior_log_density(denoiser.prior, x_0, condition, least_noise(denoiser.sde) ** 2)
    return {
        name: bits_per_dimension(each, x_0[0].numel(), LEVEL).double().cpu().numpy() for name, each in densities.items()
    }


def least_noise(sde: VPSDE) -> float:
    """Standard deviation of the noise that images still have at t = 0, beside pixels in [-1, 1]."""
    return math.exp(-(sde.log_snr_max + sde.shift) / 2)


def dequantised(image: np.ndarray, seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """A byte image in [-1, 1] with uniform noise of one level's width, and a probe of -1 and 1; float32, its shape.

    Both are functions of ``seed`` and of the image's ``index`` in the store.
    """
    random = np.random.default_rng([seed, index])
    noisy = image + random.random(image.shape) - 0.5
    return (noisy * LEVEL - 1).astype(np.float32), random.choice(np.array([-1, 1], dtype=np.float32), image.shape)


def prior_log_density(prior: GaussianPrior, x_0: Tensor, condition: Tensor, noise: float) -> Tensor:
    """Log-density (n) of the prior given ``condition``, with white noise of variance ``noise``, at ``x_0``, in nats."""
    told = torch.ones(len(x_0), dtype=torch.bool, device=x_0.device)
    expected, which = prior.expect(condition, told)
    centred = (prior.coefficients(x_0) - expected).double()
    variance = prior.variance[which].double() + noise
    each = -0.5 * (centred.square() / variance + variance.log() + math.log(2 * math.pi))
    details = torch.arange(centred.shape[1], device=x_0.device) % prior.bands > 0
    coarse = centred[:, :: prior.bands].flatten(1)
    of_coarse = prior.of_each(which, lambda spectrum: _coarse_log_density(spectrum, coarse, noise)[:, None])
    return each[:, details].sum((1, 2, 3)) + of_coarse[:, 0]


def _coarse_log_density(spectrum: Spectrum, centred: Tensor, noise: float) -> Tensor:
    """Log-density of ``centred`` (n, dimensions), float64, with white noise of variance ``noise``."""
    dimensions, kept = spectrum.basis.shape
    axes, rest = spectrum.eigenvalues.double() + noise, spectrum.rest.double() + noise
    along = (centred @ spectrum.basis.double()).square()
    squares = (along * (1 / axes - 1 / rest)).sum(1) + centred.square().sum(1) / rest
    volume = axes.log().sum() + (dimensions - kept) * rest.log()
    return -0.5 * (squares + volume + dimensions * math.log(2 * math.pi))


def estimates(values: dict[str, np.ndarray], groups: np.ndarray, settings: Evaluate) -> dict[str, Estimate]:
    """Means of each kind of bits, of what the network saves of the prior's, and of the error of steps and probes."""
    counts = multiplicities(np.random.default_rng(settings.seed), groups, settings.bootstrap)
    shares = counts / counts.sum(1, keepdims=True)
    found = {name: Estimate(float(each.mean()), shares @ each) for name, each in values.items()}
    return found | {
        "prior_minus_model": found["prior"] - found["model"],
        "error": found["prior"] - found["prior_exact"],
    }


def gaps(found: dict[str, dict[str, Estimate]]) -> dict[str, Estimate]:
    """Bits of held-out images less those of training images: of the model, of the prior, and the difference of both."""
    each = {name: found["held_out"][name] - found["training"][name] for name in ("model", "prior")}
    return each | {"model_minus_prior": each["model"] - each["prior"]}


def verdicts(found: dict[str, dict[str, Estimate]], gap: dict[str, Estimate]) -> list[str]:
    """Plain sentences: how well images are predicted, what the network adds to that, whether it knows some by heart."""
    held_out, saved, extra = found["held_out"], found["held_out"]["prior_minus_model"], gap["model_minus_prior"]
    return [
        f"Held-out images take {_said(held_out['model'])} bits per dimension by the model and "
        f"{_said(held_out['prior'])} by the Gaussian prior alone: the network saves {_said(saved)}, and "
        + _side(saved, "predicts them better.", "predicts them worse.", "is not told apart from the prior."),
        f"Steps and probes add about {_said(held_out['error'])} to such figures, which is the prior's error; of the "
        "model's, the network's share in it is not known. Differences have less.",
        f"They take {_said(gap['model'])} bits more than as many training images do, and {_said(gap['prior'])} by the "
        f"prior, which was fitted to these too. The network's part of the gap, {_said(extra)}, is "
        + _side(
            extra,
            "more than none: it knows training images better than their kind, which is what memorising looks like.",
            "less than none: no sign of memorising.",
            "not told apart from none: no sign of memorising at this number of images.",
        ),
        "A small gap does not rule copies out: it is a mean over images, and a few copied ones hardly move it. The "
        "search for copies is in the memorisation result.",
    ]


def _said(estimate: Estimate) -> str:
    low, high = estimate.interval
    return f"{estimate.value:.3f} ({low:.3f} to {high:.3f})"


def _side(estimate: Estimate, above: str, below: str, neither: str) -> str:
    low, high = estimate.interval
    return above if low > 0 else below if high < 0 else neither


def sets(store: Store, count: int) -> dict[str, ImageSet]:
    """As many held-out as training images, ``count`` at most, evenly spaced in their splits."""
    count = min(count, *(len(store.indices(split)) for split in SPLITS.values()))
    return {name: split_set(store, split, count) for name, split in SPLITS.items()}


def method(denoiser: Denoiser, options: Likelihood) -> dict[str, Any]:
    """What the figures are of, and how they were had."""
    noise = least_noise(denoiser.sde)
    return {
        "likelihood": "of the probability flow (Song et al. 2021, section 4.3), given each image's own condition: an "
        "upper bound of the bits for the bytes (uniform dequantisation), up to the errors of steps and probes",
        "noise": f"The density is that of images with normal noise of {noise / LEVEL:.3g} gray levels, the least that "
        "the process has, at images without it. What varies by less is not seen, and the figures are to be compared "
        "only with those of models with the same noise; the prior's have it too.",
        "noise_in_levels": round(noise / LEVEL, 4),
        "solver": {"name": "Heun over log-SNR", "steps": options.steps, "evaluations": 2 * options.steps},
        "divergence": {"estimate": "Hutchinson, Rademacher", "probes": 1},
        "prior": "the Gaussian of the training images inside the model, without its network, by the same steps and "
        "probes; prior_exact, by its formula, tells their error",
        "seed": options.seed,
    }


def work(job: stage.Job) -> None:
    """Compute the bits of both sets and write them."""
    store, settings, options = open_store(job.inputs["pixels"]), job.settings.evaluate, job.settings.likelihood
    denoiser, description = model.load(job.inputs["model"])
    known, device = model.vocabulary(description), best_device()
    if device.type == "mps":  # which has no double precision
        device = torch.device("cpu")
    # In single precision, whatever the machine: the flow and its derivative have to belong together.
    denoiser = denoiser.to(device, memory_format=torch.channels_last).requires_grad_(False)
    chosen = sets(store, options.count)
    each = {name: bits(denoiser, images, known.encode(images.rows), options) for name, images in chosen.items()}
    found = {name: estimates(values, chosen[name].groups, settings) for name, values in each.items()}
    gap, count = gaps(found), len(chosen["held_out"])
    top = header(store.manifest, {"reference": count}, settings)
    result = {
        "metric": METRIC,
        **top,
        "sets": {name: {"images": len(images), "meaning": MEANING[name]} for name, images in chosen.items()},
        "small_note": f"{count} images of each set: the figures do not depend on that number, but their intervals do.",
        "unit": "bits per dimension",
        "method": method(denoiser, options),
        "bits_per_dimension": {name: _as_json(values) for name, values in found.items()},
        "held_out_minus_training": _as_json(gap),
        "verdicts": verdicts(found, gap),
    }
    write_json(job.outputs["likelihood"], result)
    job.facts |= facts(device, "fp32") | {"seed": options.seed, "images": 2 * count}


def _as_json(found: dict[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.as_json() for name, estimate in found.items()}


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    inputs = ("model", "pixels", "table", "manifest")
    stage.run("evaluate.likelihood", work, inputs=inputs, outputs=("likelihood",), argv=argv)


if __name__ == "__main__":
    main()
