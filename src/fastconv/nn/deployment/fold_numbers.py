"""Fold what stands between float numbers and the next sign into one comparison for each channel.

Batch normalization and activations that never fall map numbers in order, and rounding keeps that order. So
the sign of what comes out changes once at most, at a number that is found by halving: PyTorch's own modules
say on which side of it a number lies. That is exact where a layer computes as it does here: of other layouts
than PyTorch's two it rounds the batch normalization differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fastconv.nn.deployment.fold import IDLE
from fastconv.nn.pointwise import Scale, Shift, StrictSign

ORDERED = (nn.ReLU, nn.ReLU6, nn.Hardtanh, Shift, Scale, StrictSign)
"""Modules that map the numbers of a channel in their order, or in the opposite one."""

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
MANY = (4, 24)
"""Rows and columns of an image that has more than a vector of pixels, and some left over."""

LARGEST = (127 + 64) << 23
"""The key of 2**64, see :func:`_numbers`; numbers far beyond overflow in between, and become NaNs."""


class Comparison(NamedTuple):
    """A chain as bits of numbers v up to 2**64: (v >= tau) xor flip in each channel.

    For channels of which ``inverted`` is true, these are the opposites of the chain's signs: its numbers fall
    as those that are pooled grow, and the least of bits is the opposite of the largest of their opposites.
    """

    tau: Tensor
    flip: Tensor
    inverted: Tensor


def fold_numbers(
    before: Sequence[nn.Module], after: Sequence[nn.Module], channels: int, image: bool, device: torch.device
) -> Comparison | None:
    """The comparison that gives the signs of a chain, or None if none is known to.

    Parameters
    ----------
    before, after : modules of which :func:`fastconv.nn.deployment.fold.is_channelwise` is true, in eval mode
        Until max-pooling, and from there to the sign.
    """
    if not all(_keeps_order(module) for module in (*before, *after)):
        return None
    chain = (*before, *after)
    low = torch.full((channels,), -LARGEST, dtype=torch.int64, device=device)
    high = -low
    ends = torch.stack([low, high])
    bits = _signs(ends, chain, image)
    first, last = bits
    falls, rises = _signs(ends, after, image)
    while (high - low > 1).any():
        middle = (low + high) // 2
        like_last = _signs(middle[None], chain, image)[0] == last
        low, high = torch.where(like_last, low, middle), torch.where(like_last, middle, high)
    if not _agree(torch.stack([low, high]), bits, chain, image):
        return None
    inverted = falls & ~rises
    return Comparison(torch.where(first == last, -torch.inf, _numbers(high)), ~last ^ inverted, inverted)


def _signs(keys: Tensor, modules: Sequence[nn.Module], image: bool) -> Tensor:
    """Of the numbers with ``keys`` (P, C), 1 where what ``modules`` make of it is not negative."""
    numbers = _numbers(keys)[..., None, None] if image else _numbers(keys)
    return (_through(modules, numbers) >= 0).reshape(keys.shape)


def _agree(keys: Tensor, bits: Tensor, modules: Sequence[nn.Module], image: bool) -> bool:
    """Whether ``bits`` are the signs of ``keys`` (2, C) in every layout, and among many, and nothing is NaN:
    PyTorch has code of its own for each, which may round differently."""
    if image:
        numbers, expected = _numbers(keys)[..., None, None].repeat(1, 1, *MANY), bits[..., None, None]
        layouts = [torch.contiguous_format, torch.channels_last]
    else:
        numbers, expected = _numbers(keys).repeat(prod(MANY), 1), bits.repeat(prod(MANY), 1)
        layouts = [torch.contiguous_format]
    for layout in layouts:
        values = _through(modules, numbers.contiguous(memory_format=layout))
        if values.isnan().any() or ((values >= 0) != expected).any():
            return False
    return True


def _through(modules: Sequence[nn.Module], values: Tensor) -> Tensor:
    for module in modules:
        values = module(values)
    return values


def _keeps_order(module: nn.Module) -> bool:
    """Whether the module maps numbers in their order, or in the opposite one, channel by channel."""
    if type(module) in NORMS:
        return bool(module.running_mean.dtype == torch.float32)
    if type(module) is nn.PReLU:
        return bool((module.weight >= 0).all())
    if type(module) is nn.LeakyReLU:
        return bool(module.negative_slope >= 0)
    return type(module) in (*IDLE, *ORDERED)


def _numbers(keys: Tensor) -> Tensor:
    """The float32 numbers with these keys, integers in the order of the numbers: the key of one whose sign
    bit is 0 is its bits, that of its negative is minus that."""
    bits = torch.where(keys >= 0, keys, -(2**31) - keys)
    return bits.to(torch.int32).view(torch.float32)
