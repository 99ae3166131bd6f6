"""Launching the XNOR kernels: putting their arguments in order."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv._arguments import Window
from fastconv._epilogue import Epilogue
from fastconv.cpu._arrays import Array, flat_memory, native, signed
from fastconv.cpu._binary import PIXEL_BLOCK, multiply_words
from fastconv.cpu._images import window_means
from fastconv.cpu._operands import outside_sums, tap_order
from fastconv.cpu._planes import multiply_planes
from fastconv.cpu._plans import numbers, store_numbers, strip_plan, word_plan
from fastconv.cpu._store import INTEGERS, SCALED, SIGNS
from fastconv.cpu._threads import scratch, threads
from fastconv.cpu._tiles import UNIT
from fastconv.packed import PackedFilters

_NO_TABLE = native(np.empty((0, 0), np.int32))
_NO_INTEGERS, _NO_WORDS = np.empty(0, np.int32), np.empty(0, np.uint64)
_NO_TAU, _NO_FLIP = native(_NO_INTEGERS), native(np.empty(0, np.uint8))
_NO_FLOATS = {dtype: np.empty(0, dtype) for dtype in (np.dtype(np.float32), np.dtype(np.float64))}


def multiply(
    words: Array,
    tiles: Array,
    filters: int,
    terms: int,
    geometry: Window,
    store: tuple[Any, ...],
    weight: PackedFilters | None = None,
    pad_value: int = -1,
) -> None:
    """Multiply ``words`` (N, G, Hp, Wp, w), padded by -1, by ``tiles``, and correct that for ``pad_value``
    by what ``weight`` says."""
    n, groups, _, _, depth = words.shape
    whole = store[0][0] == SIGNS and groups > 1
    plan = word_plan(geometry, n, groups, depth, filters, terms, whole, threads())
    outside = _NO_TABLE
    if weight is not None and pad_value != -1 and len(plan.kinds[0]) * len(plan.kinds[1]) > 1:
        outside = weight.derived(
            ("outside", plan.kinds, pad_value), lambda: outside_sums(weight, plan.kinds, pad_value)
        )
    multiply_words(
        native(words.reshape(-1)),
        tiles,
        plan.offsets,
        plan.problem,
        plan.edges,
        outside,
        store,
        *scratch((2 * PIXEL_BLOCK, np.int64), (2 * PIXEL_BLOCK * UNIT, np.int32)),
    )


def multiply_image(
    image: Array,
    filters: PackedFilters,
    geometry: Window,
    groups: int,
    pad_value: int,
    store: tuple[Any, ...],
) -> None:
    """The same from ``image`` (N, C, H, W) itself, lanes running over pixels."""
    values, strict = signed(image)
    flat, origin, steps = flat_memory(values)
    o, channels, _, _ = filters.shape
    by_pixel = store[0][0] == SIGNS or store[0][7] != 1
    plan = strip_plan(geometry, image.shape[0], channels, groups, o // groups, bool(by_pixel), threads())
    multiply_planes(
        flat,
        filters.derived("order", lambda: tap_order(filters)),
        plan.places,
        plan.shifts,
        numbers(image.shape[0], origin, *steps, strict, pad_value),
        plan.shape,
        store,
        *scratch((plan.strip, np.int8), (plan.order, np.int64), (plan.sums, np.int32)),
    )


def store_arguments(
    epilogue: Epilogue,
    factor: Array | None,
    groups: int,
    filters: int,
    positions: int,
    strides: tuple[int, ...],
    target: Array,
) -> tuple[Any, ...]:
    """``epilogue`` as the kernels take it, see ``_store``; ``filters`` of a group; strides of image,
    group, filter and pixel."""
    kind = SIGNS if epilogue.threshold is not None else INTEGERS if epilogue.dtype == np.int32 else SCALED
    dtype = epilogue.dtype if kind == SCALED else np.dtype(np.float32)
    integers, values, signs, tau, flip = _NO_INTEGERS, _NO_FLOATS[dtype], _NO_WORDS, _NO_TAU, _NO_FLIP
    scale = bias = factors = native(values)
    if kind == INTEGERS:
        integers = target.reshape(-1)
    elif kind == SIGNS:
        signs = target.reshape(-1)
        tau, flip = _lengthened(epilogue.threshold.tau), _lengthened(epilogue.threshold.flip.view(np.uint8))
    else:
        values = target.reshape(-1)
        scale, bias = (
            np.full(groups * filters, default, dtype) if given is None else given
            for given, default in ((epilogue.scale, 1), (epilogue.bias, 0))
        )
        scale, bias = native(scale), native(bias)
        if factor is not None:
            factors = native(factor.reshape(-1))
    numbers = store_numbers(kind, groups, filters, positions, *strides)
    return numbers, scale, bias, factors, tau, flip, integers, values, signs


def _lengthened(parameters: Array) -> Array:
    """Room for a kernel to read 64 parameters from any on."""
    longer = np.zeros(parameters.size + UNIT - 1, parameters.dtype.newbyteorder("="))
    longer[: parameters.size] = parameters
    return native(longer)


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
        *scratch((geometry.size[1], np.float64)),
        means.reshape(image.shape[0], groups, *geometry.output),
    )
