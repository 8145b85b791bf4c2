"""Grey levels and power spectra with known answers."""

import numpy as np
import pytest

from scansynth.evaluate.anatomy import spectrum


def white(n=40, size=64, sigma=20.0, seed=0):
    values = np.random.default_rng(seed).normal(128, sigma, (n, 1, size, size))
    return np.clip(values.round(), 0, 255).astype(np.uint8)


def test_white_noise_has_its_variance_at_every_frequency():
    power = spectrum.radial_power(white()).mean(0)
    # 1/12 of a squared level is the rounding's.
    np.testing.assert_allclose(power[3:], 400 + 1 / 12, rtol=0.1)


@pytest.mark.parametrize("cycles", [4, 16, 28])
def test_a_wave_is_found_at_its_frequency(cycles):
    x = np.arange(64)
    wave = 128 + 100 * np.cos(2 * np.pi * cycles * x / 64)
    images = np.broadcast_to(wave.round().astype(np.uint8), (1, 1, 64, 64))
    assert spectrum.frequencies(64)[spectrum.radial_power(images)[0].argmax()] == cycles / 64


def test_a_shift_of_all_levels_is_the_distance_of_the_histograms():
    images = white(4)
    first, second = (spectrum.histogram(each).mean(0) for each in (images, images + 12))
    assert spectrum.histogram_distance(first, second) == pytest.approx(12, abs=1e-9)
    assert spectrum.histogram_distance(first, first) == 0


def test_doubled_contrast_is_six_decibels():
    reference, doubled = (spectrum.radial_power(white(sigma=sigma)).mean(0) for sigma in (10, 20))
    assert spectrum.spectrum_distance(reference, doubled) == pytest.approx(6.02, abs=0.05)
    assert spectrum.spectrum_deviation(reference, doubled) == pytest.approx(3, abs=0.1)


def test_distances_have_intervals_and_the_same_set_has_none():
    images = {"reference": white(seed=1), "same": white(seed=1), "brighter": white(seed=1) + 20}
    curves = {
        name: {"histogram": spectrum.histogram(each), "power": spectrum.radial_power(each)}
        for name, each in images.items()
    }
    drawn = dict.fromkeys(images, np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), 30).astype(float))
    found = spectrum.distances(curves, drawn)
    assert found["histogram_distance"]["same"].value == found["spectrum_deviation"]["same"].value == 0
    assert found["histogram_distance"]["brighter"].interval[0] > 19
    assert found["spectrum_distance"]["brighter"].value < 1e-6


def test_measures_of_an_image():
    found = spectrum.measure(np.repeat(white(3), 3, 1), ["red", "green", "blue"])
    assert set(found) == set(spectrum.MEASURES)
    np.testing.assert_allclose(found["mean_level"], 128, atol=1)
    np.testing.assert_allclose(found["contrast"], 20, rtol=0.05)
    # Of white noise the rings beyond half the Nyquist frequency have about 3/4 of the power.
    np.testing.assert_allclose(found["fine_texture"], 10 * np.log10(0.75), atol=0.2)


def test_channels_have_to_be_named():
    with pytest.raises(ValueError, match="1 channels, but 2 names"):
        spectrum.measure(white(1), ["t1", "t2"])
