import numpy as np
import pytest
import torch

from scansynth.networks.ema import PowerEMA, exponent


@pytest.mark.parametrize(("width", "power"), [(0.05, 16.97), (0.10, 6.94)])
def test_published_exponents(width, power):
    """Karras et al. (2024), section 3.1."""
    assert exponent(width) == pytest.approx(power, abs=0.01)


def test_too_wide():
    with pytest.raises(ValueError, match=r"0\.288"):
        exponent(0.3)


def test_profile_is_the_power_function():
    model, steps = torch.nn.Linear(1, 1, bias=False), 200
    profile = []
    for impulse in (50, 100, 200):
        average = PowerEMA(model, 0.1)
        for step in range(1, steps + 1):
            model.weight.data.fill_(float(step == impulse))
            average.update(model, step)
        profile.append(float(average.model.weight))
    expected = np.array([50, 100, 200]) ** exponent(0.1)
    np.testing.assert_allclose(np.array(profile) / profile[-1], expected / expected[-1], rtol=0.1)


def test_forgets_the_start():
    model = torch.nn.Linear(1, 1, bias=False)
    average = PowerEMA(model, 0.1)
    model.weight.data.fill_(3.0)
    average.update(model, 1)
    assert float(average.model.weight) == 3.0
