"""What correlate2d, convolve2d and conv2d are asked for."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastconv._checks import Pair
from fastconv._geometry import ImageLayout, Window

LAST = (-2, -1)
"""The axes that are filtered if nothing is said."""


class Filter(NamedTuple):
    """What one call of correlate2d or convolve2d asks for, of images of shape ``image`` and kernels of shape
    ``kernel``, rows and columns last.

    In the arrays of the call, rows and columns are ``image_axes`` and ``kernel_axes``, and ``axes`` in the
    result: counted from the first one, or :data:`LAST`.

    Result (i, j) and tap (a, b) meet at image pixel (i + a - before[0], j + b - before[1]),
    whatever lies outside being ``boundary``'s business. ``fill`` are the bytes of the fill value in
    ``dtype``, the result's: as a number, NaN would not equal itself, and 0.0 would equal -0.0.
    """

    operation: str
    image: tuple[int, ...]
    image_dtype: np.dtype[Any]
    kernel: tuple[int, ...]
    kernel_dtype: np.dtype[Any]
    dtype: np.dtype[Any]
    batch: tuple[int, ...]
    size: Pair
    before: Pair
    boundary: str
    fill: bytes
    method: str
    mirrored: bool
    image_axes: Pair = LAST
    kernel_axes: Pair = LAST
    axes: Pair = LAST
    noun: str = "correlation"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result."""
        return spread((*self.batch, *self.size), self.axes)

    @property
    def image_given(self) -> tuple[int, ...]:
        """The shape of images in the arrays of the call."""
        return spread(self.image, self.image_axes)

    @property
    def fillvalue(self) -> Any:
        return np.frombuffer(self.fill, self.dtype)[0]


def planar(values: tuple[int, ...], axes: Pair) -> tuple[int, ...]:
    """What belongs to each axis of an array, those of rows and columns last."""
    return tuple(values[axis] for axis in order(len(values), axes))


def spread(values: tuple[int, ...], axes: Pair) -> tuple[int, ...]:
    """The inverse of :func:`planar`."""
    return tuple(value for _, value in sorted(zip(order(len(values), axes), values, strict=True)))


def order(rank: int, axes: Pair) -> list[int]:
    """The axes of an array that has rows and columns at ``axes``, with these last: for ``x.transpose``."""
    own = [axis % rank for axis in axes]
    return [*(axis for axis in range(rank) if axis not in own), *own]


class Layer(NamedTuple):
    """What one call of conv2d asks for: images of shape ``x`` in ``layout``, with a weight of shape
    ``weight`` (O, C / groups, kh, kw), give a result of ``shape`` and ``dtype``."""

    x: tuple[int, ...]
    x_dtype: np.dtype[Any]
    weight: tuple[int, ...]
    weight_dtype: np.dtype[Any]
    has_bias: bool
    layout: ImageLayout
    window: Window
    groups: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    noun: str = "correlation"


def filter_extent(mode: str, image: Pair, kernel: Pair, centre: Pair) -> tuple[Pair, Pair]:
    """Output size and ``before`` of :class:`Filter`; in "same" mode the output starts at ``centre``
    of the full one."""
    (h, w), (kh, kw) = image, kernel
    if mode == "valid":
        return (h - kh + 1, w - kw + 1), (0, 0)
    if mode == "same":
        return image, (kh - 1 - centre[0], kw - 1 - centre[1])
    return (h + kh - 1, w + kw - 1), (kh - 1, kw - 1)
