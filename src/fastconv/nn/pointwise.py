"""Per-channel arithmetic as modules: what ``x + bias`` and its like are in a deployed network."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Shift(nn.Module):
    """x + ``shift`` of each channel.

    Parameters
    ----------
    channels : int
    image : bool
        Whether channels are axis -3 of x, else -1.
    """

    def __init__(self, channels: int, image: bool = True) -> None:
        super().__init__()
        self.channels, self.image = channels, image
        self.register_buffer("shift", torch.zeros(channels, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.shift[:, None, None] if self.image else self.shift)

    def extra_repr(self) -> str:
        return f"{self.channels}, image={self.image}"


class Scale(nn.Module):
    """x * ``scale`` of each channel.

    Parameters
    ----------
    channels, image
        As in :class:`Shift`.
    """

    def __init__(self, channels: int, image: bool = True) -> None:
        super().__init__()
        self.channels, self.image = channels, image
        self.register_buffer("scale", torch.ones(channels, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.scale[:, None, None] if self.image else self.scale)

    def extra_repr(self) -> str:
        return f"{self.channels}, image={self.image}"


class StrictSign(nn.Module):
    """+1 where x > 0, else -1: 0 and NaN are -1."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, 1.0, -1.0).to(x.dtype)
