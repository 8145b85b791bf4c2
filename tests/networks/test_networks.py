"""What holds for a network of either architecture."""

import sys

import pytest
import torch

from scansynth import networks
from scansynth.errors import ScansynthError
from scansynth.sections import Network
from scansynth.training.geometry import AUGMENTS

CONDITIONS = 4
SMALL = {"base_channels": 32, "multipliers": (1, 2), "attention": (False, True), "wavelet_levels": 1}
architectures = pytest.mark.parametrize("architecture", ["unet", "monai"])


def make(architecture, channels=2, out_channels=1, conditions=CONDITIONS, size=16, **changes):
    """A network whose every weight counts, those that are zero at first included."""
    torch.manual_seed(0)
    settings = Network(architecture=architecture, **SMALL | changes)
    network = networks.make(channels, out_channels, conditions, size, settings)
    for parameter in network.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    return network.to(memory_format=torch.channels_last)


def inputs(n=4, channels=2, size=16):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, channels, size, size, generator=generator)
    return x, torch.linspace(-4, 4, n), torch.eye(CONDITIONS)[:n], torch.arange(n) % 2 == 0


def gradients(network, *arguments):
    network.zero_grad()
    (network(*arguments) - 1).square().mean().backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


SHAPES = [((1,), (True,), 1), ((1, 3), (True, False), 2), ((2, 1, 3), (False, False, True), 1)]


@architectures
@pytest.mark.parametrize(
    ("channels", "wavelet_levels", "multipliers", "attention", "blocks"),
    [(1, 1, *shape) for shape in SHAPES] + [(channels, n, *SHAPES[0]) for channels in (1, 3) for n in (0, 2)],
)
def test_every_configuration(architecture, channels, wavelet_levels, multipliers, attention, blocks):
    size = 4 * 2**wavelet_levels
    shape = {"multipliers": multipliers, "attention": attention, "blocks": blocks, "wavelet_levels": wavelet_levels}
    network = make(architecture, size=size, channels=2 * channels, out_channels=channels, **shape)
    x, level, condition, known = inputs(2, 2 * channels, size)
    assert network(x, level, condition, known).shape == (2, channels, size, size)
    found = gradients(network, x, level, condition, known)
    assert all(gradient is not None and gradient.isfinite().all() for gradient in found.values())


@architectures
@pytest.mark.parametrize(("size", "base_channels"), [(64, 64), (96, 32), (128, 32), (256, 32)])
def test_every_size(architecture, size, base_channels):
    shape = {"base_channels": base_channels, "multipliers": (1, 2, 2), "attention": (False, False, True)}
    network = make(architecture, size=size, **shape, wavelet_levels=2)
    with torch.no_grad():
        output = network(torch.randn(1, 2, size, size), torch.zeros(1))
    assert output.shape == (1, 1, size, size)
    assert output.isfinite().all()


@architectures
def test_starts_at_zero(architecture):
    network = networks.make(2, 1, CONDITIONS, 16, Network(architecture=architecture, **SMALL))
    assert not network(*inputs()).any()


@architectures
def test_an_image_does_not_depend_on_its_batch(architecture):
    network, (x, level, condition, known) = make(architecture).eval(), inputs()
    augment = torch.randn(4, AUGMENTS)
    together = network(x, level, condition, known, augment)
    order = torch.tensor([2, 0, 3, 1])
    moved = network(x[order], level[order], condition[order], known[order], augment[order])
    torch.testing.assert_close(moved, together[order], atol=1e-5, rtol=1e-5)
    alone = network(x[2:3], level[2:3], condition[2:3], known[2:3], augment[2:3])
    torch.testing.assert_close(alone, together[2:3], atol=1e-4, rtol=1e-4)


@architectures
def test_every_parameter_is_used(architecture):
    arguments = (*inputs(), torch.randn(4, AUGMENTS))
    assert [name for name, gradient in gradients(make(architecture), *arguments).items() if not gradient.any()] == []


@architectures
def test_what_is_told_is_heeded(architecture):
    network, (x, level, condition, known) = make(architecture), inputs()
    output = network(x, level, condition)

    def apart(other):
        return (other - output).abs().amax((1, 2, 3)) > 1e-3

    assert apart(network(x, level, condition.roll(1, 0))).all()
    assert apart(network(x, level + 1, condition)).all()
    assert torch.equal(apart(network(x, level, condition, known)), ~known)
    assert apart(network(x, level, condition, augment=torch.ones(4, AUGMENTS))).all()
    assert torch.equal(network(x, level, condition, torch.ones(4, dtype=torch.bool)), output)
    assert torch.equal(network(x, level, condition, augment=torch.zeros(4, AUGMENTS)), output)


