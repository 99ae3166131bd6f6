"""What shapes and options say before a pixel is looked at: layouts and windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from fastconv._checks import Pair, choice, pair

LARGEST_PADDED = 2**56
"""Pixels of a padded image: the kernels' index arithmetic has 7 bits to spare before int64 overflows."""

PADDINGS = "an integer, (rows, columns), ((top, bottom), (left, right)), 'valid' or 'same'"


class ImageLayout(NamedTuple):
    """How an array of images is laid out; ``rank`` 2 is one channel-less image."""

    rank: int
    channels_last: bool

    def sizes(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """``shape`` as (N, C, H, W)."""
        if self.rank == 2:
            return (1, 1, *shape)  # type: ignore[return-value]
        n, *rest = (1,) * (4 - self.rank) + shape
        return (n, rest[2], rest[0], rest[1]) if self.channels_last else (n, *rest)  # type: ignore[return-value]

    def shape(self, n: int, c: int, h: int, w: int) -> tuple[int, ...]:
        """(N, C, H, W) as a shape in this layout."""
        if self.rank == 2:
            return (h, w)
        full = (n, h, w, c) if self.channels_last else (n, c, h, w)
        return full[4 - self.rank :]

    def nchw(self, x: Any) -> Any:
        """``x`` as a view (N, C, H, W)."""
        n, c, h, w = self.sizes(x.shape)
        if self.channels_last and self.rank > 2:
            return x.reshape(n, h, w, c).transpose(0, 3, 1, 2)
        return x.reshape(n, c, h, w)


def image_layout(operation: str, shape: tuple[int, ...], data_format: object, ranks: Pair) -> ImageLayout:
    """The layout of ``shape``, whose rank must lie in ``ranks`` (lowest, highest)."""
    choice(operation, "data_format", data_format, ("NCHW", "NHWC"))
    if not ranks[0] <= len(shape) <= ranks[1]:
        raise ValueError(f"{operation}: x must have {ranks[0]} to {ranks[1]} dimensions, got shape {shape}")
    return ImageLayout(len(shape), data_format == "NHWC")


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A kernel sliding over a padded image: all that is known before looking at a pixel.

    Every pair is (rows, columns); ``padding`` is ((top, bottom), (left, right)). Two windows are the
    same only if they are one object: fast to look up, and :func:`window` gives the same one again.
    """

    size: Pair
    kernel: Pair
    stride: Pair
    dilation: Pair
    padding: tuple[Pair, Pair]
    output: Pair

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    @property
    def positions(self) -> int:
        return self.output[0] * self.output[1]

    @property
    def padded(self) -> Pair:
        """Size of the padded image."""
        (top, bottom), (left, right) = self.padding
        return self.size[0] + top + bottom, self.size[1] + left + right


def window(
    operation: str, size: Pair, kernel: object, stride: object, padding: object, dilation: object
) -> Window:
    """Check the arguments of a sliding window over an image of ``size`` (rows, columns)."""
    arguments = (operation, size, kernel, stride, padding, dilation)
    return _remembered_window(*arguments) if plain(arguments) else _window(*arguments)


def plain(value: object) -> bool:
    """Whether equal values mean the same: 1.0 == 1 == True, but they are not accepted alike."""
    kind = type(value)
    return kind is int or kind is str or (kind is tuple and all(map(plain, value)))  # type: ignore[call-overload]


def _window(
    operation: str, size: Pair, kernel: object, stride: object, padding: object, dilation: object
) -> Window:
    kernel_size = pair(operation, "kernel_size", kernel, 1)
    strides = pair(operation, "stride", stride, 1)
    dilations = pair(operation, "dilation", dilation, 1)
    extents = reach(kernel_size, dilations)
    pads = _padding(operation, padding, size, extents, strides)
    padded = [n + before + after for n, (before, after) in zip(size, pads, strict=True)]
    if any(n < extent for n, extent in zip(padded, extents, strict=True)):
        raise ValueError(
            f"{operation}: kernel_size {kernel_size} with dilation {dilations} does not fit "
            f"into an image of size {size} with padding {pads}"
        )
    if prod(padded) > LARGEST_PADDED:
        raise ValueError(
            f"{operation}: padding {pads} makes an image of {padded[0]} x {padded[1]} pixels; "
            f"at most {LARGEST_PADDED} are accepted"
        )
    rows, columns = (
        (n - extent) // step + 1 for n, extent, step in zip(padded, extents, strides, strict=True)
    )
    # Steps beyond the image, which nobody takes, need not fit the kernels' integers.
    strides = min(strides[0], padded[0]), min(strides[1], padded[1])
    dilations = min(dilations[0], padded[0]), min(dilations[1], padded[1])
    return _remembered(size, kernel_size, strides, dilations, pads, (rows, columns))


_remembered = lru_cache(256)(Window)
_remembered_window = lru_cache(256)(_window)


def turned(window: Window) -> Window:
    """The same window with rows and columns in each other's place."""
    pairs = (window.size, window.kernel, window.stride, window.dilation, window.padding, window.output)
    return _remembered(*(pair[::-1] for pair in pairs))


def reach(kernel: Sequence[int], dilation: Sequence[int]) -> Pair:
    """Rows and columns from a window's first tap to its last."""
    rows, columns = (d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    return rows, columns


def same_padding(size: Sequence[int], strides: Pair, extents: Pair) -> tuple[Pair, Pair]:
    """TensorFlow's rule: ceil(n / stride) rows, the odd one at the bottom."""
    rows, columns = (
        max((-(-n // step) - 1) * step + extent - n, 0)
        for n, extent, step in zip(size, extents, strides, strict=True)
    )
    return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)


def _padding(operation: str, padding: object, size: Pair, extents: Pair, strides: Pair) -> tuple[Pair, Pair]:
    if isinstance(padding, str):
        if padding not in ("valid", "same"):
            raise ValueError(f"{operation}: padding must be {PADDINGS}, got {padding!r}")
        if padding == "valid":
            return (0, 0), (0, 0)
        return same_padding(size, strides, extents)
    if isinstance(padding, (tuple, list)) and any(isinstance(side, (tuple, list)) for side in padding):
        if len(padding) != 2 or not all(isinstance(side, (tuple, list)) for side in padding):
            raise ValueError(f"{operation}: padding must be {PADDINGS}, got {padding!r}")
        vertical, horizontal = (pair(operation, "padding", side, 0, PADDINGS) for side in padding)
        return vertical, horizontal
    rows, columns = pair(operation, "padding", padding, 0, PADDINGS)
    return (rows, rows), (columns, columns)


def line_window(n: int) -> Window:
    """The window of a plain product: n pixels in a row, one tap."""
    return Window((1, n), (1, 1), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, n))
