"""XNOR products, convolutions and pooling on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv._checks import float_result
from fastconv._epilogue import PLAIN, Epilogue, finished, output, with_alpha
from fastconv._geometry import ImageLayout, Window
from fastconv._layer import Layer
from fastconv._shared import expressions
from fastconv.cpu import bits
from fastconv.cpu._images import max_pool
from fastconv.cpu._operands import (
    bordered,
    filter_tiles,
    mean_magnitude,
    pack_filters,
    packed_rows,
    padded_words,
)
from fastconv.cpu._products import (
    line_window,
    mean_magnitudes,
    multiply,
    multiply_image,
    pairs_of,
    settled_product,
    store_arguments,
    with_target,
)
from fastconv.cpu._threads import SMALL, scratch
from fastconv.cpu.arrays import Array, deliver, native, result, stacked
from fastconv.cpu.simd import LANES
from fastconv.packed import PackedFilters, PackedSigns

FEW_CHANNELS = 12
"""Up to this many channels per word of full vectors of filters, lanes run over pixels: a tap and channel then
take one operation on 64 pixels, a tap and word of the tiles three on 8 filters, half-filled or not. So a
single filter always has its lanes over pixels."""


def xnor_matmul(
    a: Array | PackedSigns, b: Array | PackedSigns, batch: tuple[int, ...], shape: tuple[int, ...], out: Any
) -> Array:
    inputs = [x.words if isinstance(x, PackedSigns) else x for x in (a, b)]
    target = result(out, shape, np.int32, *inputs)
    if target.size:
        k = a.shape[-1]
        left = packed_rows(a, -1)
        right = packed_rows(b, -2 if len(b.shape) > 1 else -1)
        m, n, depth = left.shape[-2], right.shape[-2], left.shape[-1]
        count = prod(batch)
        if prod(right.shape[:-2]) == 1:
            right = right.reshape(n, depth)
        if right.ndim > 2:  # each product has filters of its own, as the groups of a convolution have
            groups, rows = count, m
            left = np.broadcast_to(left, (*batch, m, depth))
            right = np.broadcast_to(right, (*batch, n, depth))
        else:
            groups, rows = 1, count * m
        tiles = filter_tiles(right.reshape(groups * n, 1, 1, depth), groups)
        strides = (groups * rows * n, rows * n, 1, n)
        store = store_arguments(PLAIN, None, groups, n, rows, strides, target)
        multiply(left.reshape(1, groups, 1, rows, depth), tiles, n, k, line_window(rows), store)
    return deliver(target, out)


def xnor_linear(
    x: Array | PackedSigns,
    weight: Array | PackedSigns | PackedFilters,
    filters: int,
    epilogue: Epilogue,
    shape: tuple[int, ...],
    out: Array | None,
) -> Any:
    k = x.shape[-1]
    rows = prod(x.shape[:-1])
    epilogue = with_alpha(epilogue, weight, mean_magnitude)
    target = output(result, epilogue, shape, shape, out, x, weight)
    if target.size:
        if isinstance(weight, PackedFilters):
            tiles = weight.derived(("tiles", 1), lambda: filter_tiles(weight.words, 1))
        else:
            packed = packed_rows(weight, -1)
            tiles = filter_tiles(packed.reshape(filters, 1, 1, packed.shape[-1]), 1)
        factor = None
        if epilogue.by_window:
            factor = np.empty(rows, epilogue.dtype)
            image = np.asarray(x).reshape(1, 1, rows, k)
            mean_magnitudes(image, ImageLayout(4, True), line_window(rows), 1, factor)
        words = packed_rows(x, -1).reshape(1, 1, 1, rows, -(-k // 64))
        strides = (rows * filters, 0, 1, filters)
        store = store_arguments(epilogue, factor, 1, filters, rows, strides, target)
        multiply(words, tiles, filters, k, line_window(rows), store)
    return finished(deliver(target, out), epilogue, filters)


def xnor_conv2d(
    x: Array | PackedSigns, weight: Array | PackedFilters, layer: Layer, epilogue: Epilogue, out: Array | None
) -> Any:
    geometry, groups, c, o = layer.geometry, layer.groups, layer.channels, layer.filters
    if isinstance(weight, PackedFilters):
        filters = weight
    else:
        filters = pack_filters(weight.reshape(o, c, *geometry.kernel), 1)
    epilogue = with_alpha(epilogue, filters, mean_magnitude)
    target = output(result, epilogue, layer.shape, layer.logical, out, x, weight)
    if target.size:
        positions, part = geometry.positions, o // groups
        factor = None
        if epilogue.by_window:
            factor = np.empty((layer.images, groups, positions), epilogue.dtype)
            mean_magnitudes(np.asarray(x), layer.source, geometry, groups, factor)
        store = store_arguments(epilogue, factor, groups, part, positions, _strides(layer), target)
        if _lanes_over_pixels(c, part):
            multiply_image(x.unpack() if isinstance(x, PackedSigns) else x, filters, layer, store)
        else:
            words = padded_words(x, layer)
            tiles = filters.derived(("tiles", groups), lambda: filter_tiles(filters.words, groups))
            multiply(words, tiles, part, c * geometry.taps, geometry, store, filters, layer.pad_value)
    return finished(deliver(target, out), epilogue, o)


def settled_conv2d(filters: PackedFilters, layer: Layer, epilogue: Epilogue) -> Callable[[Array], Array]:
    """:func:`xnor_conv2d` of the words of signs, its result an array, too, and nothing of it "by_window".

    For the layer of a network, whose calls come again and again, and would take as long to find out what to
    do as to do it.
    """
    geometry, c, o = layer.geometry, layer.channels, layer.filters
    template = output(result, epilogue, layer.shape, layer.logical, None)
    if layer.groups > 1 or _lanes_over_pixels(c, o) or not template.size:
        return expressions.settled_conv2d(xnor_conv2d, filters, layer, epilogue)
    shape, dtype, depth = template.shape, template.dtype, -(-c // 64)
    source, padded = (layer.images, 1, *geometry.size, depth), (layer.images, 1, *geometry.padded, depth)
    tiles = filters.derived(("tiles", 1), lambda: filter_tiles(filters.words, 1))
    store = store_arguments(epilogue, None, 1, o, geometry.positions, _strides(layer), template)
    terms = c * geometry.taps
    multiply = settled_product(padded, tiles, o, terms, geometry, store, filters, layer.pad_value)

    def run(words: Array) -> Array:
        target = np.empty(shape, dtype)
        multiply(bordered(words.reshape(source), layer), with_target(store, target))
        return target

    return run


def activation_scale(
    x: Array, geometry: Window, groups: int, layout: ImageLayout, shape: tuple[int, ...]
) -> Array:
    n = layout.sizes(x.shape)[0]
    means = np.empty(shape, float_result(x.dtype))
    if layout.channels_last and layout.rank > 2:
        planes = np.empty((n, groups, geometry.positions), means.dtype)
        mean_magnitudes(x, layout, geometry, groups, planes)
        means.reshape(n, geometry.positions, groups)[...] = planes.transpose(0, 2, 1)
    else:
        mean_magnitudes(x, layout, geometry, groups, means.reshape(n, groups, geometry.positions))
    return means


def fold_batchnorm(
    *, gamma: Array, beta: Array, mean: Array, var: Array, eps: Any, alpha: Array, bias: Array, n: int
) -> tuple[Array, Array]:
    def values(y: NDArray[np.int64]) -> Any:
        return (alpha * y.astype(np.float32) + bias) * slope + offset

    with np.errstate(over="ignore", invalid="ignore"):
        slope = gamma * (np.float32(1) / np.sqrt(var + eps))
        offset = beta - mean * slope
        low, high = np.full(gamma.shape, -n, np.int64), np.full(gamma.shape, n, np.int64)
        if not np.isfinite([values(low), values(high)]).all():
            raise ValueError(f"fold_batchnorm: the chain overflows float32 for y within [{-n}, {n}]")
        first, last = values(low) >= 0, values(high) >= 0
        # rounding keeps the order, so the bit changes once at most: halve the interval that holds it
        while (high - low > 1).any():
            middle = low + (high - low) // 2
            like_last = (values(middle) >= 0) == last
            low, high = np.where(like_last, low, middle), np.where(like_last, middle, high)
    constant = first == last
    tau = np.where(constant, np.iinfo(np.int32).min, high).astype(np.int32)
    return tau, ~last


def binary_max_pool2d(words: Array, geometry: Window, shape: tuple[int, ...]) -> Array:
    width = words.shape[-1]
    target = np.empty((*shape[:-1], width), np.uint64)
    if target.size:
        images, serially = stacked(native(words), 3), words.nbytes <= SMALL
        lines = scratch((geometry.size[1] * width, np.uint64), serially=serially)
        max_pool(images, *pairs_of(geometry), *lines, stacked(target, 3), serially=serially)
    return target


def binarize_residual(x: Array, terms: int, axis: int | None) -> list[tuple[Array, Array]]:
    return expressions.binarize_residual(np, bits.pack_signs, x, terms, axis)


def _strides(layer: Layer) -> tuple[int, ...]:
    """Of an image, a group, a filter and a pixel in the result."""
    o, positions = layer.filters, layer.geometry.positions
    part = o // layer.groups
    if layer.target.channels_last:
        return o * positions, part, 1, o
    return o * positions, part * positions, positions, 1


def _lanes_over_pixels(channels: int, filters: int) -> bool:
    words, padded = -(-channels // 64), -(-filters // LANES) * LANES
    return channels * filters <= FEW_CHANNELS * words * padded
