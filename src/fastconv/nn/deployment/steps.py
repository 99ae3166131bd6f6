"""What follows a binary product as steps of its kernel, which give what PyTorch's modules give, bit for bit.

Until a residual is added, a number is a function of an integer in [-n, n] and of its channel: so every one of
them is tried. A batch normalization is s * v + b, rounded once or twice; b is what it makes of 0, and s lies
beside weight / sqrt(var + eps), whose root PyTorch does not round to the nearest. What follows a residual are
operations of one rounding, which need not be tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fastconv.nn.binary_layer import BinaryLayer
from fastconv.nn.deployment import reasons
from fastconv.nn.deployment.fold import LARGEST_PROBE
from fastconv.nn.deployment.fold_numbers import NORMS
from fastconv.nn.layers import BinaryConv2d
from fastconv.nn.pointwise import Scale, Shift

NEIGHBOURS = 4
"""How many last bits s is searched on either side."""


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


class Steps:
    """The steps that follow the product of a layer, as far as they are known.

    Parameters
    ----------
    layer : BinaryLayer
        Of one bit.
    exact : bool
        Whether batch normalizations that cannot be tried, or are no multiply-add, stay out.
    """

    def __init__(self, layer: BinaryLayer, exact: bool = True) -> None:
        self.exact = exact
        self.filters, self.device = layer.weight.shape[0], layer.weight.device
        self.image = isinstance(layer, BinaryConv2d)
        self.n = layer.weight[0].numel()
        self.found: list[Found] = []
        _, (scale,) = layer.filters()
        if scale is not None:
            self.found.append(Found("scale", (scale.float(),)))
        self.windowed = layer.scale == "xnor"
        if self.windowed:
            self.found.append(Found("window"))
        if layer.bias is not None:
            self.found.append(Found("shift", (layer.bias.detach().float(),)))
        if not self.found:
            self.found.append(
                Found("scale", (torch.ones(self.filters, dtype=torch.float32, device=self.device),))
            )
        self.added = False

    def add(self) -> bool:
        """Go on with a residual added; False if one was."""
        if self.added:
            return False
        self.found.append(Found("add"))
        self.added = True
        return True

    @property
    def never_negative(self) -> bool:
        """Whether the last step leaves no number below 0."""
        kind, numbers = self.found[-1]
        return kind == "relu" or (kind == "clamp" and bool((numbers[0] >= 0).all()))

    def append(self, module: nn.Module) -> str:
        """Go on with ``module``; returns why that cannot be, or nothing."""
        if type(module) in NORMS:
            step, why = self._norm(module)
            if step is None:
                return why
            self.found.append(step)
        else:
            found = _exact(module, self.filters, self.image, self.device)
            if found is None and isinstance(module, ACTIVATIONS):
                return reasons.NOT_A_STEP.format(kind=type(module).__name__)
            if found is None:
                return NO_STEP
            self.found += found
        return ""

    def _norm(self, norm: nn.Module) -> tuple[Found | None, str]:
        if norm.running_mean is None:
            return None, reasons.BATCH_STATISTICS
        if norm.num_features != self.filters or isinstance(norm, nn.BatchNorm2d) != self.image:
            return None, reasons.OTHER_CHANNELS
        if (self.added or self.windowed) and not self.exact:
            return _algebraic(norm), ""
        if self.added or self.windowed:
            what = "a residual" if self.added else "XNOR-Net's K"
            return None, reasons.TOO_MANY_NUMBERS.format(what=what)
        found = _affine(norm, self)
        if found is None and self.exact:
            return None, reasons.NO_MULTIPLY_ADD
        return found or _algebraic(norm), ""

    def values(self, channels: slice) -> Tensor:
        """What the steps so far make of every integer, (P, channels)."""
        values = torch.arange(-self.n, self.n + 1, device=self.device).float()[:, None]
        for kind, numbers in self.found:
            values = _apply(kind, values, tuple(part[channels] for part in numbers))
        return values.expand(-1, len(range(*channels.indices(self.filters))))


def _affine(norm: nn.Module, steps: Steps) -> Found | None:
    """s and b with norm(v) = s * v + b for all v that come."""
    with torch.no_grad():
        shape = (2, steps.filters, 1, 2) if steps.image else (2, steps.filters)
        b = norm(torch.zeros(shape, dtype=torch.float32, device=steps.device))[
            (0, slice(None), 0, 0) if steps.image else 0
        ]
        weight = torch.ones_like(b) if norm.weight is None else norm.weight.detach()
        root = weight * (1 / torch.sqrt(norm.running_var + norm.eps))
        for kind in ("fused", "affine"):
            s = _searched(kind, norm, steps, root, b)
            if s is not None:
                return Found(kind, (s, b.clone()))
    return None


def _algebraic(norm: nn.Module) -> Found:
    """A batch normalization as its formula has it."""
    ones = torch.ones_like(norm.running_mean)
    weight = ones if norm.weight is None else norm.weight.detach()
    bias = 0 * ones if norm.bias is None else norm.bias.detach()
    s = weight * (1 / torch.sqrt(norm.running_var + norm.eps))
    return Found("fused", (s, bias - norm.running_mean * s))


def _searched(kind: str, norm: nn.Module, steps: Steps, root: Tensor, b: Tensor) -> Tensor | None:
    """The s near ``root`` that fits every channel."""
    s = root.clone()
    wide = max(LARGEST_PROBE // (2 * steps.n + 1), 1)
    for first in range(0, steps.filters, wide):
        channels = slice(first, min(first + wide, steps.filters))
        v, wanted = steps.values(channels), _normalized(norm, steps, channels)
        left = torch.arange(v.shape[1], device=v.device)
        for candidate in _neighbours(root[channels]):
            given = _apply(kind, v[:, left], (candidate[left], b[channels][left]))
            fits = (_same(given, wanted[0][:, left]) & _same(given, wanted[1][:, left])).all(dim=0)
            s[channels][left[fits]] = candidate[left[fits]]
            left = left[~fits]
            if not len(left):
                break
        if len(left):
            return None
    return s


def _normalized(norm: nn.Module, steps: Steps, channels: slice) -> tuple[Tensor, Tensor]:
    """What ``norm`` makes of every number, (P, channels), in both layouts."""
    values = steps.values(channels)
    full = torch.zeros(len(values), steps.filters, dtype=torch.float32, device=steps.device)
    full[:, channels] = values
    if not steps.image:
        given = norm(full)[:, channels]
        return given, given
    image = full.T[None, :, None].contiguous()
    return tuple(
        norm(image.contiguous(memory_format=layout))[0, channels, 0].T
        for layout in (torch.contiguous_format, torch.channels_last)
    )


def _neighbours(root: Tensor) -> Iterator[Tensor]:
    """``root``, and the numbers beside it."""
    yield root
    up = down = root
    for _ in range(NEIGHBOURS):
        up, down = (
            torch.nextafter(up, torch.full_like(up, torch.inf)),
            torch.nextafter(down, torch.full_like(down, -torch.inf)),
        )
        yield up
        yield down


def _same(one: Tensor, other: Tensor) -> Tensor:
    return (one == other) | (one.isnan() & other.isnan())


def _apply(kind: str, v: Tensor, numbers: tuple[Tensor, ...]) -> Tensor:
    """One step on numbers (P, channels)."""
    if kind == "scale":
        return v * numbers[0]
    if kind == "shift":
        return v + numbers[0]
    if kind == "affine":
        return v * numbers[0] + numbers[1]
    if kind == "fused":
        return fused(numbers[0], v, numbers[1])
    if kind == "prelu":
        return torch.where(v < 0, v * numbers[0], v)
    if kind == "relu":
        return torch.where(v < 0, torch.zeros_like(v), v)
    low, high = numbers
    v = torch.where(v < low, low, v)
    return torch.where(v > high, high, v)


def fused(s: Tensor, v: Tensor, b: Tensor) -> Tensor:
    """s * v + b in float32, rounded once.

    In float64 the product is exact; the sum is rounded to an odd last bit if it is not, so that rounding it
    again does what one rounding would.
    """
    product, b = s.double() * v.double(), b.double()
    total = product + b
    part = total - product
    error = (product - (total - part)) + (b - part)
    even = (total.view(torch.int64) & 1) == 0
    beside = torch.nextafter(total, torch.copysign(torch.full_like(error, torch.inf), error))
    return torch.where((error != 0) & even & total.isfinite(), beside, total).float()


def _exact(module: nn.Module, filters: int, image: bool, device: torch.device) -> list[Found] | None:
    """Steps of a module whose operations round once."""

    def each(number: float) -> Tensor:
        return torch.full((filters,), number, dtype=torch.float32, device=device)

    if type(module) is nn.ReLU:
        return [Found("relu")]
    if type(module) is nn.ReLU6:
        return [Found("clamp", (each(0.0), each(6.0)))]
    if type(module) is nn.Hardtanh:
        return [Found("clamp", (each(module.min_val), each(module.max_val)))]
    if type(module) is nn.LeakyReLU:
        return [Found("prelu", (each(module.negative_slope),))]
    if type(module) is nn.PReLU and module.num_parameters in (1, filters):
        return [Found("prelu", (module.weight.detach().expand(filters).clone(),))]
    if type(module) in (Shift, Scale) and module.channels == filters and module.image == image:
        return [Found("shift", (module.shift,)) if type(module) is Shift else Found("scale", (module.scale,))]
    return None
