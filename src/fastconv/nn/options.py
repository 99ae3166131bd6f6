"""What the arguments of a layer mean."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

from fastconv._checks import Pair, choice, integer, pair
from fastconv._geometry import reach, same_padding, window
from fastconv.nn.products import SAME

SCALES = ("alpha", "xnor", "learned")

MOST_BITS = 64
"""That a value of a deployed layer may have. Float32 has 24, and each bit is a product: a file that asks for
a billion of them would never end."""


def sides_of(layer: str, padding: Any, kernel: Pair, dilation: Pair) -> list[int]:
    """``padding`` as the operators take it: [top, bottom, left, right], or [] for "same"."""
    if padding == "same":
        return SAME
    (top, bottom), (left, right) = window(
        layer, reach(kernel, dilation), kernel, 1, padding, dilation
    ).padding
    return [top, bottom, left, right]


def sides_around(
    layer: str, sides: list[int], size: Sequence[int], kernel: Pair, stride: Pair, dilation: Pair
) -> list[int]:
    """[top, bottom, left, right] for an image of ``size``, which the window must fit into with them."""
    extents = reach(kernel, dilation)
    found = sides or [n for side in same_padding(size, stride, extents) for n in side]
    added = found[0] + found[1], found[2] + found[3]
    if any(n + more < extent for n, more, extent in zip(size, added, extents, strict=True)):
        raise ValueError(
            f"{layer}: kernel_size {kernel} with dilation {dilation} does not fit into an image of size "
            f"{tuple(size)} with padding {found} (top, bottom, left, right)"
        )
    return found


def check_sides(layer: str, sides: Any) -> list[int]:
    """[top, bottom, left, right], or [] for "same"."""
    if not isinstance(sides, (list, tuple)) or len(sides) not in (0, 4):
        raise ValueError(
            f"{layer}: padding must be [top, bottom, left, right], or [] for 'same', got {sides!r}"
        )
    return [integer(layer, "padding", side, 0) for side in sides]


def whole_pair(layer: str, name: str, sizes: Any) -> Pair:
    """(rows, columns), both given."""
    if not isinstance(sizes, (list, tuple)):
        raise TypeError(f"{layer}: {name} must be [rows, columns], got {sizes!r}")
    return pair(layer, name, sizes, 1, "[rows, columns]")


def number_of_bits(layer: str, name: str, value: Any) -> int:
    number = integer(layer, name, value, 1)
    if number > MOST_BITS:
        raise ValueError(f"{layer}: {name} must be at most {MOST_BITS}, got {number}")
    return number


def check_scale(layer: str, scale: Any, activation_bits: int) -> None:
    if scale is not None:
        choice(layer, "scale", scale, SCALES, " or None")
    if scale == "xnor" and activation_bits > 1:
        raise ValueError(
            f"{layer}: scale 'xnor' takes activation_bits=1, got {activation_bits}; "
            "several bits have scales of their own"
        )


def check_clip(layer: str, clip: Any) -> float:
    if not isinstance(clip, Real):
        raise TypeError(f"{layer}: clip must be a number, got {clip!r}")
    number = float(clip)
    if not number > 0:
        raise ValueError(f"{layer}: clip must be positive, got {clip!r}")
    return number


def check_groups(layer: str, groups: Any, in_channels: int, out_channels: int) -> int:
    number = integer(layer, "groups", groups, 1)
    if in_channels % number or out_channels % number:
        raise ValueError(
            f"{layer}: groups {number} must divide both in_channels {in_channels} "
            f"and out_channels {out_channels}"
        )
    return number
