"""Packing signs: which numbers are +1, said as ranges of keys; see :mod:`fastconv.cpu.bits.pack`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache, partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv._shared import expressions
from fastconv._shared.thresholds import accepted_keys, infinity_key, least_keys
from fastconv._specs.bits import Compare, PackSigns, Shape
from fastconv.cpu.arrays import Array, key_type, native
from fastconv.cpu.bits.pack import Bounds, each_block, key_range, packed_shape, packing, packing_run
from fastconv.cpu.simd import BLOCK


def plan_signs(spec: PackSigns) -> Callable[..., Array]:
    memory, axis, strict = spec.memory, spec.axis, spec.zero == -1
    dtype, packed = memory.dtype.newbyteorder("="), packed_shape(memory.shape, axis)
    number = prod(spec.thresholds) == 1
    if not number and not (dtype.kind == "f" and _by_channel(spec.thresholds, memory.shape, axis)):
        return _signs_by_comparing(spec)
    pack = packing(memory, axis, differ=not number)
    bounds = _bounds_of_number if number else _bounds_of_channels

    def run(x: Array, threshold: Any = 0) -> Array:
        words = np.empty(packed, np.uint64)
        accepted = bounds(dtype, threshold, strict)
        if accepted is None:
            words.fill(0)
        else:
            pack(x=x, low=accepted[0], span=accepted[1], words=words)
        return words

    return run


def _signs_by_comparing(spec: PackSigns) -> Callable[..., Array]:
    """With a threshold for each element, say, or with one for each channel of integers."""
    shape, is_bool = spec.memory.shape, spec.memory.dtype == np.bool_
    compare = np.greater if spec.zero == -1 else np.greater_equal
    pack_masks = _packing_masks(shape, spec.axis)

    def run(x: Array, threshold: Any) -> Array:
        bounds = np.broadcast_to(threshold, shape)

        def mask(index: tuple[slice, ...]) -> Array:
            values = x[index].astype(np.int8) * np.int8(2) - np.int8(1) if is_bool else x[index]
            return np.asarray(compare(values, bounds[index], out=np.empty(values.shape, np.bool_)))

        return pack_masks(mask)

    return run


def plan_compare(spec: Compare) -> Callable[[Array, Array, Array], Array]:
    memory, axis = spec.memory, spec.axis
    dtype, packed = memory.dtype.newbyteorder("="), packed_shape(memory.shape, axis)
    if dtype.kind != "f":
        return _integers_compared(spec)
    pack = packing(memory, axis, differ=True)

    def run(x: Array, tau: Array, flip: Array) -> Array:
        words = np.empty(packed, np.uint64)
        low, span = _compared_ranges(dtype, tau.tobytes(), tau.dtype, flip.tobytes())
        pack(x=x, low=low, span=span, words=words)
        return words

    return run


def _integers_compared(spec: Compare) -> Callable[[Array, Array, Array], Array]:
    axis = spec.axis
    pack_masks = _packing_masks(spec.memory.shape, axis)

    def run(x: Array, tau: Array, flip: Array) -> Array:
        def mask(index: tuple[slice, ...]) -> Array:
            return native(expressions.compared(x[index], axis, tau[index[axis]], flip[index[axis]]))

        return pack_masks(mask)

    return run


def _packing_masks(shape: Shape, axis: int) -> Callable[[Callable[[tuple[slice, ...]], Array]], Array]:
    """What packs the masks that a function makes, contiguous ones, of blocks of an array of ``shape``."""
    kind, whole = np.dtype(np.bool_), packed_shape(shape, axis)
    job_of = cache(partial(packing_run, dtype=kind, axis=axis, differ=False))
    low, span = key_range(kind, 1, 255)

    def run(mask_of: Callable[[tuple[slice, ...]], Array]) -> Array:
        words = np.empty(whole, np.uint64)

        def pack(index: tuple[slice, ...], packed: Array) -> None:
            mask = mask_of(index)
            job_of(mask.shape)(x=mask, low=low, span=span, words=packed)

        each_block(shape, axis, pack, words)
        return words

    return run


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
