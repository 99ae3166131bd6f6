"""XNOR products, convolutions and pooling on CuPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import cupy
import numpy as np

from fastconv._checks import float_result
from fastconv._epilogue import PLAIN, Epilogue, finished, output, with_alpha
from fastconv._geometry import ImageLayout, Window
from fastconv._layer import Layer
from fastconv._shared import expressions
from fastconv.cuda import bits
from fastconv.cuda._images import grouped_words, max_pool, mean_magnitudes
from fastconv.cuda._problem import Strides, by_group
from fastconv.cuda._products import multiply
from fastconv.cuda.arrays import Array, contiguous, deliver, result
from fastconv.cuda.compile import launch_over
from fastconv.packed import PackedFilters, PackedSigns


def xnor_matmul(
    a: Array | PackedSigns, b: Array | PackedSigns, batch: tuple[int, ...], shape: tuple[int, ...], out: Any
) -> Array:
    inputs = [x.words if isinstance(x, PackedSigns) else x for x in (a, b)]
    target = result(out, shape, np.int32, *inputs)
    if target.size:
        left = _packed_rows(a, -1)
        right = _packed_rows(b, -2 if len(b.shape) > 1 else -1)
        m, n, depth = left.shape[-2], right.shape[-2], left.shape[-1]
        groups, rows = 1, prod(batch) * m
        if prod(right.shape[:-2]) > 1:  # each product has filters of its own, as a group of channels has
            groups, rows = prod(batch), m
            left = cupy.broadcast_to(left, (*batch, m, depth))
            right = cupy.broadcast_to(right, (*batch, n, depth))
        _multiply_rows(left, right, a.shape[-1], groups, rows, PLAIN, None, target)
    return deliver(target, out)


def xnor_linear(
    x: Array | PackedSigns,
    weight: Array | PackedSigns | PackedFilters,
    filters: int,
    epilogue: Epilogue,
    shape: tuple[int, ...],
    out: Array | None,
) -> Any:
    k, rows = x.shape[-1], prod(x.shape[:-1])
    epilogue = with_alpha(epilogue, weight, _mean_magnitude)
    target = output(result, epilogue, shape, shape, out, x, weight)
    if target.size:
        factor = None
        if epilogue.by_window:
            factor = cupy.empty(rows, epilogue.dtype)
            image = contiguous(x).reshape(1, 1, rows, k)
            mean_magnitudes(image, ImageLayout(4, True), _line(rows), 1, factor, channels_last=False)
        right = weight if isinstance(weight, PackedFilters) else _packed_rows(weight, -1)
        _multiply_rows(_packed_rows(x, -1), right, k, 1, rows, epilogue, factor, target)
    return finished(deliver(target, out), epilogue, filters)


def pack_filters(weight: Array, zero: int) -> PackedFilters:
    return PackedFilters(bits.pack_signs(weight, 1, zero), weight.shape[1], _mean_magnitude(weight))


def xnor_conv2d(
    x: Array | PackedSigns, weight: Array | PackedFilters, layer: Layer, epilogue: Epilogue, out: Array | None
) -> Any:
    geometry, groups, o = layer.geometry, layer.groups, layer.filters
    filters = weight
    if not isinstance(weight, PackedFilters):
        filters = pack_filters(weight.reshape(o, layer.channels, *geometry.kernel), 1)
    epilogue = with_alpha(epilogue, filters, _mean_magnitude)
    target = output(result, epilogue, layer.shape, layer.logical, out, x, weight)
    if target.size:
        positions, part = geometry.positions, o // groups
        factor = None
        if epilogue.by_window:
            factor = cupy.empty((layer.images, groups, positions), epilogue.dtype)
            mean_magnitudes(x, layer.source, geometry, groups, factor, channels_last=False)
        strides = Strides(o * positions, part * positions, positions, 1)
        if epilogue.threshold is not None:
            strides = _word_strides(positions, o)
        elif layer.target.channels_last:
            strides = Strides(o * positions, part, 1, o)
        words, steps = grouped_words(x, layer)
        multiply(
            words, steps, filters, groups, layer.images, geometry, layer.pad_value, epilogue, factor, target,
            strides,
        )  # fmt: skip
    return finished(deliver(target, out), epilogue, o)


def settled_conv2d(filters: PackedFilters, layer: Layer, epilogue: Epilogue) -> Callable[[Array], Array]:
    """:func:`xnor_conv2d` of the words of signs, its result an array, too."""
    return expressions.settled_conv2d(xnor_conv2d, filters, layer, epilogue)


def activation_scale(
    x: Array, geometry: Window, groups: int, layout: ImageLayout, shape: tuple[int, ...]
) -> Array:
    means = cupy.empty(shape, float_result(x.dtype))
    last = layout.channels_last and layout.rank > 2
    mean_magnitudes(x, layout, geometry, groups, means, channels_last=last)
    return means


def fold_batchnorm(
    *, gamma: Array, beta: Array, mean: Array, var: Array, eps: Any, alpha: Array, bias: Array, n: int
) -> tuple[Array, Array]:
    """In a kernel, since CuPy's own take numbers below 2**-126 for 0, whose signs are asked for, too."""
    channels = gamma.shape[0]
    tau, flip, bounded = (cupy.empty(channels, dtype) for dtype in (np.int32, np.bool_, np.bool_))
    arrays = [contiguous(p) for p in (gamma, beta, mean, var, alpha, bias)]
    arguments = (*arrays, np.float32(float(eps)), alpha.ndim, bias.ndim, tau, flip, bounded, channels, n)
    launch_over(channels, "fold.cu", "fold_batchnorm", (), arguments)
    if not bounded.all():
        raise ValueError(f"fold_batchnorm: the chain overflows float32 for y within [{-n}, {n}]")
    return tau, flip


