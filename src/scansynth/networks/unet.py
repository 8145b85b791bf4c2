"""UNet2D: residual blocks with group normalisation, told of the noise level and the condition by scale and shift.

After Ho et al., Denoising Diffusion Probabilistic Models (2020), and Dhariwal and Nichol, Diffusion Models Beat GANs
(2021): adaptive group normalisation, attention where the map is small, the last convolution of a block zero at first.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from scansynth.networks.embedding import Noise, Told
from scansynth.networks.wavelet import Packet
from scansynth.sections import Network


class UNet2D(nn.Module):
    """A UNet on images, behind an optional wavelet front end.

    Args:
        channels: channels of the input images.
        out_channels: channels of the output images.
        conditions: elements of the condition vector (0 for an unconditional network).
        size: rows and columns of the images.
        network: its finest scale has 2**wavelet_levels times fewer rows and columns than the image; channels at each
            scale are base_channels times its multiplier.
    """

    def __init__(self, channels: int, out_channels: int, conditions: int, size: int, network: Network) -> None:
        super().__init__()
        self.checkpointing = network.checkpointing
        self.front_end = Packet(network.wavelet, network.wavelet_levels, size)
        bands, embedding = self.front_end.bands, 4 * network.base_channels
        widths = [network.base_channels * m for m in network.multipliers]
        self.noise, self.told = Noise(network.base_channels, embedding), Told(conditions, embedding)
        width = widths[0]
        self.first = nn.Conv2d(channels * bands, width, 3, padding=1)

        self.down, skips = nn.ModuleList(), [width]
        for scale, wide in enumerate(widths):
            for _ in range(network.blocks):
                self.down.append(Block(width, wide, embedding, network.dropout, network.attention[scale]))
                width = wide
                skips.append(width)
            if scale < len(widths) - 1:
                self.down.append(Down(width))
                skips.append(width)
        self.middle = Block(width, width, embedding, network.dropout, network.attention[-1])
        self.up = nn.ModuleList()
        for scale, wide in reversed(list(enumerate(widths))):
            for _ in range(network.blocks + 1):
                self.up.append(Block(width + skips.pop(), wide, embedding, network.dropout, network.attention[scale]))
                width = wide
            if scale > 0:
                self.up.append(Up(width))
        self.last = nn.Sequential(norm(width), nn.SiLU(), zeroed(nn.Conv2d(width, out_channels * bands, 3, padding=1)))

    def forward(
        self,
        x: Tensor,
        log_snr: Tensor,
        condition: Tensor | None = None,
        known: Tensor | None = None,
        augment: Tensor | None = None,
    ) -> Tensor:
        """Map ``x`` (n, channels, size, size) at ``log_snr`` (n) to (n, out_channels, size, size).

        ``condition`` (n, conditions), ``known`` (n, bool) and ``augment`` (n, AUGMENTS) are as in ``Told``.
        """
        embedding = functional.silu(self.noise(log_snr) + self.told(log_snr, condition, known, augment))
        h = self.first(self.front_end(x).contiguous(memory_format=torch.channels_last))
        skips = [h]
        for layer in self.down:
            h = layer(h) if isinstance(layer, Down) else self._block(layer, embedding, h)
            skips.append(h)
        h = self._block(self.middle, embedding, h)
        for layer in self.up:
            h = layer(h) if isinstance(layer, Up) else self._block(layer, embedding, h, skips.pop())
        return self.front_end.inverse(self.last(h))

    def _block(self, block: "Block", *inputs: Tensor) -> Tensor:
        """The block's output; with checkpointing nothing inside it is kept for the way back (Chen et al., 2016)."""
        if self.checkpointing and self.training:
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)


class Block(nn.Module):
    """A residual block: two convolutions, the second one modulated by the embedding; self-attention if asked for."""

    def __init__(self, width: int, out: int, embedding: int, dropout: float, attention: bool) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(width), nn.Conv2d(width, out, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * out)
        self.norm2, self.dropout = norm(out), nn.Dropout(dropout)
        self.conv2 = zeroed(nn.Conv2d(out, out, 3, padding=1))
        self.shortcut = nn.Conv2d(width, out, 1) if width != out else nn.Identity()
        self.attention = Attention(out) if attention else nn.Identity()

    def forward(self, embedding: Tensor, *maps: Tensor) -> Tensor:
        """Map ``maps``, (n, width, h, w) when joined, to (n, out, h, w), modulated by ``embedding`` (n, embedding)."""
        x = torch.cat(maps, dim=1) if len(maps) > 1 else maps[0]
        h = self.conv1(functional.silu(self.norm1(x)))
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        h = functional.silu(self.norm2(h) * (1 + scale) + shift)
        return self.attention(self.shortcut(x) + self.conv2(self.dropout(h)))


class Attention(nn.Module):
    """Self-attention over all positions, with residual connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // head_width(width)
        self.norm, self.qkv, self.out = norm(width), nn.Conv2d(width, 3 * width, 1), zeroed(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Let every position of (n, width, h, w) look at all others of its image."""
        n, width, height, columns = x.shape
        q, k, v = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2).unbind(1)
        h = functional.scaled_dot_product_attention(q, k, v)
        # Channels stay the fastest axis in memory.
        return x + self.out(h.transpose(1, 2).reshape(n, height, columns, width).permute(0, 3, 1, 2))


class Down(nn.Conv2d):
    """Half as many rows and columns: (n, width, h, w) to (n, width, h / 2, w / 2)."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 3, stride=2, padding=1)


class Up(nn.Conv2d):
    """Twice as many rows and columns: (n, width, h, w) to (n, width, 2 h, 2 w)."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Repeat every position, and convolve."""
        return super().forward(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


def norm(width: int) -> nn.GroupNorm:
    """Group normalisation, which does not depend on the size of the batch; 8 channels a group at least."""
    return nn.GroupNorm(min(32, width // 8), width)


def head_width(width: int) -> int:
    """Channels of an attention head; ``width`` is a multiple of 32."""
    return 64 if width % 64 == 0 else 32


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with zero weights: what it adds to is unchanged at first."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
