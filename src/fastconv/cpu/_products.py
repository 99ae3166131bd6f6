"""Launching the XNOR kernels: putting their arguments in order."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from fastconv._epilogue import Epilogue
from fastconv._geometry import ImageLayout, Window
from fastconv._layer import Layer
from fastconv.cpu._binary import MOST_PIXELS, multiply_words
from fastconv.cpu._images import window_means
from fastconv.cpu._operands import edge_totals, tap_order
from fastconv.cpu._planes import multiply_planes
from fastconv.cpu._plans import REMEMBERED, remembered, strip_plan, word_plan
from fastconv.cpu._store import INTEGERS, KIND, SCALED, SIGNS, stored_by_pixel
from fastconv.cpu._threads import scratch, threads
from fastconv.cpu._tiles import UNIT
from fastconv.cpu.arrays import Array, flat_image, native, sign_keys
from fastconv.packed import PackedFilters

SMALL_PRODUCTS = 2**23
"""Sign products up to which one thread multiplies words: 8 µs on AVX-512; for what a second thread costs, see
``_threads.SMALL``."""

SMALL_SUMS = 2**18
"""The same for lanes of pixels, which take one tap at a time."""

_NO_INTEGERS, _NO_WORDS = np.empty(0, np.int32), np.empty(0, np.uint64)
_NO_TAU, _NO_FLIP = native(_NO_INTEGERS), native(np.empty(0, np.uint8))
_NO_FLOATS = {dtype: np.empty(0, dtype) for dtype in (np.dtype(np.float32), np.dtype(np.float64))}
_NO_FACTORS = {dtype: native(none) for dtype, none in _NO_FLOATS.items()}


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
    settled_product(words.shape, tiles, filters, terms, geometry, store, weight, pad_value)(words, store)


def settled_product(
    shape: tuple[int, ...],
    tiles: Array,
    filters: int,
    terms: int,
    geometry: Window,
    store: tuple[Any, ...],
    weight: PackedFilters | None = None,
    pad_value: int = -1,
) -> Callable[[Array, tuple[Any, ...]], None]:
    """:func:`multiply` for words of ``shape`` and stores like ``store``, with nothing left to find out."""
    n, groups, _, _, depth = shape
    whole = store[0][KIND] == SIGNS and groups > 1
    small = n * groups * geometry.positions * filters * terms <= SMALL_PRODUCTS
    workers = 1 if small else threads()
    plan = word_plan(
        geometry, n, groups, depth, filters, terms, whole, not stored_by_pixel(store[0]), workers
    )
    totals = plan.totals
    if weight is not None and pad_value != -1 and len(plan.kinds[0]) * len(plan.kinds[1]) > 1:
        totals = weight.derived(
            ("totals", plan.kinds, groups, pad_value),
            lambda: edge_totals(weight, plan.kinds, groups, pad_value),
        )
    fixed = tiles, plan.offsets, plan.problem, plan.edges, totals

    def launch(words: Array, store: tuple[Any, ...]) -> None:
        own = scratch((2 * MOST_PIXELS, np.int64), (2 * UNIT * UNIT, np.int32), serially=small)
        multiply_words(native(words.reshape(-1)), *fixed, store, *own, serially=small)

    return launch


def multiply_image(image: Array, filters: PackedFilters, layer: Layer, store: tuple[Any, ...]) -> None:
    """The same from ``image`` itself, lanes running over pixels."""
    values, low, span = sign_keys(image)
    flat, origin, steps = flat_image(values, layer.source)
    n, channels, groups, geometry = layer.images, layer.channels, layer.groups, layer.geometry
    small = n * geometry.positions * layer.filters * channels * geometry.taps <= SMALL_SUMS
    workers = 1 if small else threads()
    plan = strip_plan(
        geometry, n, channels, groups, layer.filters // groups, stored_by_pixel(store[0]), workers
    )
    rows = (plan.strip, np.int8), (plan.order, np.int64), (plan.sums, np.int32)
    multiply_planes(
        flat,
        low,
        span,
        filters.derived("order", lambda: tap_order(filters)),
        plan.places,
        plan.shifts,
        remembered(n, origin, *steps, layer.pad_value),
        plan.shape,
        store,
        *scratch(*rows, serially=small),
        serially=small,
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
    scale = bias = factors = _NO_FACTORS[dtype]
    if kind == INTEGERS:
        integers = target.reshape(-1)
    elif kind == SIGNS:
        signs = target.reshape(-1)
        tau, flip = epilogue.threshold.tau, epilogue.threshold.flip.view(np.uint8)
        if filters % UNIT:
            tau, flip = _lengthened(tau), _lengthened(flip)
        tau, flip = native(tau), native(flip)
    else:
        values = target.reshape(-1)
        scale, bias = (
            np.full(groups * filters, default, dtype) if given is None else given
            for given, default in ((epilogue.scale, 1), (epilogue.bias, 0))
        )
        scale, bias = native(scale), native(bias)
        if factor is not None:
            factors = native(factor.reshape(-1))
    numbers = remembered(kind, groups, filters, positions, *strides)
    return numbers, scale, bias, factors, tau, flip, integers, values, signs


def with_target(store: tuple[Any, ...], target: Array) -> tuple[Any, ...]:
    """``store`` with ``target`` for its result."""
    place = {INTEGERS: 6, SCALED: 7, SIGNS: 8}[int(store[0][KIND])]
    return *store[:place], target.reshape(-1), *store[place + 1 :]


def _lengthened(parameters: Array) -> Array:
    """Room for a kernel to read 64 parameters from any on."""
    longer = np.zeros(parameters.size + UNIT - 1, parameters.dtype.newbyteorder("="))
    longer[: parameters.size] = parameters
    return longer


@lru_cache(REMEMBERED)
def pairs_of(geometry: Window) -> tuple[Array, ...]:
    """Kernel, stride, dilation and leading padding, as a kernel takes them."""
    (top, _), (left, _) = geometry.padding
    return tuple(
        native(np.array(pair)) for pair in (geometry.kernel, geometry.stride, geometry.dilation, (top, left))
    )


@lru_cache(REMEMBERED)
def line_window(n: int) -> Window:
    """The window of a plain product: n pixels in a row, one tap."""
    return Window((1, n), (1, 1), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, n))


def mean_magnitudes(image: Array, layout: ImageLayout, geometry: Window, groups: int, means: Array) -> None:
    """means (N, G, L) = mean(abs) of ``image`` under each window."""
    if image.dtype == np.bool_:
        image = np.broadcast_to(np.float32(1), image.shape)
    exact = np.dtype(np.float32 if image.itemsize <= 2 else np.float64)  # holds any integer or float16
    values = image if image.dtype.kind == "f" and image.itemsize > 2 else image.astype(exact)
    flat, origin, steps = flat_image(values, layout)
    n, channels, _, _ = layout.sizes(image.shape)
    window_means(
        flat,
        np.array([origin, *steps]),
        np.array([n, channels, groups, *geometry.size]),
        *pairs_of(geometry),
        *scratch((geometry.size[1], np.float64), (geometry.output[1], np.float64)),
        means.reshape(n, groups, *geometry.output),
    )
