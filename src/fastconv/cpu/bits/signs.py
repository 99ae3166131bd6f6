"""Packing signs: which numbers are +1, said as ranges of keys; see :mod:`fastconv.cpu.bits.pack`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv._shared import expressions
from fastconv._shared.thresholds import accepted_keys, infinity_key, least_keys
from fastconv._specs.bits import Compare, Memory, PackSigns, Shape
from fastconv.cpu.arrays import Array, blocks, key_type, native
from fastconv.cpu.bits.layouts import packed_last, packing, packing_blocks
from fastconv.cpu.bits.lines import Index, memory_order
from fastconv.cpu.bits.pack import Bounds, key_range
from fastconv.cpu.simd import BLOCK

MASKED = 1 << 19
"""Elements compared at a time: fewer of them take longer to begin than to compare, and the mask of more does
not stay in L2 until it is packed."""

Masks = Callable[[Index], Array]
"""Makes the mask of a block, a contiguous one, of its index."""


def plan_signs(spec: PackSigns) -> Callable[..., Array]:
    memory, axis, strict = spec.memory, spec.axis, spec.zero == -1
    dtype = memory.dtype.newbyteorder("=")
    packed, in_place, places = packed_last(memory.shape, axis)
    number = prod(spec.thresholds) == 1
    if not number and not (dtype.kind == "f" and _by_channel(spec.thresholds, memory.shape, axis)):
        return _signs_by_comparing(spec)
    pack = packing(memory, axis, places, differ=not number)
    bounds = _bounds_of_number if number else _bounds_of_channels

    def run(x: Array, threshold: Any = 0) -> Array:
        words = np.empty(packed, np.uint64)
        accepted = bounds(dtype, threshold, strict)
        if accepted is None:
            words.fill(0)
        else:
            pack(x=x, low=accepted[0], span=accepted[1], words=in_place(words))
        return words

    return run


def _signs_by_comparing(spec: PackSigns) -> Callable[..., Array]:
    """With a threshold for each element, say, or with one for each channel of integers."""
    shape, is_bool = spec.memory.shape, spec.memory.dtype == np.bool_
    compare = np.greater if spec.zero == -1 else np.greater_equal
    order, pack_masks = _packing_masks(spec.memory, spec.axis)

    def run(x: Array, threshold: Any) -> Array:
        turned, bounds = x.transpose(order), np.broadcast_to(threshold, shape).transpose(order)

        def mask(index: Index) -> Array:
            part = turned[index]
            values = part.astype(np.int8) * np.int8(2) - np.int8(1) if is_bool else part
            return np.asarray(compare(values, bounds[index], out=np.empty(values.shape, np.bool_)))

        return pack_masks(mask)

    return run


def plan_compare(spec: Compare) -> Callable[[Array, Array, Array], Array]:
    memory, axis = spec.memory, spec.axis
    dtype = memory.dtype.newbyteorder("=")
    packed, in_place, places = packed_last(memory.shape, axis)
    if dtype.kind != "f":
        return _integers_compared(spec)
    pack = packing(memory, axis, places, differ=True)

    def run(x: Array, tau: Array, flip: Array) -> Array:
        words = np.empty(packed, np.uint64)
        low, span = _compared_ranges(dtype, tau.tobytes(), tau.dtype, flip.tobytes())
        pack(x=x, low=low, span=span, words=in_place(words))
        return words

    return run


def _integers_compared(spec: Compare) -> Callable[[Array, Array, Array], Array]:
    order, pack_masks = _packing_masks(spec.memory, spec.axis)
    along = order.index(spec.axis)

    def run(x: Array, tau: Array, flip: Array) -> Array:
        turned = x.transpose(order)

        def mask(index: Index) -> Array:
            here = index[along]
            return native(expressions.compared(turned[index], along, tau[here], flip[here]))

        return pack_masks(mask)

    return run


def _packing_masks(memory: Memory, axis: int) -> tuple[list[int], Callable[[Masks], Array]]:
    """The order of axes in which arrays with such memory are looked at, and what packs the masks of blocks of
    them."""
    shape, order = memory.shape, memory_order(memory)
    whole, in_place, places = packed_last(shape, axis)
    turned, along = tuple(shape[d] for d in order), order.index(axis)
    pack = packing_blocks(order, axis, places, False)
    low, span = key_range(np.dtype(np.bool_), 1, 255)

    def run(mask_of: Masks) -> Array:
        words = np.empty(whole, np.uint64)
        parts = ((index, mask_of(index)) for index in blocks(turned, MASKED, along))
        pack(parts, low, span, in_place(words))
        return words

    return order, run


def _by_channel(thresholds: Shape, shape: Shape, axis: int) -> bool:
    """Whether there is one threshold for each index of ``axis``."""
    aligned = (*(1,) * (len(shape) - len(thresholds)), *thresholds)
    return prod(thresholds) == aligned[axis] == shape[axis]


def _bounds_of_number(dtype: np.dtype[Any], threshold: Any, strict: bool) -> Bounds | None:
    """What passes one threshold; None if nothing does."""
    number = threshold if isinstance(threshold, (int, float)) else np.reshape(threshold, ())
    accepted = accepted_keys(dtype, number, strict)
    return None if accepted is None or accepted[0] > accepted[1] else key_range(dtype, *accepted)


def _bounds_of_channels(dtype: np.dtype[Any], thresholds: Any, strict: bool) -> Bounds:
    """What passes each of several thresholds."""
    given = np.asarray(thresholds)
    return _passed_ranges(dtype, given.tobytes(), given.dtype, strict)


@lru_cache(maxsize=64)
def _passed_ranges(dtype: np.dtype[Any], thresholds: bytes, kind: np.dtype[Any], strict: bool) -> Bounds:
    """Of each of ``thresholds``, the memory of an array of ``kind``, the floats of ``dtype`` that pass it."""
    least = least_keys(dtype, np.frombuffer(thresholds, kind), strict)
    return _ranges(dtype, least, np.full(least.shape, infinity_key(dtype)))


@lru_cache(maxsize=64)
def _compared_ranges(dtype: np.dtype[Any], tau: bytes, kind: np.dtype[Any], flip: bytes) -> Bounds:
    """The floats v of ``dtype`` for which (v >= tau) xor flip, those two the memory of arrays."""
    least, top = least_keys(dtype, np.frombuffer(tau, kind), False), infinity_key(dtype)
    flipped = np.frombuffer(flip, np.bool_)
    return _ranges(dtype, np.where(flipped, -top, least), np.where(flipped, least - 1, top))


def _ranges(dtype: np.dtype[Any], least: NDArray[np.int64], greatest: NDArray[np.int64]) -> Bounds:
    """Ranges of keys of floats, empty ones among them."""
    nothing, no_key = least > greatest, -(2 ** (8 * dtype.itemsize - 1))
    bounds = np.zeros((2, -(-least.size // BLOCK) * BLOCK), np.int64)
    bounds[:, : least.size] = np.where(nothing, no_key, least), np.where(nothing, 0, greatest - least)
    low, span = bounds.astype(key_type(dtype))
    return low, span
