"""Bits on NumPy arrays."""

from __future__ import annotations

from math import prod
from typing import Any

import numba
import numpy as np

from fastconv.cpu._arrays import Array, batch_index, computable, deliver, native, result
from fastconv.cpu._images import pack_image
from fastconv.cpu._threads import parallel_kernel, scratch, threads
from fastconv.cpu._vector import (
    BLOCK,
    popcount64,
    popcount_block,
    reverse64,
    sign_bits,
    unpack_block,
)

CHUNK = 4096
"""Elements or words one thread takes at a time: long enough to hide the loop, short enough to share."""


def popcount(x: Array, out: Array | None) -> Array:
    target = result(out, x.shape, np.uint8, x)
    _popcount(computable(x).reshape(-1), target.reshape(-1))
    return deliver(target, out)


def popcount_sum(x: Array, axes: tuple[int, ...], shape: tuple[int, ...], out: Array | None) -> Array:
    # The kernel sums one run of neighbouring axes, the longest; what is left is small and summed by NumPy.
    target = result(out, shape, np.int64, x)
    if not axes:
        np.copyto(target, popcount(x, None))
        return deliver(target, out)
    runs = np.split(np.array(axes), np.flatnonzero(np.diff(axes) > 1) + 1)
    run = max(runs, key=lambda run: prod(x.shape[run[0] : run[-1] + 1]))
    begin, end = int(run[0]), int(run[-1]) + 1
    outer, inner = prod(x.shape[:begin]), prod(x.shape[end:])
    planes = computable(x).reshape(outer, prod(x.shape[begin:end]), inner)
    if inner == 1:
        partial = np.empty((outer, _pieces(planes.shape[1], outer)), np.int64)
        _popcount_rows(planes[:, :, 0], partial)
        sums = partial.sum(axis=1)
    else:
        sums = np.zeros((outer, inner), np.int64)
        _popcount_columns(planes, sums)
    left = tuple(a - (a >= end) * (end - begin) for a in axes if not begin <= a < end)
    sums = sums.reshape(x.shape[:begin] + x.shape[end:]).sum(axis=left)
    np.copyto(target, sums.reshape(shape))
    return deliver(target, out)


