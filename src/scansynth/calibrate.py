"""Calibrate how samples are drawn with a trained model, so that they get the power spectrum that training images have.

Of a short training, or of few images, a denoiser knows too little of what lies between outlines and grain: along the
probability flow the power of its samples falls behind, by up to a quarter at some frequencies, which no one guidance
scale mends at all of them. Yet the power that images have at every noise level is known: alpha^2 of the clean images',
and that of the noise. So a pilot of samples is drawn once, and what it lacks at each level and frequency is put into
the model: ``diffusion.calibration``.
"""

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from scansynth import model
from scansynth.diffusion.calibration import LEVELS, Calibration
from scansynth.diffusion.denoiser import Denoiser
from scansynth.diffusion.guidance import guided
from scansynth.diffusion.solvers import ahead, extrapolated, levels, towards
from scansynth.diffusion.vp_sde import VPSDE, alpha
from scansynth.sections import Calibrate
from scansynth.stage import Job, run
from scansynth.store import Store, evenly, open_store
from scansynth.training.batches import images

CHANCE = 0.05  # share of the power, at most, that chance may have in what is put right
MOST = 0.2  # share of the amplitude, at most, that a step of the pilot may gain or lose
BATCH = 16  # images at once
IMAGES = 10_000  # training images, at most, whose power the samples are to have


@torch.no_grad()
def calibrate(denoiser: Denoiser, store: Store, options: Calibrate) -> None:
    """Calibrate ``denoiser``, where it is, by a pilot of what training images of ``store`` show."""
    calibration = Calibration(denoiser.shape[0], denoiser.shape[1], denoiser.sde)
    calibration.autoguidance.fill_(options.autoguidance)
    denoiser.calibration.load_state_dict(calibration.state_dict())  # the pilot is drawn without gains
    if not options.pilot:
        return
    device, channels = next(denoiser.parameters()).device, denoiser.prior.channels
    random = np.random.default_rng([options.seed, 2**33])
    shown = torch.from_numpy(store.conditions[random.choice(store.indices("train"), options.pilot)])
    conditions = shown.to(device).split(BATCH)

    def draws() -> list[Tensor]:
        white = torch.from_numpy(random.standard_normal((options.pilot, *denoiser.shape), dtype=np.float32))
        noise, lowest = white.split(BATCH), denoiser.sde.grid(2)[0]
        drawn = (denoiser.prior.draw(x.to(device), lowest, c) for x, c in zip(noise, conditions, strict=True))
        return [channels(x).cpu() for x in drawn]

    def denoise(number: int, x: Tensor, log_snr: Tensor) -> Tensor:
        return channels(guided(denoiser, conditions[number])(channels.inverse(x.to(device)), log_snr)).cpu()

    indices = evenly(store.indices("train"), IMAGES)
    mean = channels(denoiser.prior.mean_image()[None])[0].cpu()
    batches = (images(store, indices[i : i + BATCH]) for i in range(0, len(indices), BATCH))
    real = (channels(x.to(device)).cpu() - mean for x in batches)
    clean = torch.cat([power(one, one, calibration.band) for one in map(spectra, real)])
    fit(calibration, denoiser.sde, denoise, draws(), clean, mean)
    denoiser.calibration.load_state_dict(calibration.state_dict())


