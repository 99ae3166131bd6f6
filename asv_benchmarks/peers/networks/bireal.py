"""Bi-Real-18 (Liu et al. 2018): ResNet-18 with a shortcut around each of its 3×3 convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from peers.networks.parts import Parts

STAGES = 4


class Block(nn.Module):
    """One convolution and its shortcut, which makes an image smaller by its average."""

    def __init__(self, parts: Parts, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.convolution = parts.convolution(inputs, outputs, 3, stride, 1, scale="alpha")
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = parts.activation()
        self.shortcut = None
        if inputs != outputs:
            smaller = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.shortcut = nn.Sequential(nn.AvgPool2d(2), smaller, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        beside = x if self.shortcut is None else self.shortcut(x)
        return self.activation(self.norm(self.convolution(x)) + beside)


class BiReal(nn.Module):
    """``blocks`` of each width: 4 make the 18 layers."""

    def __init__(self, parts: Parts, width: int = 64, blocks: int = 4, classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.MaxPool2d(3, 2, 1)
        )
        widths = [width << stage for stage in range(STAGES) for _ in range(blocks)]
        inputs = [width, *widths[:-1]]
        self.blocks = nn.Sequential(*(Block(parts, i, o) for i, o in zip(inputs, widths, strict=True)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x))
        return self.head(self.pool(x).flatten(1))
