"""What calls of the XNOR operations ask for."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv._checks import INT32_MAX, Pair, check_groups, check_out, sign
from fastconv._epilogue import PLAIN, Outcome, words_shape
from fastconv._geometry import ImageLayout, Window, image_layout, window
from fastconv._remember import remembered

Shape = tuple[int, ...]

REMEMBERED = 256
"""Calls of which it is remembered what they mean: more than the layers of a network."""


class BinaryConv(NamedTuple):
    """A binary convolution: its plan takes x, PackedFilters, an Epilogue and ``out``.

    ``channels`` are those of a group. ``dtype`` is that of x, None for words of signs, and ``source`` its
    layout. Numbers are of ``shape`` in the layout ``target``, signs of ``logical`` shape.
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
    dtype: np.dtype[Any] | None
    outcome: Outcome
    noun: str = "xnor"


class BinaryMatmul(NamedTuple):
    """Matrix products of signs: its plan takes a, b (real, or words) and ``out``.

    ``a`` and ``b`` are shapes of signs, b's with the summed axis last if it is ``packed``.
    """

    a: Shape
    b: Shape
    a_dtype: np.dtype[Any] | None
    b_dtype: np.dtype[Any] | None
    batch: Shape
    shape: Shape
    noun: str = "xnor"


class BinaryLinear(NamedTuple):
    """A binary linear layer: its plan takes x (real, or words), PackedFilters, an Epilogue and ``out``."""

    x: Shape
    dtype: np.dtype[Any] | None
    filters: int
    outcome: Outcome
    noun: str = "xnor"


class PackFilters(NamedTuple):
    """Filters packed once: its plan takes the weight and gives words and alpha."""

    shape: Shape
    dtype: np.dtype[Any]
    zero: int
    noun: str = "xnor"


class Channelwise(NamedTuple):
    """What follows float layers, channel by channel: its plan takes x (N, H, W, C) and an Epilogue.

    The first ``steps_before`` steps are done, then the largest number of each window is taken, as PyTorch
    does it, then come the other steps. Given out are numbers if the ``outcome`` wants them, and words for
    each of ``comparisons``: tau and flip are (comparisons, C), and the bit of NaN is 0.
    """

    images: int
    channels: int
    geometry: Window
    outcome: Outcome
    steps_before: int
    comparisons: int
    noun: str = "xnor"


class WindowMeans(NamedTuple):
    """XNOR-Net's K: its plan takes x."""

    source: ImageLayout
    x: Shape
    dtype: np.dtype[Any]
    groups: int
    geometry: Window
    shape: Shape
    noun: str = "xnor"


class MaxPool(NamedTuple):
    """Max-pooling of signs: its plan takes words and gives words of ``shape``."""

    x: Shape
    geometry: Window
    shape: Shape
    noun: str = "xnor"


class FoldBatchnorm(NamedTuple):
    """A batch normalization as a comparison: its plan takes the parameters by name and gives tau and flip."""

    n: int
    noun: str = "xnor"


class BinarizeResidual(NamedTuple):
    """Several sign tensors for one: its plan takes x and gives scales and words."""

    shape: Shape
    dtype: np.dtype[Any]
    terms: int
    axis: int | None
    noun: str = "xnor"


def check_terms(operation: str, terms: int) -> None:
    if terms > INT32_MAX:
        raise ValueError(f"{operation}: a dot product may have at most {INT32_MAX} terms, got {terms}")


@lru_cache(REMEMBERED)
def completed(spec: BinaryConv, dtype: Any, outcome: Outcome) -> BinaryConv:
    """``spec`` for x of ``dtype``, and for what becomes of the sums."""
    return spec._replace(dtype=dtype, outcome=outcome)


def linear_shape(operation: str, x: Shape, weight: Shape) -> Shape:
    """The shape of what a linear layer gives for x (..., in) and a weight (out, in)."""
    if len(weight) != 2:
        raise ValueError(f"{operation}: weight must have shape (out, in), got {weight}")
    if len(x) == 0 or x[-1] != weight[1]:
        raise ValueError(f"{operation}: x must have shape (..., {weight[1]}) for weight {weight}, got {x}")
    check_terms(operation, weight[1])
    return (*x[:-1], weight[0])


def pool_spec(
    operation: str, signs: Shape, kernel_size: int | Pair, stride: int | Pair, padding: Any
) -> MaxPool:
    """Check options, and the shape of ``signs`` (N, H, W, C) or (H, W, C)."""
    layout = image_layout(operation, signs, "NHWC", (3, 4))
    n, c, h, w = layout.sizes(signs)
    geometry = window(operation, (h, w), kernel_size, stride, padding, 1)
    shape = words_shape(layout.shape(n, c, *geometry.output))
    check_out(operation, None, shape, np.uint64)
    return MaxPool(words_shape(signs), geometry, shape)


@remembered
def conv_spec(
    options: tuple[Any, ...], operation: str, image: Shape, packed: bool, weight: Shape
) -> BinaryConv:
    """What shapes and options of a binary convolution mean, to be :func:`completed`.

    Parameters
    ----------
    options : tuple
        data_format, stride, padding, dilation, groups, pad_value.
    operation : str
    image : tuple of int
        Shape of x, or of its signs.
    packed : bool
        Whether x is packed.
    weight : tuple of int
        Shape of the filters.
    """
    data_format, stride, padding, dilation, groups, pad_value = options
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
    return BinaryConv(
        n, channels, filters, parts, outside, geometry, source, given, shape, logical, None, PLAIN.outcome
    )
