"""Calibration on Gaussian fields, whose denoiser and power spectrum are known; and of a trained model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from scansynth import calibrate as stage
from scansynth import files, model, train
from scansynth.calibrate import MOST, calibrate
from scansynth.diffusion.calibration import AXES, LEVELS, Calibration
from scansynth.diffusion.solvers import dpm_solver_2m, extrapolated, levels, towards
from scansynth.diffusion.vp_sde import VPSDE, alpha, sigma
from scansynth.evaluate.anatomy.spectrum import radial_power
from scansynth.sections import Calibrate, Diffusion, Network
from scansynth.store import Store, open_store
from scansynth.training import batches

NETWORK = {"base_channels": 32, "multipliers": [1], "attention": [False], "blocks": 1, "wavelet_levels": 2}
SIZE = 32
SDE = VPSDE(9.0, -5.0, 0.0)
MEAN = torch.linspace(-0.5, 0.5, SIZE).expand(1, SIZE, SIZE)


@pytest.fixture
def calibration():
    return Calibration(1, SIZE, SDE)


def field(n, seed):
    """Images around MEAN whose power falls with frequency, and that power by place in the plane of frequencies."""
    frequency = SIZE * torch.hypot(torch.fft.fftfreq(SIZE)[:, None], torch.fft.rfftfreq(SIZE))
    spectrum = 40 / (1 + frequency) ** 2.5
    white = torch.randn(n, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return MEAN + torch.fft.irfft2(torch.fft.rfft2(white) * spectrum.sqrt(), s=(SIZE, SIZE)), spectrum


def wiener(spectrum):
    """The denoiser of a field of that power."""

    def denoise(x, log_snr):
        y = torch.fft.rfft2(x / alpha(log_snr).to(x) - MEAN)
        return MEAN + torch.fft.irfft2(y * spectrum / (spectrum + torch.exp(-log_snr).to(x)), s=(SIZE, SIZE))

    return denoise


def start(n, seed):
    """Draws of the process at its lowest log-SNR."""
    low = torch.tensor(SDE.log_snr_min)
    noise = torch.randn(n, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed + 1))
    return alpha(low) * field(n, seed)[0] + sigma(low) * noise


def power(images, band, others=None):
    """Mean power of ``images`` by band, or their common one with ``others``."""
    one = stage.spectra(images)
    return stage.power(one, one if others is None else stage.spectra(others), band).mean(0)


def fit(calibration, denoise, x, images):
    real = stage.spectra(images - MEAN)
    clean = stage.power(real, real, calibration.band)
    stage.fit(calibration, SDE, lambda _, x, log_snr: denoise(x, log_snr), list(x.split(64)), clean, MEAN)


def calibrated(calibration, denoise):
    return lambda x, log_snr: denoise(x, log_snr) + calibration(x / alpha(log_snr).to(x) - MEAN, log_snr)


def test_white_noise_has_a_power_of_one(calibration):
    found = power(torch.randn(10_000, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)), calibration.band)
    assert found.shape == (1, int(calibration.band.max()) + 1) and found.dtype == torch.float64
    assert (found - 1).abs().max() < 0.05
    assert (found - 1).abs()[:, 4 : SIZE // 2 + 1].max() < 0.02


def test_power_is_that_of_the_texture_which_is_reported(calibration):
    """There, rings are whole; but for the constant, which is 0 there, and rings 0 and 1, into which it leaks."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 1, SIZE, SIZE), dtype=np.uint8)
    images = torch.from_numpy(pixels).float()
    found = power(images - images.mean((2, 3), keepdim=True), calibration.band)
    reported = radial_power(pixels).mean(0)
    np.testing.assert_allclose(found[0, 2:AXES], reported[1 : AXES - 1], rtol=1e-5)


