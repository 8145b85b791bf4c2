"""Calibrate how samples are drawn with a trained model, so that they get the power spectrum that training images have.

Of a short training, or of few images, a denoiser knows too little of what lies between outlines and grain: along the
probability flow the power of its samples falls behind, by up to a quarter at some frequencies, which no one guidance
scale mends at all of them. Yet the power that images have at every noise level is known: alpha^2 of the clean images',
and that of the noise. So a pilot of samples is drawn once, and what it lacks at each level and frequency is put into
the model: ``diffusion.calibration``.
"""

import itertools
from collections.abc import Callable, Iterable

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
    device, mean = next(denoiser.parameters()).device, denoiser.prior.mean_image().cpu()
    random = np.random.default_rng([options.seed, 2**33])
    shown = torch.from_numpy(store.conditions[random.choice(store.indices("train"), options.pilot)])
    conditions = shown.to(device).split(BATCH)
    white = torch.from_numpy(random.standard_normal((options.pilot, *denoiser.shape), dtype=np.float32)).split(BATCH)

    def draw(number: int) -> Tensor:
        return denoiser.prior.draw(white[number].to(device), denoiser.sde.grid(2)[0], conditions[number]).cpu()

    def denoise(number: int, x: Tensor, log_snr: Tensor) -> Tensor:
        return guided(denoiser, conditions[number])(x.to(device), log_snr).cpu()

    indices = evenly(store.indices("train"), IMAGES)
    real = (images(store, indices[i : i + BATCH]) - mean for i in range(0, len(indices), BATCH))
    clean, _ = power(((batch, batch) for batch in real), calibration.band)
    fit(calibration, denoiser.sde, denoise, [draw(number) for number in range(len(white))], clean, mean)
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

    The pilot's solver is DPM-Solver++(2M).

    Args:
        calibration: whose gains are set.
        sde: the process.
        denoise: what the sampler follows without gains, (number of the batch, x, log-SNR) -> mean of x_0.
        pilot: batches of draws of the process at the lowest log-SNR, (n, channels, size, size) each; the samples take
            their place.
        clean: ``power`` of clean images about their mean, (channels, bands).
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
        pairs = ((deviation(step(number, now, after), after), deviation(x, now)) for number, x in enumerate(pilot))
        found, common = power(pairs, calibration.band)
        # What arrives there of a correction: the step's share, and the extrapolation's.
        share = -torch.expm1((now - after) / 2) * (1 + ahead(now, after, history))
        wanted = (clean + torch.exp(-after)).clamp((1 - MOST) ** 2 * found, (1 + MOST) ** 2 * found)
        gain = (wanted - found) / (2 * share * common)
        # Not of the mean grey level, one number an image, whose power in a pilot is left to chance.
        calibration.gain[level, :, 1:] = gain[:, 1:].to(calibration.gain)
        for number, x in enumerate(pilot):
            denoised[number] = denoised[number] + calibration(deviation(x, now), now)
            pilot[number] = step(number, now, after)
        history = denoised, now


def power(pairs: Iterable[tuple[Tensor, Tensor]], band: Tensor) -> tuple[Tensor, Tensor]:
    """Mean power by frequency of the first ones of pairs of batches (n, channels, size, size), and their common one.

    By the ``band`` (size, size // 2 + 1) that a frequency is in: (channels, bands) both, float64, where white noise of
    unit variance has 1 in each. The borders, which would leak into all frequencies, are left out by a window.
    """
    size = len(band)
    window = torch.hann_window(size, periodic=False)
    window = window[:, None] * window
    window /= window.square().mean().sqrt()
    count, totals = 0, torch.zeros(())
    for pair in pairs:
        one, other = (torch.fft.rfft2(batch * window) for batch in pair)
        totals = totals + torch.stack([(one * each.conj()).real.sum(0, dtype=torch.float64) for each in (one, other)])
        count += len(one)
    sums = totals.new_zeros(*totals.shape[:2], int(band.max()) + 1)
    sums.index_add_(2, band.flatten(), totals.flatten(2))
    return tuple(sums / (torch.bincount(band.flatten()) * count * size**2))


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
