"""A batch normalization as a multiply-add that gives what PyTorch gives, bit for bit.

It is s * v + b, rounded once or twice. b is what it makes of 0; of a number that is large enough it makes s
times that, whatever b is. Whether that is all it does is tried: on all the numbers that can come, where they
are integers, and otherwise on numbers of every size and on those near its zero, where one rounding and two
differ most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

LARGE = 100
"""The exponent of a number that makes b vanish."""

TRIED = 1023
"""Numbers tried in each channel, where all are too many: no multiple of what vectors hold."""

Every = Callable[[], Iterable[Tensor]]
"""Gives all numbers that can come, in blocks (P, C)."""


class MultiplyAdd(NamedTuple):
    """s * v + b of each channel, (C,): rounded once if ``fused``."""

    fused: bool
    s: Tensor
    b: Tensor

    def __call__(self, v: Tensor) -> Tensor:
        """Of numbers (P, C)."""
        return fused(self.s, v, self.b) if self.fused else v * self.s + self.b


def multiply_add(norm: nn.Module, image: bool, every: Every | None = None) -> MultiplyAdd | None:
    """What ``norm`` is, or None if it is none for some of what can come: ``every`` number, or any."""
    channels, device = norm.num_features, norm.running_mean.device
    ends = torch.tensor([0.0, 2.0**LARGE], dtype=torch.float32, device=device)
    b, large = _normalized(norm, ends[:, None].expand(-1, channels), image)[0]
    s = large * 2.0**-LARGE
    if norm.weight is not None:
        s = torch.where(norm.weight == 0, norm.weight, s)
    for once in (True, False):
        found = MultiplyAdd(once, s.clone(), b.clone())
        blocks = [_any_number(s, b)] if every is None else every()
        if all(_same(found(v), given) for v in blocks for given in _normalized(norm, v, image)):
            return found
    return None


def by_formula(norm: nn.Module) -> MultiplyAdd:
    """A batch normalization as its formula has it, which may round otherwise."""
    ones = torch.ones_like(norm.running_mean)
    weight = ones if norm.weight is None else norm.weight.detach()
    bias = 0 * ones if norm.bias is None else norm.bias.detach()
    s = weight * (1 / torch.sqrt(norm.running_var + norm.eps))
    return MultiplyAdd(True, s, bias - norm.running_mean * s)


def _any_number(s: Tensor, b: Tensor) -> Tensor:
    """Numbers (TRIED, C) of every size, and near the zero of s * v + b."""
    generator, shape = torch.Generator().manual_seed(0), (TRIED // 3, len(s))
    bits = torch.randint(-(2**31), 2**31, shape, generator=generator, dtype=torch.int64)
    usual, near = (
        torch.randn(shape, generator=generator, dtype=torch.float32).to(s.device) for _ in range(2)
    )
    zero = torch.where(s == 0, torch.ones_like(s), -b / s)
    return torch.cat([bits.to(torch.int32).view(torch.float32).to(s.device), usual, zero * (1 + 1e-5 * near)])


def _normalized(norm: nn.Module, v: Tensor, image: bool) -> list[Tensor]:
    """What ``norm`` makes of numbers (P, C) in every layout, as one image and as images of one pixel: PyTorch
    has code of its own for each."""
    axes = (None, None) if image else (None,)
    one, each = v.T[(None, slice(None), *axes[1:])], v[(..., *axes)]
    layouts = (torch.contiguous_format, torch.channels_last)[: len(axes)]
    with torch.no_grad():
        alone = [norm(one.contiguous(memory_format=layout))[0].reshape(v.T.shape).T for layout in layouts]
        return alone + [norm(each.contiguous(memory_format=layout)).reshape(v.shape) for layout in layouts]


def _same(one: Tensor, other: Tensor) -> bool:
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


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