def test_power_of_two_channels_and_in_common():
    calibration = Calibration(2, SIZE, SDE)
    images = torch.randn(70, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    each = power(images * torch.tensor([1.0, 3.0])[:, None, None], calibration.band)
    alone = power(images, calibration.band)
    torch.testing.assert_close(each, alone * torch.tensor([[1.0], [9.0]], dtype=torch.float64), rtol=1e-5, atol=0)
    torch.testing.assert_close(power(images, calibration.band, -2 * images), -2 * alone, rtol=1e-5, atol=0)


@pytest.mark.parametrize("known", [0.5, 0.8, 1.4])
def test_samples_of_a_wrong_denoiser_get_the_right_power(calibration, known):
    """It takes the field for one of ``known`` times its power: left alone, its samples have too little, or too much."""
    images, spectrum = field(4000, 0)
    wrong, right = wiener(spectrum * known), power(images - MEAN, calibration.band)
    fit(calibration, wrong, start(2000, 2), images)
    x = start(2000, 4)
    ratios = [
        (power(dpm_solver_2m(denoise, SDE, x, 16, None) - MEAN, calibration.band) / right)[0, 1:9]
        for denoise in (wrong, calibrated(calibration, wrong))
    ]
    assert (ratios[0] - 1).abs().min() > 0.1
    assert (ratios[1] - 1).abs().max() < 0.1
    assert (ratios[1] - 1).abs()[1:].max() < 0.03


def test_lines_along_rows_and_columns_go(calibration):
    """The denoiser takes the field for one with too much power there, and so its samples have it."""
    images, spectrum = field(4000, 0)
    lines = spectrum * torch.where(calibration.band > SIZE // 2, 1.5, 1.0)
    wrong, right = wiener(lines), power(images - MEAN, calibration.band)
    fit(calibration, wrong, start(2000, 2), images)
    x = start(2000, 4)
    before, after = (
        (power(dpm_solver_2m(denoise, SDE, x, 16, None) - MEAN, calibration.band) / right)[0, SIZE // 2 + 1 :]
        for denoise in (wrong, calibrated(calibration, wrong))
    )
    assert before.min() > 1.2
    assert (after - 1).abs().max() < 0.1


def test_it_leaves_a_right_denoiser_alone(calibration):
    images, spectrum = field(4000, 0)
    fit(calibration, wiener(spectrum), start(4000, 2), images)
    assert calibration.gain.abs().max() < 0.04
    assert not calibration.gain[:, :, 0].any() and not calibration.gain[-1].any()


@pytest.mark.parametrize(("pilot", "real"), [(64, 4000), (2000, 10), (2000, 140)])
def test_what_chance_explains_is_not_put_right(calibration, pilot, real):
    """With few samples, or few real images, a right denoiser is left nearly as it is."""
    images, spectrum = field(4000, 0)
    fit(calibration, wiener(spectrum), start(pilot, 2), images[:real])
    x = dpm_solver_2m(calibrated(calibration, wiener(spectrum)), SDE, start(2000, 4), 16, None)
    off = power(x - MEAN, calibration.band) / power(images - MEAN, calibration.band) - 1
    assert off.abs()[0, 1 : SIZE // 2 + 1].max() < 0.15
    assert off.abs()[0, 1:].max() < 0.35


def test_it_holds_for_other_numbers_of_evaluations(calibration):
    images, spectrum = field(4000, 0)
    wrong, right = wiener(spectrum * 0.6), power(images - MEAN, calibration.band)
    fit(calibration, wrong, start(2000, 2), images)
    for steps in (12, 60):
        x = dpm_solver_2m(calibrated(calibration, wrong), SDE, start(2000, 4), steps, None)
        assert ((power(x - MEAN, calibration.band) / right)[0, 1:9] - 1).abs().max() < 0.12


def test_a_step_gains_no_more_than_it_may(calibration):
    """Of a denoiser that knows nothing nothing can be made: the pilot doesn't run off."""
    images, _ = field(200, 0)
    fit(calibration, lambda x, log_snr: MEAN.expand_as(x), x := start(200, 2), 50 * images)
    assert calibration.gain.isfinite().all()
    at = levels(SDE, LEVELS)
    share = -torch.expm1((at[0] - at[1]) / 2)
    plain, led = (
        towards(extrapolated(denoise(x, at[0]), at[0], at[1], None), x, at[0], at[1]) / alpha(at[1]).float() - MEAN
        for denoise in (lambda x, log_snr: MEAN.expand_as(x), calibrated(calibration, lambda x, _: MEAN.expand_as(x)))
    )
    assert share > 0.1
    # To first order: the square of what is added is left out.
    assert (power(led, calibration.band) / power(plain, calibration.band)).max() < (1 + MOST) ** 2 + 0.1


@pytest.fixture
def trained(tiny_store, monkeypatch):
    """The tiny store, and beside it, in the working folder, a model that has seen 3 batches of it."""
    monkeypatch.chdir(tiny_store.parents[2])
    options = ["--settings", json.dumps({"network": NETWORK, "diffusion": {}, "train": {"steps": 3, "batch": 4}})]
    train.main([*options, *store_files(tiny_store), "--trained", "trained.safetensors", "--metrics", "train.jsonl"])
    return tiny_store


def store_files(path):
    return [
        word
        for name, suffix in (("pixels", ".npy"), ("table", ".csv"), ("manifest", ".json"))
        for word in (f"--{name}", str(path.with_suffix(suffix)))
    ]


def run(store, name, **options):
    told = ["--settings", json.dumps({"calibrate": options}), *store_files(store)]
    stage.main([*told, "--trained", "trained.safetensors", "--model", f"{name}.safetensors"])
    return files.sha256(Path(f"{name}.safetensors"))


def test_a_model_is_the_trained_one_calibrated(trained):
    assert run(trained, "one", pilot=64) == run(trained, "two", pilot=64) != run(trained, "other", pilot=64, seed=1)
    before, after = (model.load(Path(f"{name}.safetensors")) for name in ("trained", "one"))
    weights = [each.state_dict() for each, _ in (before, after)]
    differing = {name for name in weights[0] if not torch.equal(weights[0][name], weights[1][name])}
    assert differing == {"calibration.gain", "calibration.log_snr", "calibration.autoguidance"}
    assert after[0].calibration.autoguidance == torch.tensor(1.2)
    assert after[1] == before[1] | {"calibrate": {"autoguidance": 1.2, "pilot": 64, "seed": 0}}
    assert not any(name.startswith("last.") for name in load_file("one.safetensors"))


def test_without_a_pilot_there_are_no_gains(trained):
    run(trained, "plain", pilot=0, autoguidance=1.1)
    calibration = model.load(Path("plain.safetensors"))[0].calibration
    assert not calibration.gain.any() and calibration.autoguidance == torch.tensor(1.1)


def test_it_is_calibrated_anew(trained):
    """What an earlier calibration has found is not what the next one starts from."""
    denoiser, store, options = model.load(Path("trained.safetensors"))[0], open_store(trained), Calibrate(pilot=64)
    calibrate(denoiser, store, options)
    first = denoiser.calibration.gain.clone()
    calibrate(denoiser, store, options)
    assert first.any() and torch.equal(denoiser.calibration.gain, first)


def test_all_that_is_fitted_is_along_the_principal_channels(tiny_store, monkeypatch):
    """Of images that are gray but for faint tints; what denoises and draws has a scale of its own in each colour."""
    gray = open_store(tiny_store)
    tinted = gray.pixels + np.random.default_rng(0).normal(0, 1, (len(gray.pixels), 3, 64, 64))
    store = Store(tinted.round().astype(np.uint8), gray.table, gray.manifest | {"channels": ["red", "green", "blue"]})
    denoiser = model.build((3, 64, 64), model.vocabulary(gray.manifest), Network(**NETWORK), Diffusion())
    denoiser.prior.fit(batches.images(store, store.indices("train")), torch.from_numpy(store.conditions[:36]))
    channels, scale = denoiser.prior.channels, torch.tensor([1.0, 2, 3])[:, None, None]
    monkeypatch.setattr(denoiser.prior, "draw", lambda white, lowest, condition: scale * white)
    monkeypatch.setattr(stage, "guided", lambda denoiser, condition: lambda x, log_snr: scale * x)
    fitted = []
    monkeypatch.setattr(stage, "fit", lambda *given: fitted.extend(given))
    calibrate(denoiser, store, Calibrate(pilot=64))
    _, _, denoise, pilot, clean, mean = fitted
    assert clean[:, 1:, 1:].mean() < 0.01 * clean[:, 0, 1:].mean()
    assert mean[1:].abs().max() < 0.05 < mean[0].abs().max()
    drawn = channels.inverse(torch.cat(pilot)) / scale
    torch.testing.assert_close(drawn.std((0, 2, 3)), torch.ones(3), rtol=0.02, atol=0)
    denoised = denoise(0, pilot[0], torch.tensor(0.0))
    torch.testing.assert_close(channels.inverse(denoised), scale * channels.inverse(pilot[0]), atol=1e-4, rtol=1e-4)
