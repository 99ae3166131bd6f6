"""ReActNet-A (Liu et al. 2020): MobileNet's row of blocks, with binary 3×3 and 1×1 convolutions.

A learned shift stands before each sign, and a PReLU between two shifts after each addition. Where a block
doubles the channels, two 1×1 convolutions read the same signs, and their results lie side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from peers.networks.parts import Parts

WIDTHS = (1, 2, 4, 4, 8, 8, 16, 16, 16, 16, 16, 16, 32, 32)
"""Of the first convolution and of each block, in multiples of the first."""


class Pointwise(nn.Module):
    """A binary 1×1 convolution with its batch normalization and its shortcut."""

    def __init__(self, parts: Parts, channels: int) -> None:
        super().__init__()
        self.convolution = parts.convolution(channels, channels, 1, scale="alpha")
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, signs: Tensor, beside: Tensor) -> Tensor:
        return self.norm(self.convolution(signs)) + beside


class Block(nn.Module):
    def __init__(self, parts: Parts, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.before_spatial = parts.shift(inputs)
        self.spatial = parts.convolution(inputs, inputs, 3, stride, 1, scale="alpha")
        self.norm = nn.BatchNorm2d(inputs)
        self.smaller = nn.AvgPool2d(2) if stride > 1 else None
        self.activation = _activation(parts, inputs)
        self.before_pointwise = parts.shift(inputs)
        self.pointwise = nn.ModuleList(Pointwise(parts, inputs) for _ in range(outputs // inputs))
        self.last_activation = _activation(parts, outputs)

    def forward(self, x: Tensor) -> Tensor:
        beside = x if self.smaller is None else self.smaller(x)
        x = self.activation(self.norm(self.spatial(self.before_spatial(x))) + beside)
        shifted = self.before_pointwise(x)
        copies = [pointwise(shifted, x) for pointwise in self.pointwise]
        return self.last_activation(copies[0] if len(copies) == 1 else torch.cat(copies, 1))


class ReActNet(nn.Module):
    """``widths`` are multiples of ``width``."""

    def __init__(
        self, parts: Parts, width: int = 32, widths: Sequence[int] = WIDTHS, classes: int = 1000
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width))
        channels = [width * multiple for multiple in widths]
        blocks = []
        for inputs, outputs in pairwise(channels):
            stride = 2 if inputs < outputs and inputs > width else 1
            blocks.append(Block(parts, inputs, outputs, stride))
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x))
        return self.head(self.pool(x).flatten(1))


def _activation(parts: Parts, channels: int) -> nn.Sequential:
    return nn.Sequential(parts.shift(channels), parts.slope(channels), parts.shift(channels))
