"""Fold what stands between a binary product and the next sign into one comparison for each channel.

The product is an integer y in [-n, n]. Scale, bias, batch normalization and activations make a number of it,
channel by channel, and of that number only the sign goes on. So the whole chain is a function from 2n + 1
integers to one bit, and it is looked up rather than derived: PyTorch's own modules are run on every one of
them. That is exact by construction, whatever order and whatever fused multiply-adds they compute in, which
:func:`fastconv.fold_batchnorm` (one rounding after each operation) cannot know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fastconv.nn.calls import is_plain
from fastconv.nn.pointwise import Scale, Shift, StrictSign
from fastconv.packed import Threshold

Finish = Callable[[Tensor], Tensor]
INT32_MIN = -(2**31)
LARGEST_PROBE = 1 << 22
"""Numbers in one tensor while a chain is looked up: 16 MiB of float32."""

IDLE = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)
"""Modules that do nothing in eval mode."""
POINTWISE = (nn.PReLU, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardtanh, StrictSign)
"""Modules that map each number by itself or by its channel, in operations that round alike in every place of
a tensor, which vectorized transcendental functions do not."""


class Folded(NamedTuple):
    """A chain as a comparison.

    The bits of ``inverted`` channels (O,) fall as the number that is pooled grows. For them ``threshold``
    gives the opposite: the least of bits is the opposite of the largest of their opposites.
    """

    threshold: Threshold
    inverted: Tensor


def is_idle(module: nn.Module) -> bool:
    return is_plain(module) and type(module) in IDLE


def is_channelwise(module: nn.Module, image: bool) -> bool:
    """Whether each number that leaves the module depends on one that enters it, and their channel."""
    norm = nn.BatchNorm2d if image else nn.BatchNorm1d
    fixed = type(module) is norm and module.running_mean is not None
    own = isinstance(module, (Shift, Scale)) and module.image == image
    return is_plain(module) and (fixed or own or type(module) in (*IDLE, *POINTWISE))


def fold(
    finish: Finish,
    before: Sequence[nn.Module],
    after: Sequence[nn.Module] | None,
    channels: int,
    image: bool,
    n: int,
    device: torch.device,
) -> Folded | None:
    """The comparison that gives the signs of a chain, or None if none gives exactly them.

    Parameters
    ----------
    finish : callable
        What the product's own layer does to integers in float32, (P, O, 1, 1) of an image or (P, O).
    before, after : modules of which :func:`is_channelwise` is true, in eval mode
        Until max-pooling, and from there to the sign; without pooling, ``after`` is None.
    n : int
        The largest absolute product.
    """
    bits, directions = [], []
    for y in torch.arange(-n, n + 1, device=device).split(max(LARGEST_PROBE // max(channels, 1), 1)):
        values = finish(_spread(y, channels, image))
        for module in before:
            values = module(values)
        numbers = values
        for module in after or ():
            numbers = module(numbers)
        if values.isnan().any() or numbers.isnan().any():
            return None
        bits.append(numbers.reshape(len(y), channels) >= 0)
        directions.append(_extremes(values.reshape(len(y), channels), bits[-1]))
    return _compared(torch.cat(bits), None if after is None else torch.stack(directions), n)


def _spread(y: Tensor, channels: int, image: bool) -> Tensor:
    """Each integer in every channel."""
    numbers = y.float().reshape(-1, 1).expand(len(y), channels)
    return numbers[..., None, None].contiguous() if image else numbers.contiguous()


def _extremes(values: Tensor, bits: Tensor) -> Tensor:
    """Of the values (P, O) of bits that are 1, then of those that are 0: the least and the largest (4, O)."""
    nothing = torch.full((), torch.inf, device=values.device)
    parts = [
        extreme
        for chosen in (bits, ~bits)
        for extreme in (
            torch.where(chosen, values, nothing).amin(dim=0),
            torch.where(chosen, values, -nothing).amax(dim=0),
        )
    ]
    return torch.stack(parts)


def _compared(bits: Tensor, extremes: Tensor | None, n: int) -> Folded | None:
    """``bits`` (2n + 1, O) as a comparison, if they change once at most, and rise or fall with the values."""
    changes = bits[1:] != bits[:-1]
    if (changes.sum(dim=0) > 1).any():
        return None
    inverted = torch.zeros_like(bits[0])
    if extremes is not None:
        least_one, _, least_zero, _ = extremes.amin(dim=0)
        _, largest_one, _, largest_zero = extremes.amax(dim=0)
        inverted = ~(least_one > largest_zero)
        if (inverted & ~(largest_one < least_zero)).any():
            return None
    step = changes.int().argmax(dim=0) + 1 - n if n else inverted.int()
    tau = torch.where(changes.any(dim=0), step, INT32_MIN).to(torch.int32)
    return Folded(Threshold(tau, ~bits[-1] ^ inverted), inverted)
