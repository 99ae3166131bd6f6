"""Perceptrons for MNIST: that of the XNOR-GEMM extension for PyTorch, and one whose hidden layers are binary.

The extension's has one binary layer of four, of whose rows of 0 and more the sign is +1 where x > 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from peers.networks.parts import Parts

UNITS = (784, 1024, 768, 512, 10)


class MLP(nn.Module):
    """As published. ``units`` of its layers."""

    def __init__(self, parts: Parts, units: Sequence[int] = UNITS) -> None:
        super().__init__()
        pixels, first, second, third, classes = units
        self.first = nn.Linear(pixels, first)
        self.second = nn.Linear(first, second)
        self.positive = parts.positive()
        self.third = parts.linear(second, third, bias=True)
        self.last = nn.Linear(third, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.second(self.first(x)))
        x = functional.relu(self.third(self.positive(x)))
        return functional.log_softmax(self.last(x), dim=1)


def mlp_in_one_row(parts: Parts, units: Sequence[int] = UNITS) -> nn.Sequential:
    """The same layers in one Sequential."""
    pixels, first, second, third, classes = units
    return nn.Sequential(
        nn.Linear(pixels, first),
        nn.Linear(first, second),
        nn.ReLU(),
        parts.positive(),
        parts.linear(second, third, bias=True),
        nn.ReLU(),
        nn.Linear(third, classes),
        nn.LogSoftmax(1),
    )


class BinaryMLP(nn.Module):
    """Of the same sizes. Pixels become signs by a normalization of each, as everything does further on."""

    def __init__(self, parts: Parts, units: Sequence[int] = UNITS) -> None:
        super().__init__()
        *hidden, classes = units
        self.pixels = nn.BatchNorm1d(hidden[0])
        self.hidden = nn.ModuleList(Hidden(parts, *sizes) for sizes in pairwise(hidden))
        self.last = nn.Linear(hidden[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pixels(x)
        for layer in self.hidden:
            x = layer(x)
        return functional.log_softmax(self.last(x), dim=1)


class Hidden(nn.Module):
    def __init__(self, parts: Parts, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = parts.linear(inputs, outputs)
        self.norm = nn.BatchNorm1d(outputs)
        self.clip = parts.clip()

    def forward(self, x: Tensor) -> Tensor:
        return self.clip(self.norm(self.linear(x)))


def binary_mlp_in_one_row(parts: Parts, units: Sequence[int] = UNITS) -> nn.Sequential:
    """The same modules in one Sequential."""
    *hidden, classes = units
    modules: list[nn.Module] = [nn.BatchNorm1d(hidden[0])]
    for inputs, outputs in pairwise(hidden):
        modules += [parts.linear(inputs, outputs), nn.BatchNorm1d(outputs), parts.clip()]
    return nn.Sequential(*modules, nn.Linear(hidden[-1], classes), nn.LogSoftmax(1))
