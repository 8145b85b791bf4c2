import numpy as np
import pytest
import torch

from scansynth.networks.ema import PowerEMA, assign, exponent


@pytest.mark.parametrize(("width", "power"), [(0.05, 16.97), (0.10, 6.94)])
def test_published_exponents(width, power):
    """Karras et al. (2024), section 3.1."""
    assert exponent(width) == pytest.approx(power, abs=0.01)


def test_too_wide():
    with pytest.raises(ValueError, match=r"0\.288"):
        exponent(0.3)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.2])
def test_profile_is_the_power_function_of_that_width(width):
    model, steps = torch.nn.Linear(200, 1, bias=False), 200
    average = PowerEMA(model, width)
    for step in range(1, steps + 1):
        model.weight.data.zero_()[0, step - 1] = 1  # each step leaves its mark at its own place
        average.update(model, step)
    profile, times = average.values[0][0].numpy().astype(float), np.arange(1, steps + 1) / steps
    expected = times ** exponent(width)
    late = expected > 0.01
    np.testing.assert_allclose(profile[late] / profile[-1], expected[late] / expected[-1], rtol=0.15)
    assert profile.sum() == pytest.approx(1, abs=1e-5)
    mean = (profile * times).sum()
    assert np.sqrt((profile * (times - mean) ** 2).sum()) == pytest.approx(width, rel=0.05)


def test_forgets_the_start():
    model = torch.nn.Linear(1, 1, bias=False)
    average = PowerEMA(model, 0.1)
    model.weight.data.fill_(3.0)
    average.update(model, 1)
    assert float(average.values[0]) == 3.0


def test_averages_are_apart_from_the_model_until_they_are_assigned():
    model = torch.nn.Linear(3, 2)
    average = PowerEMA(model, 0.1)
    before = [value.clone() for value in average.values]
    for parameter in model.parameters():
        parameter.data.add_(1)
    assert all(torch.equal(*pair) for pair in zip(before, average.values, strict=True))
    assign(model, average.values)
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
    model.weight.data.add_(1)
    assert torch.equal(average.values[0], before[0])
