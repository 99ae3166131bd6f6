"""What the shapes and options of a binary convolution say, before looking at a pixel.

The layer of real numbers, ``conv2d``, needs no more than its Window.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fastconv._checks import INT32_MAX, check_groups, check_out, sign
from fastconv._geometry import ImageLayout, Window, image_layout, plain, window

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A checked binary convolution. Two are the same only if they are one object: fast to look up.

    ``channels`` are those of a group. The result is of ``shape`` in the layout ``target``, or of
    ``logical`` shape if it is packed.
    """

    images: int
    channels: int
    filters: int
    groups: int
    pad_value: int
    geometry: Window
    source: ImageLayout
    target: ImageLayout
    shape: Shape
    logical: Shape


def layer(
    operation: str, image: Shape, packed: bool, weight: Shape, data_format: object, *options: object
) -> Layer:
    """Check shapes and options: stride, padding, dilation, groups, pad_value."""
    make = _remembered_layer if plain((data_format, *options)) else _layer
    return make(operation, image, packed, weight, data_format, *options)


def check_terms(operation: str, terms: int) -> None:
    if terms > INT32_MAX:
        raise ValueError(f"{operation}: a dot product may have at most {INT32_MAX} terms, got {terms}")


def _layer(
    operation: str,
    image: Shape,
    packed: bool,
    weight: Shape,
    data_format: object,
    stride: object,
    padding: object,
    dilation: object,
    groups: object,
    pad_value: object,
) -> Layer:
    given = image_layout(operation, image, data_format, (3 if packed else 2, 4))
    source = ImageLayout(given.rank, packed or given.channels_last)
    n, c, h, w = source.sizes(image)
    if source.rank == 2 and len(weight) == 2:
        weight = (1, 1, *weight)
    if len(weight) != 4:
        raise ValueError(f"{operation}: weight must have shape (O, C / groups, kh, kw), got {weight}")
    filters, channels, *kernel = weight
    if source.rank == 2 and filters != 1:
        raise ValueError(f"{operation}: one image (H, W) takes one filter, got {filters}; use (1, H, W)")
    parts = check_groups(operation, groups, c, weight)
    outside = sign(operation, "pad_value", pad_value, (0, 1, -1))
    geometry = window(operation, (h, w), tuple(kernel), stride, padding, dilation)
    check_terms(operation, channels * geometry.taps)
    shape = given.shape(n, filters, *geometry.output)
    check_out(operation, None, shape, np.float64)
    logical = ImageLayout(max(source.rank, 3), True).shape(n, filters, *geometry.output)
    return Layer(n, channels, filters, parts, outside, geometry, source, given, shape, logical)


_remembered_layer = lru_cache(256)(_layer)
