"""UNet2D: residual blocks with group normalisation, told of the noise level and the condition by scale and shift.

After Ho et al., Denoising Diffusion Probabilistic Models (2020), and Dhariwal and Nichol, Diffusion Models Beat GANs
(2021): adaptive group normalisation, attention where the map is small, the last convolution of a block zero at first.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from scansynth.networks.haar import haar


class UNet2D(nn.Module):
    """A UNet on images, behind an optional Haar front end.

    Args:
        channels: channels of the input images.
        out_channels: channels of the output images.
        conditions: elements of the condition vector (0 for an unconditional network).
        base_channels, multipliers: channels at each scale are their products.
        blocks: residual blocks at each scale, on the way down and on the way up.
        attention: whether a scale has self-attention.
        dropout: inside the residual blocks.
        haar_levels: levels of the front end; the network's finest scale has 2**levels times fewer rows and columns.
    """

    def __init__(
        self,
        *,
        channels: int,
        out_channels: int,
        conditions: int,
        base_channels: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[bool],
        dropout: float,
        haar_levels: int,
    ) -> None:
        super().__init__()
        self.haar_levels = haar_levels
        bands = 4**haar_levels
        widths = [base_channels * m for m in multipliers]
        embedding = 4 * base_channels
        self.embed = Embedding(base_channels, embedding, conditions)
        self.first = nn.Conv2d(channels * bands, widths[0], 3, padding=1)

        self.down = nn.ModuleList()
        skips = [widths[0]]
        width = widths[0]
        for scale, wide in enumerate(widths):
            for _ in range(blocks):
                self.down.append(Block(width, wide, embedding, dropout, attention[scale]))
                width = wide
                skips.append(width)
            if scale < len(widths) - 1:
                self.down.append(Down(width))
                skips.append(width)
        self.middle = Block(width, width, embedding, dropout, attention[-1])
        self.up = nn.ModuleList()
        for scale, wide in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(Block(width + skips.pop(), wide, embedding, dropout, attention[scale]))
                width = wide
            if scale > 0:
                self.up.append(Up(width))
        self.last = nn.Sequential(norm(width), nn.SiLU(), zeroed(nn.Conv2d(width, out_channels * bands, 3, padding=1)))

    def forward(
        self, x: Tensor, log_snr: Tensor, condition: Tensor | None = None, known: Tensor | None = None
    ) -> Tensor:
        """Map ``x`` (n, channels, size, size) at ``log_snr`` (n) to (n, out_channels, size, size).

        ``condition`` is (n, conditions); ``known`` (n, bool) says for which images it is to be heeded, the others get
        the null token, and so do all if there is no condition.
        """
        embedding = self.embed(log_snr, condition, known)
        h = self.first(haar(x, self.haar_levels).contiguous(memory_format=torch.channels_last))
        skips = [h]
        for layer in self.down:
            h = layer(h, embedding)
            skips.append(h)
        h = self.middle(h, embedding)
        for layer in self.up:
            h = layer(h if isinstance(layer, Up) else torch.cat([h, skips.pop()], dim=1), embedding)
        return haar(self.last(h), -self.haar_levels)


class Embedding(nn.Module):
    """The noise level by sines and cosines; the condition by a linear map or, where it is unknown, the null token."""

    def __init__(self, frequencies: int, width: int, conditions: int) -> None:
        super().__init__()
        # log-SNR spans about 20; wavelengths from 2 pi * 16 down to about 1 resolve all of it.
        scale = torch.exp(-math.log(1e3) * torch.arange(frequencies // 2) / (frequencies // 2))
        self.register_buffer("frequencies", 4 * scale, persistent=False)
        self.noise = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = nn.Linear(conditions, width) if conditions else None
        self.null = nn.Parameter(torch.zeros(width))

    def forward(self, log_snr: Tensor, condition: Tensor | None, known: Tensor | None) -> Tensor:
        """Embed ``log_snr`` (n) and ``condition`` (n, conditions) where ``known`` (n), as (n, width)."""
        angles = log_snr[:, None] * self.frequencies
        noise = self.noise(torch.cat([angles.sin(), angles.cos()], dim=1))
        if self.condition is None or condition is None:
            return functional.silu(noise + self.null)
        told = self.condition(condition)
        if known is not None:
            told = torch.where(known[:, None], told, self.null.to(told))
        return functional.silu(noise + told)


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

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map (n, width, h, w) to (n, out, h, w), modulated by (n, embedding)."""
        h = self.conv1(functional.silu(self.norm1(x)))
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        h = functional.silu(self.norm2(h) * (1 + scale) + shift)
        return self.attention(self.shortcut(x) + self.conv2(self.dropout(h)))


class Attention(nn.Module):
    """Self-attention over all positions, with residual connection."""

    def __init__(self, width: int, head: int = 64) -> None:
        super().__init__()
        self.heads = max(1, width // head)
        self.norm, self.qkv, self.out = norm(width), nn.Conv2d(width, 3 * width, 1), zeroed(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Let every position of (n, width, h, w) look at all others of its image."""
        n, width, height, columns = x.shape
        q, k, v = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2).unbind(1)
        h = functional.scaled_dot_product_attention(q, k, v)
        return x + self.out(h.transpose(-1, -2).reshape(n, width, height, columns))


class Down(nn.Conv2d):
    """Half as many rows and columns."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor, _embedding: Tensor) -> Tensor:
        """Map (n, width, h, w) to (n, width, h / 2, w / 2); the embedding is not heeded."""
        return super().forward(x)


class Up(nn.Conv2d):
    """Twice as many rows and columns."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 3, padding=1)

    def forward(self, x: Tensor, _embedding: Tensor) -> Tensor:
        """Map (n, width, h, w) to (n, width, 2 h, 2 w); the embedding is not heeded."""
        return super().forward(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


def norm(width: int) -> nn.GroupNorm:
    """Group normalisation, which does not depend on the size of the batch; 8 channels a group at least."""
    return nn.GroupNorm(min(32, width // 8), width)


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with zero weights: what it adds to is unchanged at first."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