def fit(
    calibration: Calibration,
    sde: VPSDE,
    denoise: Callable[[int, Tensor, Tensor], Tensor],
    pilot: list[Tensor],
    clean: Tensor,
    mean: Tensor,
) -> None:
    """Find the gains by a pilot: samples whose power is led, step by step, to that of clean images. On the CPU.

    All images are along the principal channels: of red, green and blue each with its power, tints may have too much.

    The pilot's solver is DPM-Solver++(2M). What chance explains of a difference d in power is not put right where that
    may be more than ``CHANCE``: as in the estimator of James and Stein, d is taken for d - error^2 / d, or for none
    where that is negative.

    Args:
        calibration: whose gains are set.
        sde: the process.
        denoise: what the sampler follows without gains, (number of the batch, x, log-SNR) -> mean of x_0.
        pilot: batches of draws of the process at the lowest log-SNR, (n, channels, size, size) each, 2 images at least
            in all; the samples take their place.
        clean: ``power`` of each of 2 clean images or more about their mean, (images, channels, bands).
        mean: of these images, (channels, size, size).
    """

    def step(number: int, now: Tensor, after: Tensor) -> Tensor:
        estimate = extrapolated(denoised[number], now, after, history and (history[0][number], history[1]))
        return towards(estimate, pilot[number], now, after)

    def deviation(x: Tensor, log_snr: Tensor) -> Tensor:
        return x / alpha(log_snr).to(x) - mean

    history = None
    calibration.log_snr.copy_(levels(sde, LEVELS))
    bar = tqdm(list(itertools.pairwise(calibration.log_snr.double())), desc="pilot", unit=" levels")
    for level, (now, after) in enumerate(bar):
        denoised = [denoise(number, x, now) for number, x in enumerate(pilot)]
        found, common = [], []
        for number, x in enumerate(pilot):
            reached = spectra(deviation(step(number, now, after), after))
            found.append(power(reached, reached, calibration.band))
            common.append(power(reached, spectra(deviation(x, now)), calibration.band))
        found = torch.cat(found)
        lack = clean.mean(0) + torch.exp(-after) - found.mean(0)
        error = clean.var(0) / len(clean) + found.var(0) / len(found)
        error = (error - (CHANCE * found.mean(0)).square()).clamp(min=0)
        lack = torch.where(lack.square() > error, lack - error / lack, 0)
        lack = lack.clamp(*(((1 + most) ** 2 - 1) * found.mean(0) for most in (-MOST, MOST)))
        # What arrives there of a correction: the step's share, and the extrapolation's.
        share = -torch.expm1((now - after) / 2) * (1 + ahead(now, after, history))
        gain = lack / (2 * share * torch.cat(common).mean(0))
        # Not of the mean grey level, one number an image, whose power in a pilot is left to chance.
        calibration.gain[level, :, 1:] = gain[:, 1:].to(calibration.gain)
        for number, x in enumerate(pilot):
            denoised[number] = denoised[number] + calibration(deviation(x, now), now)
            pilot[number] = step(number, now, after)
        history = denoised, now


def spectra(images: Tensor) -> Tensor:
    """Spectra of images (n, channels, size, size), (n, channels, size, size // 2 + 1).

    The borders, which would leak into all frequencies, are left out by a window.
    """
    window = torch.hann_window(images.shape[-1], periodic=False)
    window = window[:, None] * window
    return torch.fft.rfft2(images * (window / window.square().mean().sqrt()))


def power(one: Tensor, other: Tensor, band: Tensor) -> Tensor:
    """Common power of ``spectra`` by frequency, image by image; of the same ones their own.

    By the ``band`` (size, size // 2 + 1) that a frequency is in: (n, channels, bands), float64, where white noise of
    unit variance has 1 on average.
    """
    flat, products = band.flatten(), (one * other.conj()).real.double().flatten(2)
    sums = products.new_zeros(*products.shape[:2], int(band.max()) + 1).index_add_(2, flat, products)
    return sums / (torch.bincount(flat) * len(band) ** 2)


def work(job: Job) -> None:
    """The stage."""
    options, store = job.settings.calibrate, open_store(job.inputs["pixels"])
    denoiser, description = model.load(job.inputs["trained"])
    denoiser, facts = model.on_best_device(denoiser)
    calibrate(denoiser, store, options)
    model.save(job.outputs["model"], denoiser, description | {"calibrate": options.model_dump(mode="json")})
    job.facts |= facts | {"seed": options.seed}


def main(argv: list[str] | None = None) -> None:
    """Run the stage from the command line."""
    run("calibrate", work, inputs=("trained", "pixels", "table", "manifest"), outputs=("model",), argv=argv)


if __name__ == "__main__":
    main()
