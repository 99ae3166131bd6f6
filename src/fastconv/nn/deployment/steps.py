"""Modules as steps of a kernel, which give what PyTorch's modules give, bit for bit.

Until a residual is added to a product, or XNOR-Net's K multiplies it, a number is a function of an integer in
[-n, n] and of its channel: so every one of them is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fastconv.nn.binary_layer import BinaryLayer
from fastconv.nn.deployment import reasons
from fastconv.nn.deployment.fold import LARGEST_PROBE, is_idle
from fastconv.nn.deployment.fold_numbers import NORMS
from fastconv.nn.deployment.norms import Every, MultiplyAdd, by_formula, multiply_add
from fastconv.nn.layers import BinaryConv2d
from fastconv.nn.pointwise import Scale, Shift

ACTIVATIONS = (
    nn.GELU, nn.SiLU, nn.ELU, nn.CELU, nn.SELU, nn.Mish, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Softsign,
    nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid,
)  # fmt: skip
"""Modules that somebody may have taken for steps."""

NO_STEP = "no step"


class Found(NamedTuple):
    """A step: its kind and its numbers, each (O,)."""

    kind: str
    numbers: tuple[Tensor, ...] = ()


class Channels(NamedTuple):
    """What steps work on: so many channels, of images or rows, on a device."""

    number: int
    image: bool
    device: torch.device


def steps_of(
    module: nn.Module, channels: Channels, exact: bool, every: Every | None = None
) -> list[Found] | str:
    """The steps of a module, or why there are none; ``every`` gives the numbers that can come, if those are
    few. If not ``exact``, a batch normalization may round otherwise."""
    if is_idle(module):
        return []
    if type(module) in NORMS:
        return _norm(module, channels, exact, every)
    found = _of_one_rounding(module, channels)
    if found is None and isinstance(module, ACTIVATIONS):
        return reasons.NOT_A_STEP.format(kind=type(module).__name__)
    return NO_STEP if found is None else found


def never_negative(steps: Sequence[Found]) -> bool:
    """Whether the last step leaves no number below 0."""
    kind, numbers = steps[-1] if steps else ("", ())
    return kind == "relu" or (kind == "clamp" and bool((numbers[0] >= 0).all()))


class Steps:
    """The steps that follow the product of a layer, as far as they are known.

    Parameters
    ----------
    layer : BinaryLayer
        Of one bit.
    exact : bool
        Whether batch normalizations that are no multiply-add stay out.
    """

    def __init__(self, layer: BinaryLayer, exact: bool = True) -> None:
        self.exact = exact
        filters, device = layer.weight.shape[0], layer.weight.device
        self.channels = Channels(filters, isinstance(layer, BinaryConv2d), device)
        self.n = layer.weight[0].numel()
        self.found: list[Found] = []
        _, (scale,) = layer.filters()
        if scale is not None:
            self.found.append(Found("scale", (scale.float(),)))
        windowed = layer.scale == "xnor"
        if windowed:
            self.found.append(Found("window"))
        if layer.bias is not None:
            self.found.append(Found("shift", (layer.bias.detach().float(),)))
        if not self.found:
            ones = torch.ones(filters, dtype=torch.float32, device=device)
            self.found.append(Found("scale", (ones,)))
        self.few, self.added = not windowed, False

    def add(self) -> bool:
        """Go on with a residual added; False if one was."""
        if self.added:
            return False
        self.found.append(Found("add"))
        self.few, self.added = False, True
        return True

    def append(self, module: nn.Module) -> str:
        """Go on with ``module``; returns why that cannot be, or nothing."""
        found = steps_of(module, self.channels, self.exact, self.every_number if self.few else None)
        if isinstance(found, str):
            return found
        self.found += found
        return ""

    def every_number(self) -> Iterator[Tensor]:
        """What the steps so far make of every integer, in blocks (P, O)."""
        filters, _, device = self.channels
        for integers in torch.arange(-self.n, self.n + 1, device=device).split(
            max(LARGEST_PROBE // filters, 1)
        ):
            values = integers.float()[:, None].expand(-1, filters)
            for kind, numbers in self.found:
                values = _apply(kind, values, numbers)
            yield values


def _norm(norm: nn.Module, channels: Channels, exact: bool, every: Every | None) -> list[Found] | str:
    if norm.running_mean is None:
        return reasons.BATCH_STATISTICS
    if norm.num_features != channels.number or isinstance(norm, nn.BatchNorm2d) != channels.image:
        return reasons.OTHER_CHANNELS
    if norm.running_mean.dtype != torch.float32:
        return NO_STEP
    found = multiply_add(norm, channels.image, every)
    if found is None and exact:
        return reasons.NO_MULTIPLY_ADD
    once, s, b = found or by_formula(norm)
    return [Found("fused" if once else "affine", (s, b))]


def _apply(kind: str, v: Tensor, numbers: tuple[Tensor, ...]) -> Tensor:
    """One step on numbers (P, channels)."""
    if kind == "scale":
        return v * numbers[0]
    if kind == "shift":
        return v + numbers[0]
    if kind in ("affine", "fused"):
        return MultiplyAdd(kind == "fused", *numbers)(v)
    if kind == "prelu":
        return torch.where(v < 0, v * numbers[0], v)
    if kind == "relu":
        return torch.where(v < 0, torch.zeros_like(v), v)
    low, high = numbers
    v = torch.where(v < low, low, v)
    return torch.where(v > high, high, v)


def _of_one_rounding(module: nn.Module, channels: Channels) -> list[Found] | None:
    """Steps of a module whose operations round once."""
    number, image, device = channels

    def each(value: float) -> Tensor:
        return torch.full((number,), value, dtype=torch.float32, device=device)

    if type(module) is nn.ReLU:
        return [Found("relu")]
    if type(module) is nn.ReLU6:
        return [Found("clamp", (each(0.0), each(6.0)))]
    if type(module) is nn.Hardtanh:
        return [Found("clamp", (each(module.min_val), each(module.max_val)))]
    if type(module) is nn.LeakyReLU:
        return [Found("prelu", (each(module.negative_slope),))]
    if type(module) is nn.PReLU and module.num_parameters in (1, number):
        return [Found("prelu", (module.weight.detach().expand(number).clone(),))]
    if type(module) in (Shift, Scale) and module.channels == number and module.image == image:
        return [Found("shift", (module.shift,)) if type(module) is Shift else Found("scale", (module.scale,))]
    return None
