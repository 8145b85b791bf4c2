"""The networks behind one interface, ``network(x, log_snr, condition, known, augment)``."""

from torch import nn

from scansynth.errors import ScansynthError
from scansynth.networks.monai_unet import MonaiUNet
from scansynth.networks.unet import UNet2D
from scansynth.sections import Network

ARCHITECTURES = {"unet": UNet2D, "monai": MonaiUNet}


def make(channels: int, out_channels: int, conditions: int, size: int, network: Network) -> nn.Module:
    """A network from ``channels`` images of ``size`` x ``size`` pixels to ``out_channels``, with initial weights.

    It maps x (n, channels, size, size) at log_snr (n) to (n, out_channels, size, size), told by condition
    (n, conditions), known (n, bool) and augment (n, AUGMENTS); each of these may be None: see ``Told``.

    Raises:
        ScansynthError: if the size can't be halved as often as the network asks for, or what it is made of is missing.
    """
    halvings = network.wavelet_levels + len(network.multipliers) - 1
    if size % 2**halvings:
        raise ScansynthError(
            f"images.size is {size}, and the network halves it {halvings} times (network.wavelet_levels "
            f"{network.wavelet_levels}, {len(network.multipliers)} network.multipliers): it has to be divisible by "
            f"{2**halvings}; set wavelet_levels lower, or give fewer multipliers"
        )
    return ARCHITECTURES[network.architecture](channels, out_channels, conditions, size, network)
