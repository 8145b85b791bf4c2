"""Channels by their principal axes: the colours of a stain and the contrasts of a slice show the same edges."""

import torch
from torch import Tensor, nn

PART = 64  # images at once whose details are taken in double precision


class PrincipalChannels(nn.Module):
    """An orthogonal matrix across channels that leaves the details of the training images uncorrelated.

    Red, green and blue of a stained tissue share 98% of the variance of their details. Taken each for itself, noise in
    one of them is as likely as in all at once, and a denoiser has to learn that it is not; along these axes the
    variances of details say so (of the coarse image the prior has the covariance). White noise stays white.

    ``weights`` (channels) are what errors along the axes count in training, 1 on average, as the standard deviation of
    the details: by their variance all but the first axis would be forgotten, and by equal weights most of what is
    learnt of tissue would be tints that the eye hardly sees.

    The identity until ``fit``, and always for one channel.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("axes", torch.eye(channels))
        self.register_buffer("weights", torch.ones(channels))

    @torch.no_grad()
    def fit(self, details: Tensor) -> None:
        """Estimate from ``details``, (n, channels, ...), about their mean; on the CPU.

        The largest entry of each axis is made positive: a network that sees images along the axes sees the sign.
        """
        if len(self.axes) == 1:
            return
        mean, covariance = details.mean(0), torch.zeros(len(self.axes), len(self.axes), dtype=torch.float64)
        for part in details.split(PART):
            centred = (part - mean).transpose(0, 1).flatten(1).double()
            covariance += centred @ centred.T / (details.numel() / len(self.axes))
        variance, axes = torch.linalg.eigh(covariance)
        axes = axes.T.flip(0)
        self.axes.copy_(axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign())
        deviation = variance.flip(0).clamp_min(1e-8).sqrt()
        self.weights.copy_(deviation / deviation.mean())

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, channels, ...) along the axes, that of the largest variance first."""
        return x if len(self.axes) == 1 else torch.einsum("ac,nc...->na...", self.axes, x)

    def inverse(self, x: Tensor) -> Tensor:
        """The images that are ``x`` along the axes."""
        return x if len(self.axes) == 1 else torch.einsum("ac,na...->nc...", self.axes, x)