def packbits64(x: Array, axis: int, bitorder: str, out: Array | None) -> Array:
    rows = native(np.moveaxis(x, axis, -1))
    n = rows.shape[-1]
    words = np.empty((*rows.shape[:-1], -(-n // 64)), np.uint64)
    if words.size:
        unsigned = rows.view(f"u{x.dtype.itemsize}").reshape(-1, n)
        _pack_rows(unsigned, unsigned.dtype.type(0), True, bitorder == "big", words.reshape(-1))
    return _moved_back(words, axis, out, x)


def unpackbits64(words: Array, axis: int, count: int, bitorder: str, out: Array | None) -> Array:
    rows = native(np.moveaxis(words, axis, -1))
    bits = np.empty((*rows.shape[:-1], count), np.uint8)
    if bits.size:
        _unpack_rows(rows.reshape(-1, rows.shape[-1]), bitorder == "big", bits.reshape(-1, count))
    return _moved_back(bits, axis, out, words)


def pack_signs(x: Array, axis: int, zero: int, threshold: Any) -> Array:
    strict = zero == -1
    bound = _scalar_bound(x, threshold)
    if bound is None:
        values = x.astype(np.int8) * np.int8(2) - np.int8(1) if x.dtype == np.bool_ else x
        mask = values > threshold if strict else values >= threshold
        x, bound, strict = mask.view(np.uint8), 0, True
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    words = np.empty((*shape, -(-x.shape[axis] // 64)), np.uint64)
    if words.size:
        outer, inner = prod(x.shape[:axis]), prod(x.shape[axis + 1 :])
        planes = native(x).reshape(outer, -1, inner)
        bound = planes.dtype.type(bound)
        if inner == 1:
            _pack_rows(planes.reshape(outer, -1), bound, strict, False, words.reshape(-1))
        else:
            _, n, _ = planes.shape
            image = np.array([0, n * inner, inner, inner, 1, 1, inner, n, 0, 0])
            pixels = words.reshape(outer, 1, 1, inner, -1)
            pack_image(planes.reshape(-1), bound, strict, image, pixels, *scratch((BLOCK, np.uint64)))
    return words


def hamming_distance(a: Array, b: Array, batch: tuple[int, ...]) -> Array:
    distances = np.empty(batch, np.int64)
    width = a.shape[-1]
    if not width:
        distances[...] = 0
        return distances
    rows = [native(x).reshape(-1, width) for x in (a, b)]
    own = native(np.empty(0, np.int64))  # row i of the result is row i of an operand that is not broadcast
    index = [own if x.shape[:-1] == batch else native(batch_index(x.shape[:-1], batch)) for x in (a, b)]
    pieces = _pieces(width, distances.size)
    if pieces == 1:
        _hamming_rows(*rows, *index, distances.reshape(-1))
    else:
        partial = np.empty((distances.size, pieces), np.int64)
        _hamming_pieces(*rows, *index, partial)
        partial.sum(axis=1, out=distances.reshape(-1))
    return distances


def _scalar_bound(x: Array, threshold: Any) -> Any:
    """``threshold`` as a scalar that the kernels can compare ``x`` with just as NumPy would, else None."""
    if x.dtype.newbyteorder("=") not in (np.float32, np.float64, np.int8) or np.ndim(threshold) > 0:
        return None
    if threshold == 0:
        return 0
    if x.dtype == np.int8 and not (isinstance(threshold, (int, np.int8)) and -128 <= threshold <= 127):
        return None
    return threshold if np.result_type(x, threshold) == x.dtype.newbyteorder("=") else None


def _pieces(length: int, rows: int) -> int:
    """Into how many pieces to cut each of ``rows`` rows so that all threads have work."""
    if rows >= threads():
        return 1
    return max(1, min(-(-length // CHUNK), 4 * threads()))


def _moved_back(rows: Array, axis: int, out: Array | None, source: Array) -> Array:
    moved = np.moveaxis(rows, -1, axis)
    if out is not None:
        out[...] = moved
        return out
    return rows if moved.shape == rows.shape and moved.flags.c_contiguous else moved.copy()


@parallel_kernel
def _popcount(x, out):
    """x (n,) integers; out (n,) uint8."""
    n = x.size
    for chunk in numba.prange((n + CHUNK - 1) // CHUNK):
        end = min(n, (chunk + 1) * CHUNK)
        i = chunk * CHUNK
        while i + BLOCK <= end:
            popcount_block(x, i, out)
            i += BLOCK
        while i < end:
            out[i] = popcount64(_magnitude(x[i]))
            i += 1


@parallel_kernel
def _popcount_rows(x, partial):
    """x (m, n) integers; partial (m, pieces) int64: the count of each piece of each row."""
    n = x.shape[1]
    pieces = partial.shape[1]
    for task in numba.prange(partial.size):
        row, piece = divmod(np.int64(task), pieces)
        total = np.int64(0)
        for i in range(n * piece // pieces, n * (piece + 1) // pieces):
            total += np.int64(popcount64(_magnitude(x[row, i])))
        partial[row, piece] = total


@parallel_kernel
def _popcount_columns(x, sums):
    """x (outer, n, inner) integers; sums (outer, inner) int64, zeros at the start."""
    outer, n, inner = x.shape
    pieces = (inner + CHUNK - 1) // CHUNK
    for task in numba.prange(outer * pieces):
        o, piece = divmod(np.int64(task), pieces)
        for k in range(n):
            for i in range(piece * CHUNK, min(inner, (piece + 1) * CHUNK)):
                sums[o, i] += np.int64(popcount64(_magnitude(x[o, k, i])))


@parallel_kernel
def _pack_rows(x, threshold, strict, reverse, words):
    """x (m, n); words (m * w,) uint64 with w = ceil(n / 64)."""
    m, n = x.shape
    flat = x.reshape(-1)
    width = (n + 63) // 64
    for chunk in numba.prange((m * width + CHUNK - 1) // CHUNK):
        for i in range(chunk * CHUNK, min(m * width, (chunk + 1) * CHUNK)):
            row, word = divmod(i, width)
            start = row * n + word * 64
            if word * 64 + 64 <= n:
                bits = sign_bits(flat, start, threshold, strict)
            else:
                bits = np.uint64(0)
                for k in range(n - word * 64):
                    v = flat[start + k]
                    bit = v > threshold or (v == threshold and not strict)
                    bits |= np.uint64(bit) << np.uint64(k)
            words[i] = reverse64(bits) if reverse else bits


@parallel_kernel
def _unpack_rows(words, reverse, bits):
    """words (m, w) uint64; bits (m, n) uint8 with n <= 64 * w."""
    m, n = bits.shape
    width = (n + 63) // 64
    flat = bits.reshape(-1)
    for chunk in numba.prange((m * width + CHUNK - 1) // CHUNK):
        for i in range(chunk * CHUNK, min(m * width, (chunk + 1) * CHUNK)):
            row, k = divmod(i, width)
            word = reverse64(words[row, k]) if reverse else words[row, k]
            if k * 64 + 64 <= n:
                unpack_block(word, flat, row * n + k * 64)
            else:
                for j in range(n - k * 64):
                    flat[row * n + k * 64 + j] = (word >> np.uint64(j)) & np.uint64(1)


@parallel_kernel
def _hamming_rows(a, b, rows_a, rows_b, distances):
    """a, b (rows, w) uint64; distances (m,) int64 between rows rows_a[i] of a and rows_b[i] of b,
    or rows i where the index is empty."""
    m = distances.size
    for index in numba.prange((m + CHUNK - 1) // CHUNK):
        chunk = np.int64(index)
        for row in range(chunk * CHUNK, min(m, (chunk + 1) * CHUNK)):
            left = a[rows_a[row] if rows_a.size else row]
            right = b[rows_b[row] if rows_b.size else row]
            total = np.int64(0)
            for k in range(left.size):
                total += np.int64(popcount64(left[k] ^ right[k]))
            distances[row] = total


@parallel_kernel
def _hamming_pieces(a, b, rows_a, rows_b, partial):
    """The same for a few long rows: partial (m, pieces) int64, the distance in each piece of a row."""
    pieces = partial.shape[1]
    n = a.shape[1]
    for task in numba.prange(partial.size):
        row, piece = divmod(np.int64(task), pieces)
        i = rows_a[row] if rows_a.size else row
        j = rows_b[row] if rows_b.size else row
        total = np.int64(0)
        for k in range(n * piece // pieces, n * (piece + 1) // pieces):
            total += np.int64(popcount64(a[i, k] ^ b[j, k]))
        partial[row, piece] = total


@numba.njit
def _magnitude(v):
    """abs(v) as uint64, also of the most negative integer."""
    return np.uint64(v) if v >= 0 else np.uint64(-np.int64(v))
