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
from scansynth.diffusion.vp_sde import VPSDE, Denoise, alpha
from scansynth.sections import Calibrate
from scansynth.stage import Job, run
from scansynth.store import Store, evenly, open_store
from scansynth.training.batches import images

MOST = 0.2  # share of the amplitude, at most, that a step of the pilot may gain or lose
BATCH = 16  # images of the pilot that are drawn at once
SPECTRA = 64  # images whose spectra are taken at once
IMAGES = 10_000  # training images, at most, whose power the samples are to have


@torch.no_grad()
def calibrate(denoiser: Denoiser, store: Store, options: Calibrate) -> None:
    """Calibrate ``denoiser``, where it is, by a pilot of what training images of ``store`` show."""
    calibration = Calibration(denoiser.shape[0], denoiser.shape[1], denoiser.sde)
    calibration.autoguidance.fill_(options.autoguidance)
    denoiser.calibration.load_state_dict(calibration.state_dict())  # the pilot is drawn without gains
    if not options.pilot:
        return
    device, mean = next(denoiser.parameters()).device, denoiser.prior.mean_image().cpu()
    random = np.random.default_rng([options.seed, 2**33])
    indices = random.choice(store.indices("train"), options.pilot)
    shown = torch.from_numpy(store.conditions[indices]).to(device)
    white = torch.from_numpy(random.standard_normal((options.pilot, *denoiser.shape), dtype=np.float32))
    bar = tqdm(total=options.pilot * LEVELS, desc="pilot", unit=" evaluations")

    def in_batches(x: Tensor, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        parts = []
        for part, condition in zip(x.split(BATCH), shown.split(BATCH), strict=True):
            parts.append(function(part.to(device), condition).cpu())
            bar.update(len(part))
        return torch.cat(parts)

    def denoise(x: Tensor, log_snr: Tensor) -> Tensor:
        return in_batches(x, lambda part, condition: guided(denoiser, condition)(part, log_snr))

    clean = power(images(store, evenly(store.indices("train"), IMAGES)) - mean, calibration.band)
    with bar:
        lowest = denoiser.sde.grid(2)[0]
        x = in_batches(white, lambda part, condition: denoiser.prior.draw(part, lowest, condition))
        fit(calibration, denoiser.sde, denoise, x, clean, mean)
    denoiser.calibration.load_state_dict(calibration.state_dict())


def fit(calibration: Calibration, sde: VPSDE, denoise: Denoise, x: Tensor, clean: Tensor, mean: Tensor) -> None:
    """Find the gains by a pilot: samples whose power is led, step by step, to that of clean images. On the CPU.

    The pilot's solver is DPM-Solver++(2M).

    Args:
        calibration: whose gains are set.
        sde: the process.
        denoise: what the sampler follows, (x, log-SNR) -> mean of x_0, without gains.
        x: draws of the process at the lowest log-SNR, (n, channels, size, size).
        clean: ``power`` of clean images about their mean, (channels, bands).
        mean: of these images, (channels, size, size).
    """
    history = None
    calibration.log_snr.copy_(levels(sde, LEVELS))
    for number, (now, after) in enumerate(itertools.pairwise(calibration.log_snr.double())):
        denoised, deviation = denoise(x, now), x / alpha(now).to(x) - mean
        reached = towards(extrapolated(denoised, now, after, history), x, now, after) / alpha(after).to(x) - mean
        # What arrives there of a correction: the step's share, and the extrapolation's.
        share = -torch.expm1((now - after) / 2) * (1 + ahead(now, after, history))
        found = power(reached, calibration.band)
        wanted = (clean + torch.exp(-after)).clamp((1 - MOST) ** 2 * found, (1 + MOST) ** 2 * found)
        gain = (wanted - found) / (2 * share * power(reached, calibration.band, deviation))
        # Not of the mean grey level, one number an image, whose power in a pilot is left to chance.
        calibration.gain[number, :, 1:] = gain[:, 1:].to(calibration.gain)
        denoised = denoised + calibration(deviation, now)
        x = towards(extrapolated(denoised, now, after, history), x, now, after)
        history = denoised, now


def power(images: Tensor, band: Tensor, others: Tensor | None = None) -> Tensor:
    """Mean power of ``images`` (n, channels, size, size) by frequency, or their common one with ``others``.

    By the ``band`` (size, size // 2 + 1) that a frequency is in: (channels, bands), float64, where white noise of unit
    variance has 1 in each. The borders, which would leak into all frequencies, are left out by a window.
    """
    size, flat = len(band), band.flatten()
    window = torch.hann_window(size, periodic=False)
    window = window[:, None] * window
    window /= window.square().mean().sqrt()
    total = torch.zeros(images.shape[1], *band.shape, dtype=torch.float64)
    for each in zip(*(a.split(SPECTRA) for a in (images, images if others is None else others)), strict=True):
        one, other = (torch.fft.rfft2(part * window) for part in each)
        total += (one * other.conj()).real.sum(0)
    sums = total.new_zeros(images.shape[1], int(band.max()) + 1).index_add_(1, flat, total.flatten(1))
    return sums / (torch.bincount(flat) * len(images) * size**2)


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
