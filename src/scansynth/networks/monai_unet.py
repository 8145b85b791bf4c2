"""MONAI's network behind the interface of ``UNet2D``."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from scansynth.errors import ScansynthError
from scansynth.networks.embedding import Told, mlp
from scansynth.networks.unet import head_width
from scansynth.networks.wavelet import Packet
from scansynth.sections import Network


class MonaiUNet(nn.Module):
    """MONAI's DiffusionModelUNet (Pinaya et al., Generative AI for Medical Imaging, 2023), behind our front end.

    What it is told takes the way that MONAI has for classes: a vector added to the embedding of the time step. The
    vector is that of ``Told``, put in the place of the class's, and the time step is the log-SNR, scaled so that
    MONAI's sines and cosines resolve it. MONAI has attention in the middle block whatever the scale's setting, and no
    dropout in residual blocks: it is added where UNet2D has it.

    Args:
        channels: channels of the input images.
        out_channels: channels of the output images.
        conditions: elements of the condition vector (0 for an unconditional network).
        size: rows and columns of the images.
        network: its settings, as in ``UNet2D``.

    Raises:
        ScansynthError: if MONAI or einops, which its attention needs, is not installed.
    """

    def __init__(self, channels: int, out_channels: int, conditions: int, size: int, network: Network) -> None:
        super().__init__()
        try:
            import einops  # noqa: F401  MONAI imports it only once attention is made, and says less
            from monai.networks.nets import diffusion_model_unet as peer
        except ImportError as error:
            raise ScansynthError(
                f"network.architecture is monai, and that needs the packages monai and einops ({error}): "
                "install them, or set it to unet"
            ) from error
        self.front_end = Packet(network.wavelet, network.wavelet_levels, size)
        bands, base = self.front_end.bands, network.base_channels
        widths = [base * m for m in network.multipliers]
        self.told = Told(conditions, 4 * widths[0])
        self.network = peer.DiffusionModelUNet(
            spatial_dims=2,
            in_channels=channels * bands,
            out_channels=out_channels * bands,
            num_res_blocks=network.blocks,
            channels=widths,
            attention_levels=network.attention,
            # The embedding is added before a normalisation: with one channel a group nothing would be left of it.
            norm_num_groups=base // 8,
            num_head_channels=[head_width(width) for width in widths],
            num_class_embeds=1,
            use_flash_attention=True,
        )
        self.network.class_embedding = nn.Identity()
        self.network.time_embed = mlp(widths[0], 4 * widths[0])
        for parent in list(self.network.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, peer.DiffusionUNetResnetBlock):
                    setattr(parent, name, Residual(child, network.dropout, network.checkpointing))

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
        told = self.told(log_snr, condition, known, augment)
        bands = self.front_end(x).contiguous(memory_format=torch.channels_last)
        return self.front_end.inverse(self.network(bands, 4 * log_snr, class_labels=told))


class Residual(nn.Module):
    """One of MONAI's residual blocks, with dropout before its last convolution, and checkpointing."""

    def __init__(self, block: nn.Module, dropout: float, checkpointing: bool) -> None:
        super().__init__()
        block.conv2 = nn.Sequential(nn.Dropout(dropout), block.conv2)
        self.block, self.checkpointing = block, checkpointing

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """As the block's own; with checkpointing nothing inside it is kept for the way back (Chen et al., 2016)."""
        if self.checkpointing and self.training:
            return checkpoint(self.block, x, embedding, use_reentrant=False)
        return self.block(x, embedding)