def binary_max_pool2d(words: Array, geometry: Window, shape: tuple[int, ...]) -> Array:
    pooled = cupy.empty((*shape[:-1], words.shape[-1]), np.uint64)
    max_pool(words, geometry, pooled)
    return pooled


def binarize_residual(x: Array, terms: int, axis: int | None) -> list[tuple[Array, Array]]:
    return expressions.binarize_residual(cupy, bits.pack_signs, x, terms, axis)


def _mean_magnitude(weight: Array) -> Array:
    return expressions.mean_magnitude(cupy, weight)


def _packed_rows(x: Array | PackedSigns, axis: int) -> Array:
    """Words of ``x`` packed along ``axis``, as a matrix of at least 2 dimensions."""
    words = x.words if isinstance(x, PackedSigns) else bits.pack_signs(x, axis % x.ndim)
    return words if words.ndim > 1 else words.reshape(1, -1)


def _multiply_rows(
    left: Array,
    right: Array | PackedFilters,
    k: int,
    groups: int,
    rows: int,
    epilogue: Epilogue,
    factor: Array | None,
    target: Array,
) -> None:
    """Products of the ``rows`` (groups, rows, w) of ``left`` and ``right``: windows of one tap."""
    if not isinstance(right, PackedFilters):
        count, depth = prod(right.shape[:-1]), right.shape[-1]
        filters = contiguous(right).reshape(count, 1, 1, depth)
        right = PackedFilters(filters, k, cupy.empty(count, np.float32))  # alpha is not looked at any more
    n, geometry = right.shape[0] // groups, _line(rows)
    steps = by_group(groups, geometry, right.words.shape[-1])
    strides = Strides(0, rows * n, 1, n)
    if epilogue.threshold is not None:
        strides = _word_strides(rows, n)
    multiply(contiguous(left), steps, right, groups, 1, geometry, 0, epilogue, factor, target, strides)


def _line(n: int) -> Window:
    """The window of a plain product: n pixels in a row, one tap."""
    return Window((1, n), (1, 1), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, n))


def _word_strides(positions: int, filters: int) -> Strides:
    """Of words of signs, all filters of a pixel together."""
    depth = -(-filters // 64)
    return Strides(positions * depth, 0, 0, depth)
