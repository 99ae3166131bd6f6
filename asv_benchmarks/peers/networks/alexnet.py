"""XNOR-AlexNet (Rastegari et al. 2016): every layer but the first and the last is binary and scaled by K."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from peers.networks.parts import Parts

WIDTHS = (96, 256, 384, 384, 256)
LEFT = 6
"""Rows and columns that are left of an image before the linear layers."""


class Convolution(nn.Module):
    """Normalization, binary convolution, activation."""

    def __init__(self, parts: Parts, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs, eps=1e-4)
        self.convolution = parts.convolution(inputs, outputs, kernel, 1, kernel // 2, bias=True, scale="xnor")
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.convolution(self.norm(x)))


class Linear(nn.Module):
    """The same of rows."""

    def __init__(self, parts: Parts, norm: nn.Module, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = norm
        self.linear = parts.linear(inputs, outputs, bias=True, scale="xnor")
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.linear(torch.flatten(self.norm(x), 1)))


class AlexNet(nn.Module):
    """Channels are those of AlexNet divided by ``narrower``."""

    def __init__(self, parts: Parts, narrower: int = 1, classes: int = 1000) -> None:
        super().__init__()
        first, second, third, fourth, fifth = (width // narrower for width in WIDTHS)
        features, units = fifth * LEFT**2, 4096 // narrower
        self.features = nn.Sequential(
            nn.Conv2d(3, first, 11, 4),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            Convolution(parts, first, second, 5),
            nn.MaxPool2d(3, 2),
            Convolution(parts, second, third, 3),
            Convolution(parts, third, fourth, 3),
            Convolution(parts, fourth, fifth, 3),
            nn.MaxPool2d(3, 2),
        )
        self.classifier = nn.Sequential(
            Linear(parts, nn.BatchNorm2d(fifth, eps=1e-4), features, units),
            nn.Dropout(0.1),
            Linear(parts, nn.BatchNorm1d(units, eps=1e-4), units, units),
            nn.BatchNorm1d(units, eps=1e-3),
            nn.Dropout(),
            nn.Linear(units, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))