@architectures
def test_an_unknown_condition_is_the_null_token(architecture):
    network, (x, level, condition, _) = make(architecture), inputs()
    unknown = network(x, level, condition, torch.zeros(4, dtype=torch.bool))
    assert torch.equal(unknown, network(x, level))
    assert not torch.equal(unknown, network(x, level, torch.zeros(4, CONDITIONS)))
    network.told.null.data += 1
    assert (network(x, level) - unknown).abs().max() > 1e-3


@architectures
def test_augmentation_is_told_whether_or_not_the_condition_is_known(architecture):
    network, (x, level, condition, known) = make(architecture), inputs()
    augment = torch.ones(4, AUGMENTS)
    changed = network(x, level, condition, known, augment) - network(x, level, condition, known)
    assert (changed.abs().amax((1, 2, 3)) > 1e-3).all()


@architectures
def test_augmentation_counts_for_nothing_at_first(architecture):
    network = networks.make(2, 1, CONDITIONS, 16, Network(architecture=architecture, **SMALL))
    assert not network.told.augment.weight.any()


@architectures
def test_without_conditions(architecture):
    network, (x, level, _, known) = make(architecture, conditions=0), inputs()
    assert torch.equal(network(x, level, torch.zeros(4, 0), known), network(x, level))


def test_a_condition_weighs_as_much_as_the_noise_level_from_the_first_step():
    """One element that is set of many moves the embedding as far as another noise level does."""
    for conditions in (2, 20):
        torch.manual_seed(0)
        network = networks.make(2, 1, conditions, 16, Network(**SMALL))
        level = torch.linspace(-10, 10, 64)
        told = network.told(torch.zeros(conditions), torch.eye(conditions), None, None)
        assert 0.4 < told.square().mean().sqrt() / network.noise(level).square().mean().sqrt() < 2.5


@architectures
@pytest.mark.parametrize(("dropout", "bf16"), [(0.0, False), (0.3, False), (0.3, True)])
def test_checkpointing_changes_no_bit(architecture, dropout, bf16):
    found = []
    for checkpointing in (False, True):
        network = make(architecture, dropout=dropout, checkpointing=checkpointing, attention=(True, True))
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output = network(*inputs())
        output.float().square().mean().backward()
        found.append({name: parameter.grad for name, parameter in network.named_parameters()})
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(gradient, found[1][name]) for name, gradient in found[0].items())


@architectures
def test_checkpointing_keeps_less(architecture):
    kept = []
    for checkpointing in (False, True):
        network, saved = make(architecture, checkpointing=checkpointing), []

        def pack(tensor, saved=saved):
            saved.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            network(*inputs())
        own = {parameter.data_ptr() for parameter in network.parameters()}
        storages = {each.data_ptr(): each.untyped_storage().nbytes() for each in saved if each.data_ptr() not in own}
        kept.append(sum(storages.values()))
    assert kept[1] < 0.6 * kept[0]


@architectures
def test_dropout_is_of_the_training_alone(architecture):
    network, arguments = make(architecture, dropout=0.3), inputs()
    assert not torch.equal(network(*arguments), network(*arguments))
    network.eval()
    assert torch.equal(network(*arguments), network(*arguments))


@architectures
def test_bf16(architecture):
    network, arguments = make(architecture), inputs()
    with torch.autocast("cpu", torch.bfloat16):
        output = network(*arguments, torch.randn(4, AUGMENTS))
    assert output.isfinite().all()


@pytest.mark.parametrize(("size", "wavelet_levels", "scales"), [(96, 2, 5), (64, 2, 6), (100, 1, 3)])
def test_a_size_that_can_not_be_halved(size, wavelet_levels, scales):
    settings = Network(multipliers=(1,) * scales, attention=(False,) * scales, wavelet_levels=wavelet_levels)
    with pytest.raises(ScansynthError, match=rf"images.size is {size}.*network.wavelet_levels.*network.multipliers"):
        networks.make(2, 1, 0, size, settings)


def test_what_monai_needs_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "einops", None)
    with pytest.raises(ScansynthError, match=r"network.architecture is monai.*einops.*install"):
        make("monai")
