"""BinaryNet's VGG for CIFAR-10 (Hubara et al. 2016): a class with two Sequentials, or one Sequential."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from peers.networks.parts import Parts


class VGG(nn.Module):
    """Images of 3 channels, ``side`` rows and columns."""

    def __init__(self, parts: Parts, width: int = 128, side: int = 32, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(*_features(parts, width))
        self.classifier = nn.Sequential(*_classifier(parts, width, side, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.classifier(torch.flatten(x, 1))


def vgg_in_one_row(parts: Parts, width: int = 128, side: int = 32, classes: int = 10) -> nn.Sequential:
    """The same modules."""
    classifier = _classifier(parts, width, side, classes)
    return nn.Sequential(*_features(parts, width), nn.Flatten(), *classifier)


def _features(parts: Parts, width: int) -> list[nn.Module]:
    modules: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1), nn.BatchNorm2d(width), parts.clip()]
    widths = [width, width, 2 * width, 2 * width, 4 * width, 4 * width]
    for at, (inputs, outputs) in enumerate(pairwise(widths)):
        modules.append(parts.convolution(inputs, outputs, 3, 1, 1, bias=True))
        if at % 2 == 0:
            modules.append(nn.MaxPool2d(2))
        modules += [nn.BatchNorm2d(outputs), parts.clip()]
    return modules


def _classifier(parts: Parts, width: int, side: int, classes: int) -> list[nn.Module]:
    units = 8 * width
    modules: list[nn.Module] = []
    for inputs in (4 * width * (side // 8) ** 2, units):
        modules += [parts.linear(inputs, units, bias=True), nn.BatchNorm1d(units), parts.clip()]
    last = [parts.linear(units, classes, bias=True), nn.BatchNorm1d(classes, affine=False)]
    return [*modules, *last, nn.LogSoftmax(1)]
