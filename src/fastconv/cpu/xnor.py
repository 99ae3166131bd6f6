"""XNOR products, convolutions and pooling on NumPy arrays."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv._arguments import Epilogue, ImageLayout, Window, float_result
from fastconv.cpu import bits
from fastconv.cpu._arrays import Array, deliver, flat_memory, native, result, signed, stacked
from fastconv.cpu._binary import (
    INTEGERS,
    PIXEL_BLOCK,
    SCALED,
    SIGNS,
    TILE_PIXELS,
    UNIT,
    max_pool,
    multiply_planes,
    multiply_words,
    pack_image,
    window_means,
)
from fastconv.cpu._threads import threads
from fastconv.cpu._vector import LANES
from fastconv.packed import PackedFilters, PackedSigns

FEW_CHANNELS = 24
"""Up to this many channels times filters (8 at most) per group, lanes run over pixels: a tile does 3
operations on 8 filters for a word of up to 64 channels, the other way 3 on 16 pixels for each channel."""

LINE = 1024
"""Pixels of a row whose sums one worker keeps when lanes run over pixels: 4 KiB a filter."""


def xnor_matmul(
    a: Array | PackedSigns, b: Array | PackedSigns, batch: tuple[int, ...], shape: tuple[int, ...], out: Any
) -> Array:
    inputs = [x.words if isinstance(x, PackedSigns) else x for x in (a, b)]
    target = result(out, shape, np.int32, *inputs)
    if target.size:
        k = a.shape[-1]
        left = _rows(a, -1)
        right = _rows(b, -2 if len(b.shape) > 1 else -1)
        m, n, depth = left.shape[-2], right.shape[-2], left.shape[-1]
        count = prod(batch)
        if right.ndim > 2:  # each product has filters of its own, as the groups of a convolution have
            groups, rows = count, m
            left = np.broadcast_to(left, (*batch, m, depth))
            right = np.broadcast_to(right, (*batch, n, depth))
        else:
            groups, rows = 1, count * m
        tiles = filter_tiles(right.reshape(groups * n, 1, 1, depth), groups)
        _multiply(
            left.reshape(1, groups, 1, rows, depth), tiles, n, k, _line(rows), None,
            Epilogue(target.dtype, None, False, None, None), (groups * rows * n, rows * n, 1, n), target,
        )  # fmt: skip
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
    epilogue = _with_alpha(epilogue, weight if isinstance(weight, PackedFilters) else None, weight)
    target = _output(epilogue, shape, shape, out, x, weight)
    if target.size:
        if isinstance(weight, PackedFilters):
            tiles = weight.derived(("tiles", 1), lambda: filter_tiles(weight.words, 1))
        else:
            packed = _rows(weight, -1)
            tiles = filter_tiles(packed.reshape(filters, 1, 1, packed.shape[-1]), 1)
        factor = None
        if epilogue.by_window:
            means = np.empty(rows, epilogue.dtype)
            _means(np.asarray(x).reshape(1, rows, 1, k).transpose(0, 3, 2, 1), _line(rows), 1, means)
            factor = means
        words = _rows(x, -1).reshape(1, 1, 1, rows, -(-k // 64))
        strides = (rows * filters, 0, 1, filters)
        _multiply(words, tiles, filters, k, _line(rows), factor, epilogue, strides, target)
    return _finish(epilogue, target, out, filters)


def pack_filters(weight: Array, zero: int) -> tuple[Array, Array]:
    words = bits.pack_signs(weight, 1, zero, 0)
    return words, _mean_magnitude(weight)


def xnor_conv2d(
    x: Array | PackedSigns,
    weight: Array | PackedFilters,
    geometry: Window,
    groups: int,
    pad_value: int,
    epilogue: Epilogue,
    source: ImageLayout,
    layout: ImageLayout,
    out: Array | None,
) -> Any:
    filters = weight if isinstance(weight, PackedFilters) else _packed(weight)
    epilogue = _with_alpha(epilogue, filters, None)
    o, c = filters.shape[0], filters.channels
    n = source.sizes(x.shape)[0]
    positions = geometry.positions
    shape = layout.shape(n, o, *geometry.output)
    logical = ImageLayout(max(layout.rank, 3), True).shape(n, o, *geometry.output)
    target = _output(epilogue, shape, logical, out, x, weight)
    if target.size == 0:
        return _finish(epilogue, target, out, o)
    factor = None
    if epilogue.by_window:
        factor = np.empty((n, groups, positions), epilogue.dtype)
        _means(_as_nchw(np.asarray(x), source), geometry, groups, factor)
    last = layout.channels_last
    strides = (o * positions, o // groups if last else o // groups * positions, *((1, o) if last else (positions, 1)))
    if c * min(o // groups, LANES) <= FEW_CHANNELS:
        image = x.unpack() if isinstance(x, PackedSigns) else x
        _multiply_few(_as_nchw(image, source), filters, geometry, groups, pad_value, factor, epilogue, strides, target)
    else:
        words = _padded_words(x, source, geometry, groups)
        tiles = filters.derived(("tiles", groups), lambda: filter_tiles(filters.words, groups))
        sums = filters.derived("sums", lambda: _tap_sums(filters)) if words.shape[2:4] != geometry.size else None
        _multiply(
            words, tiles, o // groups, c * geometry.taps, geometry, factor, epilogue, strides, target,
            sums, 1 + pad_value,
        )  # fmt: skip
    return _finish(epilogue, target, out, o)


def activation_scale(
    x: Array, geometry: Window, groups: int, layout: ImageLayout, shape: tuple[int, ...]
) -> Array:
    n = layout.sizes(x.shape)[0]
    means = np.empty((n, groups, geometry.positions), float_result(x.dtype))
    _means(_as_nchw(x, layout), geometry, groups, means)
    if layout.channels_last and layout.rank > 2:
        means = means.transpose(0, 2, 1)
    return np.ascontiguousarray(means).reshape(shape)


def fold_batchnorm(
    *, gamma: Array, beta: Array, mean: Array, var: Array, eps: Any, alpha: Array, bias: Array, n: int
) -> tuple[Array, Array]:
    slope = gamma * (np.float32(1) / np.sqrt(var + eps))
    offset = beta - mean * slope

    def values(y: NDArray[np.int64]) -> Array:
        return (alpha * y.astype(np.float32) + bias) * slope + offset

    with np.errstate(over="ignore", invalid="ignore"):
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
        images = stacked(native(words), 3)
        max_pool(images, *_pairs(geometry), stacked(target, 3))
    return target


def binarize_residual(x: Array, terms: int, axis: int | None) -> list[tuple[Array, Array]]:
    rest = x.astype(float_result(x.dtype))
    if x.dtype == np.bool_:
        rest = rest * 2 - 1
    others = None if axis is None else tuple(d for d in range(x.ndim) if d != axis)
    found = []
    for _ in range(terms):
        mean = np.abs(rest).mean(axis=others, dtype=np.float64, keepdims=True) if rest.size else np.zeros((1,) * x.ndim)
        scale = mean.astype(rest.dtype)
        words = bits.pack_signs(rest, x.ndim - 1, 1, 0)
        found.append((scale.reshape(() if axis is None else -1), words))
        rest = rest - np.where(rest >= 0, scale, -scale)
    return found


def filter_tiles(words: Array, groups: int) -> Array:
    """Filters (O, kh, kw, w) as blocks of 8 side by side: (groups, blocks, kh * kw * w, 8)."""
    o = words.shape[0] // groups
    depth = prod(words.shape[1:])
    blocks = -(-o // LANES)
    padded = np.zeros((groups, blocks * LANES, depth), np.uint64)
    padded[:, :o] = words.reshape(groups, o, depth)
    return np.ascontiguousarray(padded.reshape(groups, blocks, LANES, depth).swapaxes(2, 3))


def _tap_sums(filters: PackedFilters) -> Array:
    """Sums of the filters' signs over all taps above and left of each: (kh + 1, kw + 1, O) int32."""
    o, c, kh, kw = filters.shape
    signs = 2 * np.bitwise_count(filters.words).sum(axis=-1, dtype=np.int64) - c
    sums = np.zeros((kh + 1, kw + 1, o), np.int32)
    sums[1:, 1:] = signs.transpose(1, 2, 0).cumsum(axis=0).cumsum(axis=1)
    return sums


