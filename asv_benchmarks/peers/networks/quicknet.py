"""QuickNet (Bannink et al. 2021): residual blocks of one binary convolution, ReLU before normalization.

Between blocks of different widths stands a float transition: ReLU, max-pooling, a blur that halves the image,
a 1×1 convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from peers.networks.parts import Parts

STAGES = 4


class Block(nn.Module):
    """Signs are +1 outside the image."""

    def __init__(self, parts: Parts, channels: int) -> None:
        super().__init__()
        self.convolution = parts.convolution(channels, channels, 3, 1, 1, pad_value=1)
        self.activation = nn.ReLU()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.activation(self.convolution(x))) + x


class QuickNet(nn.Module):
    """``blocks`` of each width."""

    def __init__(self, parts: Parts, width: int = 64, blocks: int = 4, classes: int = 1000) -> None:
        super().__init__()
        layers = [_stem(width)]
        for stage in range(STAGES):
            channels = width << stage
            if stage:
                layers.append(_transition(channels // 2, channels))
            layers += [Block(parts, channels) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers)
        self.activation = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width << STAGES - 1, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.layers(x))
        return self.head(torch.flatten(self.pool(x), 1))


def _stem(width: int) -> nn.Sequential:
    few = width // 4
    return nn.Sequential(
        nn.Conv2d(3, few, 3, 2, 1, bias=False),
        nn.BatchNorm2d(few),
        nn.ReLU(),
        nn.Conv2d(few, few, 3, 2, 1, groups=few, bias=False),
        nn.BatchNorm2d(few, affine=False),
        nn.Conv2d(few, width, 1, bias=False),
        nn.BatchNorm2d(width),
    )


def _transition(inputs: int, outputs: int) -> nn.Sequential:
    blur = nn.Conv2d(inputs, inputs, 3, 2, 1, groups=inputs, bias=False)
    sides = torch.tensor([1.0, 2.0, 1.0]) / 4
    blur.weight.data.copy_(sides[:, None] * sides)
    return nn.Sequential(
        nn.ReLU(),
        nn.MaxPool2d(2, 1),
        blur,
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
    )
