"""BinaryDenseNet-28 (Bethge et al. 2019): every binary layer's result is put beside all that came before."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from peers.networks.parts import Parts

LAYERS = (6, 6, 6, 5)
REDUCTIONS = (2.7, 2.7, 2.2)
STEP = 32
"""What a transition leaves is a multiple of so many channels."""


class Dense(nn.Module):
    """Normalization, binary convolution, and what came in beside its result."""

    def __init__(self, parts: Parts, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.activation = parts.activation()
        self.convolution = parts.convolution(inputs, growth, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.convolution(self.activation(self.norm(x)))], 1)


class DenseNet(nn.Module):
    """``layers`` of each stage, ``reductions`` of channels between stages."""

    def __init__(
        self,
        parts: Parts,
        growth: int = 64,
        layers: Sequence[int] = LAYERS,
        reductions: Sequence[float] = REDUCTIONS,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        channels = growth
        stem = [nn.Conv2d(3, channels, 7, 2, 3, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        stages = [*stem, nn.MaxPool2d(3, 2, 1)]
        for stage, number in enumerate(layers):
            for _ in range(number):
                stages.append(Dense(parts, channels, growth))
                channels += growth
            if stage < len(reductions):
                fewer = round(channels // reductions[stage] / STEP) * STEP
                smaller = nn.Conv2d(channels, fewer, 1, bias=False)
                stages += [nn.BatchNorm2d(channels), nn.MaxPool2d(2), nn.ReLU(), smaller]
                channels = fewer
        self.features = nn.Sequential(*stages, nn.BatchNorm2d(channels), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.features(x)).flatten(1))
