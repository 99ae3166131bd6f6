"""A binary U-Net (Ronneberger et al. 2015): two binary convolutions of each size, downwards and upwards.

What went down is put beside what comes up. The first convolution and the last are in floats.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from peers.networks.parts import Parts

SIZES = 4


class Layer(nn.Module):
    """A convolution and its normalization."""

    def __init__(self, parts: Parts, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = parts.convolution(inputs, outputs, 3, 1, 1, scale="alpha")
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = parts.activation()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.convolution(x)))


class Upwards(nn.Module):
    """An image twice as large, and the one that lay beside it on the way down."""

    def __init__(self, parts: Parts, inputs: int, outputs: int) -> None:
        super().__init__()
        self.larger = nn.Upsample(scale_factor=2)
        self.narrower = Layer(parts, inputs, outputs)
        self.both = nn.Sequential(Layer(parts, 2 * outputs, outputs), Layer(parts, outputs, outputs))

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        return self.both(torch.cat([beside, self.narrower(self.larger(x))], 1))


class UNet(nn.Module):
    """Images of 3 channels to numbers for each class and pixel."""

    def __init__(self, parts: Parts, width: int = 64, sizes: int = SIZES, classes: int = 2) -> None:
        super().__init__()
        widths = [width << size for size in range(sizes)]
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), parts.activation()
        )
        self.down = nn.ModuleList()
        for inputs, outputs in zip([width, *widths[:-1]], widths, strict=True):
            self.down.append(nn.Sequential(Layer(parts, inputs, outputs), Layer(parts, outputs, outputs)))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(Upwards(parts, 2 * outputs, outputs) for outputs in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        left = []
        for layers in self.down:
            x = layers(self.pool(x) if left else x)
            left.append(x)
        for layers, beside in zip(self.up, reversed(left[:-1]), strict=True):
            x = layers(x, beside)
        return self.head(x)