def _multiply(
    words: Array,
    tiles: Array,
    filters: int,
    terms: int,
    geometry: Window,
    factor: Array | None,
    epilogue: Epilogue,
    strides: tuple[int, ...],
    target: Array,
    sums: Array | None = None,
    outside: int = 0,
) -> None:
    """Multiply ``words`` (N, G, Hp, Wp, w), padded, by ``tiles``, and store what ``epilogue`` makes of it."""
    n, groups, _, width, depth = words.shape
    y, x = np.divmod(np.arange(geometry.positions), geometry.output[1])
    pixels = (y * geometry.stride[0] * width + x * geometry.stride[1]) * depth
    taps = np.arange(geometry.kernel[0])[:, None] * geometry.dilation[0] * width
    run = geometry.kernel[1] * depth
    if geometry.dilation[1] > 1:
        taps = taps + np.arange(geometry.kernel[1]) * geometry.dilation[1]
        run = depth
    workers = threads()
    block = min(PIXEL_BLOCK, -(-geometry.positions // (TILE_PIXELS * workers)) * TILE_PIXELS)
    blocks = n * -(-geometry.positions // block)
    units = groups * -(-filters // UNIT)
    whole = epilogue.threshold is not None and groups > 1  # groups share words, so one task does all
    splits = 1 if whole else min(units, -(-4 * workers // blocks))
    multiply_words(
        native(words).reshape(-1),
        native(tiles),
        pixels,
        taps.reshape(-1) * depth,
        run,
        np.array([n, groups, words[0, 0].size, filters, terms]),
        np.array([block, splits]),
        *_edges(geometry, sums, outside),
        *_store_arguments(epilogue, factor, strides, target),
        np.empty((workers, PIXEL_BLOCK * UNIT), np.int32),
    )


def _multiply_few(
    image: Array,
    filters: PackedFilters,
    geometry: Window,
    groups: int,
    pad_value: int,
    factor: Array | None,
    epilogue: Epilogue,
    strides: tuple[int, ...],
    target: Array,
) -> None:
    """The same from ``image`` (N, C, H, W) itself, lanes running over pixels."""
    values, strict = signed(image)
    flat, origin, steps = flat_memory(values)
    signs = filters.derived(
        "signs", lambda: native(PackedSigns(filters.words, filters.channels).unpack().transpose(0, 3, 1, 2))
    )
    workers = threads()
    multiply_planes(
        flat,
        np.array([origin, *steps]),
        strict,
        signs,
        np.array([image.shape[0], groups, *geometry.size, *geometry.output]),
        *_pairs(geometry),
        pad_value,
        *_store_arguments(epilogue, factor, strides, target),
        np.empty((workers, signs.shape[0] // groups * min(LINE, geometry.output[1])), np.int32),
    )


def _store_arguments(
    epilogue: Epilogue, factor: Array | None, strides: tuple[int, ...], target: Array
) -> tuple[Any, ...]:
    """The tail of both kernels' arguments: what to store, its parameters, where, and the strides
    of image, group, filter and pixel."""
    number = np.dtype(np.float64) if epilogue.dtype == np.float64 else np.dtype(np.float32)
    nothing = np.empty(0, number)
    words = np.empty(0, np.uint64)
    flat = target.reshape(-1)
    if epilogue.threshold is not None:
        kind, values, words = SIGNS, np.empty(0, np.int32), flat
        tau, flip = native(epilogue.threshold.tau), native(epilogue.threshold.flip)
    else:
        kind = INTEGERS if epilogue.dtype == np.int32 else SCALED
        values, tau, flip = flat, np.empty(0, np.int32), np.empty(0, np.bool_)
    parameters = [
        native(nothing if a is None else a.reshape(-1)) for a in (epilogue.scale, epilogue.bias, factor)
    ]
    return kind, *parameters, native(tau), native(flip), np.array(strides), values, words


def _edges(geometry: Window, sums: Array | None, outside: int) -> tuple[Any, ...]:
    """What corrects the counts at the border, where padding was taken for -1."""
    numbers = np.array(
        [
            *geometry.size, geometry.output[1], *geometry.kernel, *geometry.stride, *geometry.dilation,
            geometry.padding[0][0], geometry.padding[1][0],
        ]
    )  # fmt: skip
    nothing = np.empty((0, 0, 0), np.int32)
    return numbers, native(nothing if sums is None or outside == 0 else sums), outside


def _pairs(geometry: Window) -> tuple[Array, ...]:
    """Kernel, stride, dilation and leading padding, as a kernel takes them."""
    (top, _), (left, _) = geometry.padding
    return tuple(
        np.array(pair) for pair in (geometry.kernel, geometry.stride, geometry.dilation, (top, left))
    )


def _line(n: int) -> Window:
    """The window of a plain product: n pixels in a row, one tap."""
    return Window((1, n), (1, 1), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, n))


def _rows(x: Array | PackedSigns, axis: int) -> Array:
    """Words of ``x`` packed along ``axis``, as a matrix of at least 2 dimensions."""
    words = x.words if isinstance(x, PackedSigns) else bits.pack_signs(x, axis % x.ndim, 1, 0)
    return native(np.atleast_2d(words))


def _packed(weight: Array) -> PackedFilters:
    words, alpha = pack_filters(weight, 1)
    return PackedFilters(words, weight.shape[1], alpha)


def _mean_magnitude(weight: Array) -> Array:
    """mean(abs) of each filter (0 without weights), summed in float64; bool counts as signs."""
    terms = prod(weight.shape[1:])
    if weight.dtype == np.bool_ or terms == 0:
        return np.full(weight.shape[0], float(terms > 0), np.float32)
    with np.errstate(over="ignore"):
        magnitudes = np.abs(weight, dtype=np.float64)
        return (magnitudes.sum(axis=tuple(range(1, weight.ndim))) / terms).astype(np.float32)


def _with_alpha(epilogue: Epilogue, filters: PackedFilters | None, weight: Any) -> Epilogue:
    """``epilogue`` with "alpha" resolved to numbers."""
    if not isinstance(epilogue.scale, str):
        return epilogue
    alpha = filters.alpha if filters is not None else _mean_magnitude(weight)
    return Epilogue(epilogue.dtype, alpha.astype(epilogue.dtype), epilogue.by_window, epilogue.bias, None)


def _output(
    epilogue: Epilogue, shape: tuple[int, ...], logical: tuple[int, ...], out: Any, *operands: Any
) -> Array:
    arrays = [o.words if isinstance(o, (PackedSigns, PackedFilters)) else o for o in operands]
    arrays += [a for a in (epilogue.scale, epilogue.bias) if a is not None]
    if epilogue.threshold is None:
        return result(out, shape, epilogue.dtype, *arrays)
    arrays += [epilogue.threshold.tau, epilogue.threshold.flip]
    words = result(out, (*logical[:-1], -(-logical[-1] // 64)), np.uint64, *arrays)
    words[...] = 0
    return words


def _finish(epilogue: Epilogue, target: Array, out: Array | None, filters: int) -> Any:
    delivered = deliver(target, out)
    return delivered if epilogue.threshold is None else PackedSigns(delivered, filters)


def _as_nchw(x: Array, layout: ImageLayout) -> Array:
    n, c, h, w = layout.sizes(x.shape)
    if layout.channels_last and layout.rank > 2:
        return x.reshape(n, h, w, c).transpose(0, 3, 1, 2)
    return x.reshape(n, c, h, w)


def _means(image: Array, geometry: Window, groups: int, means: Array) -> None:
    """means (N, groups, L) = mean(abs) of ``image`` (N, C, H, W) under each window."""
    if image.dtype == np.bool_:
        image = np.broadcast_to(np.float64(1), image.shape)
    values = image if image.dtype.kind == "f" and image.itemsize > 2 else image.astype(np.float64)
    flat, origin, steps = flat_memory(values)
    window_means(
        flat,
        np.array([origin, *steps]),
        np.array([*image.shape[:2], groups, *geometry.size]),
        *_pairs(geometry),
        np.empty((threads(), geometry.size[1])),
        means.reshape(image.shape[0], groups, *geometry.output),
    )


def _padded_words(
    x: Array | PackedSigns, layout: ImageLayout, geometry: Window, groups: int
) -> Array:
    """Signs of ``x`` as words (N, groups, Hp, Wp, w), each group packed by itself, padding 0."""
    n, c, h, w = layout.sizes(x.shape)
    (top, _), (left, _) = geometry.padding
    height, width = geometry.padded
    depth = -(-(c // groups) // 64)
    if isinstance(x, PackedSigns):
        whole = native(x.words).reshape(n, 1, h, w, -(-c // 64))
        if groups > 1:
            whole = _regrouped(x, (n, h, w), c, groups)
        if (height, width) == (h, w):
            return whole
        words = np.zeros((n, groups, height, width, depth), np.uint64)
        words[:, :, top : top + h, left : left + w] = whole
        return words
    allocate = np.empty if (height, width) == (h, w) else np.zeros
    words = allocate((n, groups, height, width, depth), np.uint64)
    if not words.size:
        return words
    image, strict = signed(_as_nchw(x, layout))
    flat, origin, steps = flat_memory(image)
    if 1 not in (steps[1], steps[3]):
        flat, origin, steps = flat_memory(native(image))
    pack_image(
        flat,
        np.array([origin, *steps]),
        np.array([h, w, c // groups, top, left]),
        strict,
        words,
    )
    return words


def _regrouped(x: PackedSigns, size: tuple[int, int, int], channels: int, groups: int) -> Array:
    """Words packed over all channels, packed anew for each group: (N, groups, H, W, w)."""
    n, h, w = size
    ones = bits.unpackbits64(x.words, x.words.ndim - 1, channels, "little", None)
    grouped = ones.reshape(n, h, w, groups, channels // groups).transpose(0, 3, 1, 2, 4)
    return bits.packbits64(grouped, 4, "little", None)
