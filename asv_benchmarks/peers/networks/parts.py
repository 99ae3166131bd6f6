"""What a network is made of: binary layers, or the float layers of its twin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fastconv.nn import BinaryConv2d, BinaryLinear

FEWEST_IMAGES = 2
"""A batch normalization that learns of rows wants more than one."""


class Parts(NamedTuple):
    """Layers by what they are for, each a call that makes one."""

    convolution: Callable[..., nn.Module]
    linear: Callable[..., nn.Module]
    activation: Callable[[], nn.Module]
    """Where a binary network has nothing, since the layer after it takes signs."""
    clip: Callable[[], nn.Module]
    """Where it has Hardtanh, for the gradient of the sign after it."""
    shift: Callable[[int], nn.Module]
    """A number added to each channel."""
    slope: Callable[[int], nn.Module]
    """A PReLU of channels."""
    positive: Callable[[], nn.Module]
    """The sign that 0 has none of: +1 where x > 0, else -1."""


class Shift(nn.Module):
    """A number added to each channel, as ReActNet has it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.expand_as(x)


class Positive(nn.Module):
    """+1 where x > 0, else -1."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, 1.0, -1.0)


def _float_convolution(*sizes: int, scale: Any = None, pad_value: int = 0, **options: Any) -> nn.Module:
    """Signs outside an image, and scales of a sum of signs, mean nothing to it."""
    return nn.Conv2d(*sizes, **{"bias": False, **options})


def _float_linear(inputs: int, outputs: int, bias: bool = False, scale: Any = None) -> nn.Module:
    return nn.Linear(inputs, outputs, bias)


def _relu(*_: int) -> nn.Module:
    return nn.ReLU()


def _nothing(*_: int) -> nn.Module:
    return nn.Identity()


BINARY = Parts(BinaryConv2d, BinaryLinear, _nothing, nn.Hardtanh, Shift, nn.PReLU, Positive)
FLOAT = Parts(_float_convolution, _float_linear, _relu, _relu, _nothing, _relu, _nothing)


def filled(model: nn.Module, image: tuple[int, ...], seed: int = 0) -> nn.Module:
    """``model`` as if it had learned: random weights, and statistics that put numbers on either side of 0.

    Weights are as they were drawn. Each batch normalization has the statistics of two random images, each
    off by something; its weights are of either sign, and every eighth is 0.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(like: Tensor, mean: float, deviation: float) -> Tensor:
        return mean + deviation * torch.randn(like.shape, generator=generator)

    norms = [m for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
            if norm.affine:
                norm.weight.copy_(normal(norm.weight, 0.5, 0.5))
                norm.weight[::8] = 0
                norm.weight[1::8] = -norm.weight[1::8].abs()
                norm.weight[2::8] = norm.weight[2::8].abs()
                norm.bias.copy_(normal(norm.bias, 0, 0.3))
        for module in model.modules():
            if isinstance(module, Shift):
                module.bias.copy_(normal(module.bias, 0, 0.3))
            elif isinstance(module, nn.PReLU):
                module.weight.copy_(normal(module.weight, 0.1, 0.3))
        model.train()(torch.randn(FEWEST_IMAGES, *image, generator=generator))
        for norm in norms:
            norm.running_mean += normal(norm.running_mean, 0, 0.3) * norm.running_var.sqrt()
            norm.running_var *= normal(norm.running_var, 1, 0.2).abs() + 0.1
    return model.eval().requires_grad_(False)
