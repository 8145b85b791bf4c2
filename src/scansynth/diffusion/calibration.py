"""Calibration of the sampler: samples get the power spectrum that the training images have.

Of a short training, or of few images, a denoiser knows too little of what lies between outlines and grain: along the
probability flow the power of its samples falls behind, by up to a quarter at some frequencies, which no one guidance
scale mends at all of them. Yet the power that images have at every noise level is known: alpha^2 of the clean images',
and that of the noise. So a pilot of samples is drawn once, at the end of training, and what it lacks at each level and
frequency is put into the denoiser.
"""

import itertools

import torch
from torch import Tensor, nn

from scansynth.diffusion.solvers import ahead, extrapolated, levels, towards
from scansynth.diffusion.vp_sde import VPSDE, Denoise, alpha

EVALUATIONS = 16  # of the pilot's DPM-Solver++(2M)
MOST = 0.2  # share of the amplitude, at most, that a step of the pilot may gain or lose
BATCH = 64  # images whose spectra are taken at once


class Calibration(nn.Module):
    """What is added to a denoised image: gain(log-SNR, frequency) * (x / alpha - mean of the images).

    A denoised image D draws y = x / alpha along by dy = (D - y) / 2 dlogSNR; so the gain is twice the rate at which an
    amplitude grows with log-SNR beside what the denoiser makes of it. Frequencies are rings, a cycle an image wide.

    All gains are 0 until ``fit``.
    """

    def __init__(self, channels: int, size: int, sde: VPSDE) -> None:
        super().__init__()
        rows, columns = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)
        ring = (torch.hypot(rows, columns) * size).round().long().clamp(max=size // 2)
        window = torch.hann_window(size, periodic=False)
        window = window[:, None] * window
        self.size = size
        self.register_buffer("ring", ring, persistent=False)
        # The borders, which would leak into all frequencies, are left out of what is measured.
        self.register_buffer("window", window / window.square().mean().sqrt(), persistent=False)
        self.register_buffer("log_snr", levels(sde, EVALUATIONS).float(), persistent=False)
        self.register_buffer("gain", torch.zeros(EVALUATIONS, channels, size // 2 + 1))

    def forward(self, deviation: Tensor, log_snr: Tensor) -> Tensor:
        """The correction of a denoised image, given x / alpha less the images' mean, (n, channels, size, size)."""
        after = torch.searchsorted(self.log_snr, log_snr.to(self.log_snr)).clamp(1, EVALUATIONS - 1)
        low, high = self.log_snr[after - 1], self.log_snr[after]
        share = ((log_snr.to(low) - low) / (high - low)).clamp(0, 1)
        gain = torch.lerp(self.gain[after - 1], self.gain[after], share)
        return torch.fft.irfft2(torch.fft.rfft2(deviation) * gain[:, self.ring], s=(self.size, self.size))

    @torch.no_grad()
    def fit(self, denoise: Denoise, x: Tensor, clean: Tensor, mean: Tensor) -> None:
        """Find the gains by a pilot: samples whose power is led, step by step, to that of clean images. On the CPU.

        Args:
            denoise: what the sampler follows, (x, log-SNR) -> mean of x_0, without this calibration.
            x: draws of the process at the lowest log-SNR, (n, channels, size, size).
            clean: ``power`` of clean images about their mean, (channels, rings).
            mean: of these images, (channels, size, size).
        """
        history = None
        for number, (now, after) in enumerate(itertools.pairwise(self.log_snr.double())):
            denoised, deviation = denoise(x, now), x / alpha(now).to(x) - mean
            reached = towards(extrapolated(denoised, now, after, history), x, now, after) / alpha(after).to(x) - mean
            # What arrives there of a correction: the step's share, and the extrapolation's.
            share = -torch.expm1((now - after) / 2) * (1 + ahead(now, after, history))
            power = self.power(reached)
            wanted = (clean + torch.exp(-after)).clamp((1 - MOST) ** 2 * power, (1 + MOST) ** 2 * power)
            gain = (wanted - power) / (2 * share * self.power(reached, deviation))
            # Not of the mean grey level, one number an image, whose power in a pilot is left to chance.
            self.gain[number, :, 1:] = gain[:, 1:].to(self.gain)
            denoised = denoised + self(deviation, now)
            x = towards(extrapolated(denoised, now, after, history), x, now, after)
            history = denoised, now

    def power(self, images: Tensor, others: Tensor | None = None) -> Tensor:
        """Mean power of ``images`` (n, channels, size, size) by frequency, or their common one with ``others``.

        (channels, rings), float64: white noise of unit variance has 1 in each.
        """
        total = torch.zeros(self.gain.shape[1], *self.ring.shape, dtype=torch.float64)
        for each in zip(*(a.split(BATCH) for a in (images, images if others is None else others)), strict=True):
            one, other = (torch.fft.rfft2(part * self.window) for part in each)
            total += (one * other.conj()).real.sum(0)
        ring = self.ring.flatten()
        sums = total.new_zeros(self.gain.shape[1:]).index_add_(1, ring, total.flatten(1))
        return sums / (torch.bincount(ring) * len(images) * self.size**2)
