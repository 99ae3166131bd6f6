"""Bits on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from fastconv._shared import expressions
from fastconv._shared.thresholds import accepted_keys, infinity_key, least_keys
from fastconv.cpu._bit_vectors import in_range, range_bits, reverse64, unpack_block
from fastconv.cpu._counting import COPIED, fill_counts, sum_ones
from fastconv.cpu._distances import fill_distances
from fastconv.cpu._images import pack_image
from fastconv.cpu._threads import SMALL, parallel_kernel, scratch
from fastconv.cpu.arrays import Array, blocks, deliver, key_type, native, readable, result
from fastconv.cpu.simd import BLOCK

CHUNK = 4096
"""Pixels or words one thread takes at a time: long enough to hide the loop, short enough to share."""

RUN = 4
"""Words of a row from which on a loop of their own pays, which costs 10 ns to enter."""

SMALL_PACKED = 1 << 20
"""Bytes in long rows up to which one thread packs them sooner than two: 1 MiB of bool takes it 17 us, and two
threads 24 us."""


def popcount(x: Array, out: Array | None) -> Array:
    target = result(out, x.shape, np.uint8, x)
    fill_counts(x, target)
    return deliver(target, out)


def popcount_sum(x: Array, axes: tuple[int, ...], shape: tuple[int, ...], out: Array | None) -> Array:
    target = result(out, shape, np.int64, x)
    if target.size:
        np.copyto(target, (sum_ones(x, axes) if axes else popcount(x, None)).reshape(shape))
    return deliver(target, out)


def packbits64(x: Array, axis: int, bitorder: str, out: Array | None) -> Array:
    unsigned = x.view(np.dtype(f"u{x.dtype.itemsize}").newbyteorder(x.dtype.byteorder))
    shape = (*x.shape[:axis], *x.shape[axis + 1 :], -(-x.shape[axis] // 64))
    last = axis == x.ndim - 1
    words = result(out if last else None, shape, np.uint64, x)
    _pack(unsigned, axis, 1, False, words)
    if bitorder == "big":
        _reverse(words.reshape(-1), serially=words.nbytes <= SMALL)
    return deliver(words, out) if last else _moved_back(words, axis, out)


def unpackbits64(words: Array, axis: int, count: int, bitorder: str, out: Array | None) -> Array:
    last = axis == words.ndim - 1
    rows = native(words if last else np.moveaxis(words, axis, -1))
    bits = result(out if last else None, (*rows.shape[:-1], count), np.uint8, words)
    if bits.size:
        flat = rows.reshape(-1, rows.shape[-1])
        _unpack_rows(flat, bitorder == "big", bits.reshape(-1, count), serially=bits.nbytes <= SMALL)
    return deliver(bits, out) if last else _moved_back(bits, axis, out)


def pack_signs(x: Array, axis: int, zero: int, threshold: Any) -> Array:
    shape = (*x.shape[:axis], *x.shape[axis + 1 :], -(-x.shape[axis] // 64))
    words = np.empty(shape, np.uint64)
    _pack(x, axis, _aligned(threshold, x.shape, axis), zero == -1, words)
    return words


def settled_comparison(x: Array, axis: int, tau: Array, flip: Array) -> Callable[[Array], Array]:
    """Words of (v >= tau) xor flip, and 0 for NaN, of arrays like ``x``; tau and flip (n,) along ``axis``."""
    order = _from_slow_to_fast(x)
    others = [d for d in order if d != axis]
    turned, dtype = x.transpose(order), x.dtype
    if not (readable(turned) and others == sorted(others) and dtype.kind == "f" and x.size):
        return lambda x: pack_signs(expressions.compared(x, axis, tau, flip), axis, 1, 0)
    least, top = least_keys(dtype, tau, False), infinity_key(dtype)
    bounds = _channel_bounds(dtype, np.where(flip, -top, least), np.where(flip, least - 1, top))
    image, planes = _planes(turned.shape, order.index(axis))
    shape, kind = (*(x.shape[d] for d in others), -(-x.shape[axis] // 64)), key_type(dtype)
    serially = x.nbytes <= SMALL

    def run(x: Array) -> Array:
        words = np.empty(shape, np.uint64)
        keys = native(x.transpose(order)).view(kind).reshape(-1)
        own = scratch((BLOCK, np.uint64), serially=serially)
        pack_image(keys, *bounds, image, words.reshape(*planes, -1), *own, serially=serially)
        return words

    return run


def hamming_distance(a: Array, b: Array, batch: tuple[int, ...]) -> Array:
    distances = np.empty(batch, np.int64)
    if not a.shape[-1]:
        distances[...] = 0
    elif distances.size:
        fill_distances(a, b, distances)
    return distances


def _moved_back(rows: Array, axis: int, out: Array | None) -> Array:
    moved = np.moveaxis(rows, -1, axis)
    if out is None:
        return moved.copy()
    out[...] = moved
    return out


def _aligned(threshold: Any, shape: tuple[int, ...], axis: int) -> Any:
    """``threshold`` as one number, as one for each index of ``axis`` (n,), or in all dimensions."""
    if not np.ndim(threshold):
        return threshold
    given = np.asarray(threshold)
    given = given.reshape((1,) * (len(shape) - given.ndim) + given.shape)
    along = given.shape[axis]
    return given.reshape(along) if given.size == along == shape[axis] else given


def _pack(x: Array, axis: int, threshold: Any, strict: bool, words: Array) -> None:
    """words (..., w) = the bits x >= threshold (> if strict) along ``axis`` of x (..., n, ...), threshold as
    :func:`_aligned` gives it."""
    if not words.size:
        return
    n, inner = x.shape[axis], prod(x.shape[axis + 1 :])
    dtype = x.dtype.newbyteorder("=")
    bounds = None
    if not readable(x):
        if np.ndim(threshold) <= 1 and _pack_turned(x, axis, threshold, strict, words):
            return
    elif np.ndim(threshold) == 1 and dtype.kind == "f":
        bounds = _remembered_bounds(dtype, threshold.tobytes(), threshold.dtype, strict)
    elif np.ndim(threshold) == 0:
        accepted = accepted_keys(dtype, threshold, strict)
        if accepted is not None and accepted[0] > accepted[1]:
            words[...] = 0
            return
        bounds = None if accepted is None else _bounds(dtype, *accepted)
    if bounds is None:
        _pack_masks(x, axis, threshold, strict, words)
        return
    keys = native(x).view(key_type(dtype))
    if inner == 1 and np.ndim(threshold) == 0:
        rows = keys.reshape(-1, n) if n % 64 else keys.reshape(1, -1)  # whole words follow one another
        serially = x.nbytes <= (SMALL_PACKED if rows.shape[1] >= RUN * 64 else SMALL)
        _pack_rows(rows, *bounds, words.reshape(-1), serially=serially)
        return
    image, planes = _planes(x.shape, axis)
    serially = x.nbytes <= SMALL
    own = scratch((BLOCK, np.uint64), serially=serially)
    pack_image(keys.reshape(-1), *bounds, image, words.reshape(*planes, -1), *own, serially=serially)


def _planes(shape: tuple[int, ...], axis: int) -> tuple[Array, tuple[int, ...]]:
    """What :func:`pack_image` takes for ``image`` of a contiguous array, and how its words begin."""
    n, inner = shape[axis], prod(shape[axis + 1 :])
    if inner == 1:
        count = prod(shape[:axis])
        return np.array([0, 0, 1, 0, n, 1, count, n, 0, 0]), (1, 1, 1, count)
    return np.array([0, n * inner, inner, inner, 1, 1, inner, n, 0, 0]), (prod(shape[:axis]), 1, 1, inner)


def _pack_turned(x: Array, axis: int, threshold: Any, strict: bool, words: Array) -> bool:
    """:func:`_pack` if ``x`` can be read with its axes in another order; whether it could."""
    order = _from_slow_to_fast(x)
    turned = x.transpose(order)
    if not readable(turned):
        return False
    others = [d for d in order if d != axis]
    if others == sorted(others):
        _pack(turned, order.index(axis), threshold, strict, words)
        return True
    packed = np.empty((*(x.shape[d] for d in others), words.shape[-1]), np.uint64)
    _pack(turned, order.index(axis), threshold, strict, packed)
    words[...] = packed.transpose(*np.argsort(others), -1)
    return True


def _from_slow_to_fast(x: Array) -> list[int]:
    """The axes of ``x`` in the order in which its memory runs through them."""
    return sorted(range(x.ndim), key=lambda d: -x.strides[d])


@lru_cache(maxsize=256)
def _bounds(dtype: np.dtype[Any], low: int, top: int) -> tuple[Any, Any]:
    """Least key and length of a range of keys of ``dtype``, as :func:`in_range` takes them."""
    unsigned = np.array([low % 2 ** (8 * dtype.itemsize), top - low], f"u{dtype.itemsize}")
    first, span = unsigned.view(key_type(dtype))
    return first, span


@lru_cache(maxsize=64)
def _remembered_bounds(
    dtype: np.dtype[Any], thresholds: bytes, kind: np.dtype[Any], strict: bool
) -> tuple[Array, Array]:
    """The same of each of ``thresholds``, the memory of an array (n,) of ``kind``."""
    least = least_keys(dtype, np.frombuffer(thresholds, kind), strict)
    return _channel_bounds(dtype, least, np.full(least.shape, infinity_key(dtype)))


def _channel_bounds(
    dtype: np.dtype[Any], least: NDArray[np.int64], greatest: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Ranges of keys of floats (n,), empty ones among them, as :func:`pack_image` takes them."""
    nothing, no_key = least > greatest, -(2 ** (8 * dtype.itemsize - 1))
    bounds = np.zeros((2, -(-least.size // BLOCK) * BLOCK), np.int64)
    bounds[:, : least.size] = np.where(nothing, no_key, least), np.where(nothing, 0, greatest - least)
    low, span = bounds.astype(key_type(dtype))
    return native(low), native(span)


def _pack_masks(x: Array, axis: int, threshold: Any, strict: bool, words: Array) -> None:
    """:func:`_pack` for any layout, type and array of thresholds: NumPy compares, block by block."""
    compare = np.greater if strict else np.greater_equal
    per_element = None
    if np.ndim(threshold):
        by_channel = [-1 if d == axis else 1 for d in range(x.ndim)]
        bounds = threshold.reshape(by_channel) if threshold.ndim == 1 else threshold
        per_element = np.broadcast_to(bounds, x.shape)
    for index in blocks(x.shape, COPIED, axis):
        values = x[index]
        if x.dtype == np.bool_:
            values = values.astype(np.int8) * np.int8(2) - np.int8(1)
        bound = threshold if per_element is None else per_element[index]
        mask = compare(values, bound, out=np.empty(values.shape, np.bool_))
        taken = slice(index[axis].start // 64, -(-index[axis].stop // 64))
        target = words[(*index[:axis], *index[axis + 1 :], taken)]
        packed = np.empty(target.shape, np.uint64)
        _pack(mask, axis, 0, False, packed)
        target[...] = packed


@parallel_kernel
def _pack_rows(x, low, span, words):
    """x (m, n); words (m * w,) uint64 with w = ceil(n / 64)."""
    m, n = x.shape
    flat = x.reshape(-1)
    width = (n + 63) // 64
    for index in numba.prange((m * width + CHUNK - 1) // CHUNK):
        i = np.int64(index) * CHUNK
        end = min(m * width, i + CHUNK)
        row, word = divmod(i, width)
        while i < end:
            start = row * n + word * 64
            done, count = min(n // 64 - word, end - i), min(n - word * 64, 64)
            if done >= RUN:
                _pack_words(flat, start, low, span, words[i : i + done])
            elif start + 64 <= flat.size:
                done, bits = 1, range_bits(flat, start, low, span, 0)
                if count < 64:  # the rest is the next row's
                    bits &= (np.uint64(1) << np.uint64(count)) - np.uint64(1)
                words[i] = bits
            else:
                done, bits = 1, np.uint64(0)
                for k in range(count):
                    bits |= np.uint64(in_range(flat[start + k], low, span)) << np.uint64(k)
                words[i] = bits
            i, word = i + done, word + done
            if word == width:
                row, word = row + 1, 0


@numba.njit
def _pack_words(x, start, low, span, words):
    """Whole words from x[start] on, without a condition: 17 us for 1 MiB of bool in L2, in place of 32."""
    for k in range(words.size):
        words[k] = range_bits(x, start + k * 64, low, span, 0)


@parallel_kernel
def _reverse(words):
    """Reverse the bits of each word."""
    for i in numba.prange(words.size):
        words[i] = reverse64(words[i])


@parallel_kernel
def _unpack_rows(words, reverse, bits):
    """words (m, w) uint64; bits (m, n) uint8 with n <= 64 * w."""
    m, n = bits.shape
    width = (n + 63) // 64
    flat = bits.reshape(-1)
    for index in numba.prange((m * width + CHUNK - 1) // CHUNK):
        chunk = np.int64(index)
        row, k = divmod(chunk * CHUNK, width)
        last = min(m * width, (chunk + 1) * CHUNK)
        end = last // width * n + min(n, last % width * 64)
        for _ in range(chunk * CHUNK, last):
            word = reverse64(words[row, k]) if reverse else words[row, k]
            start = row * n + k * 64
            if start + 64 <= end:  # what is beyond the row is overwritten by the next
                unpack_block(word, flat, start)
            else:
                for j in range(end - start):
                    flat[start + j] = (word >> np.uint64(j)) & np.uint64(1)
            k += 1
            if k == width:
                row, k = row + 1, 0
