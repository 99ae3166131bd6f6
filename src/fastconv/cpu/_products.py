"""Launching the XNOR kernels: cutting the work up, and putting their many arguments in order."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv._arguments import Window
from fastconv._epilogue import Epilogue
from fastconv.cpu._arrays import Array, flat_memory, native, signed
from fastconv.cpu._binary import (
    INTEGERS,
    LINE,
    PIXEL_BLOCK,
    SCALED,
    SIGNS,
    TILE_PIXELS,
    UNIT,
    multiply_planes,
    multiply_words,
)
from fastconv.cpu._images import window_means
from fastconv.cpu._threads import scratch, threads
from fastconv.packed import PackedFilters, PackedSigns


def multiply(
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
    rows = np.arange(geometry.output[0]) * (geometry.stride[0] * width * depth)
    columns = np.arange(geometry.output[1]) * (geometry.stride[1] * depth)
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
        rows,
        columns,
        taps.reshape(-1) * depth,
        run,
        np.array([n, groups, words[0, 0].size, filters, terms]),
        np.array([block, splits]),
        *_edges(geometry, sums, outside),
        *_store_arguments(epilogue, factor, strides, target),
        scratch(PIXEL_BLOCK, np.int64),
        scratch(PIXEL_BLOCK * UNIT, np.int32),
    )


def multiply_image(
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
    multiply_planes(
        flat,
        np.array([origin, *steps]),
        strict,
        signs,
        np.array([image.shape[0], groups, *geometry.size, *geometry.output]),
        *pairs_of(geometry),
        pad_value,
        *_store_arguments(epilogue, factor, strides, target),
        scratch(signs.shape[0] // groups * min(LINE, geometry.output[1]), np.int32),
    )


def _store_arguments(
    epilogue: Epilogue, factor: Array | None, strides: tuple[int, ...], target: Array
) -> tuple[Any, ...]:
    """The tail of both kernels' arguments: what to store, its parameters, where, and the strides
    of image, group, filter and pixel."""
    kind = SIGNS if epilogue.threshold is not None else INTEGERS if epilogue.dtype == np.int32 else SCALED
    number = epilogue.dtype if kind == SCALED else np.dtype(np.float32)
    filters = 0 if kind != SCALED else max(a.size for a in (epilogue.scale, epilogue.bias) if a is not None)
    scale = np.ones(filters, number) if epilogue.scale is None else epilogue.scale
    bias = np.zeros(filters, number) if epilogue.bias is None else epilogue.bias
    window = np.empty(0, number) if factor is None else factor.reshape(-1)
    flat, no_numbers, no_words = target.reshape(-1), np.empty(0, np.int32), np.empty(0, np.uint64)
    tau, flip = no_numbers, np.empty(0, np.bool_)
    if kind == SIGNS:
        tau, flip = epilogue.threshold.tau, epilogue.threshold.flip
    parameters = (native(a) for a in (scale, bias, window, tau, flip))
    values, words = (no_numbers, flat) if kind == SIGNS else (flat, no_words)
    return kind, *parameters, np.array(strides), values, words


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


def pairs_of(geometry: Window) -> tuple[Array, ...]:
    """Kernel, stride, dilation and leading padding, as a kernel takes them."""
    (top, _), (left, _) = geometry.padding
    return tuple(
        np.array(pair) for pair in (geometry.kernel, geometry.stride, geometry.dilation, (top, left))
    )


def line_window(n: int) -> Window:
    """The window of a plain product: n pixels in a row, one tap."""
    return Window((1, n), (1, 1), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, n))


def mean_magnitudes(image: Array, geometry: Window, groups: int, means: Array) -> None:
    """means (N, groups, L) = mean(abs) of ``image`` (N, C, H, W) under each window."""
    if image.dtype == np.bool_:
        image = np.broadcast_to(np.float64(1), image.shape)
    values = image if image.dtype.kind == "f" and image.itemsize > 2 else image.astype(np.float64)
    flat, origin, steps = flat_memory(values)
    window_means(
        flat,
        np.array([origin, *steps]),
        np.array([*image.shape[:2], groups, *geometry.size]),
        *pairs_of(geometry),
        scratch(geometry.size[1], np.float64),
        means.reshape(image.shape[0], groups, *geometry.output),
    )
