"""Bits on CuPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from math import prod
from typing import Any

import cupy
import numpy as np

from fastconv._shared import expressions
from fastconv._shared.dimensions import merged
from fastconv._shared.thresholds import accepted_keys
from fastconv._specs.bits import (
    Compare,
    Hamming,
    PackBits,
    PackSigns,
    Popcount,
    PopcountSum,
    UnpackBits,
    memory_of,
)
from fastconv.cuda.arrays import Array, by_memory, contiguous, deliver, reordered, result
from fastconv.cuda.compile import (
    BLOCKS_PER_MULTIPROCESSOR,
    THREADS,
    c_type,
    launch,
    launch_over,
    multiprocessors,
)

SHORT = 16
"""Elements of a row up to which one thread reads it: a warp would leave half its lanes idle."""

WARPS = 32
"""Warps for each multiprocessor among which few long rows are shared: with four loads in flight in each they
keep the memory busy, and no more of them than that add to one result."""

PIECE = 2048
"""Elements of a row that are worth a warp, or a block, of their own."""

DIMENSIONS = 4
"""Of the pairs of rows that the kernel of distances can tell apart."""


def popcount(spec: Popcount, x: Array, out: Array | None = None) -> Array:
    x, order = by_memory(x)
    axes = sorted(order)
    target = result(out if order == axes else None, x.shape, np.uint8, x)
    launch_over(x.size, "popcount.cu", "popcount", _integer_type(x), (x, target, x.size))
    return deliver(reordered(target, order, axes), out)


def popcount_sum(spec: PopcountSum, x: Array, out: Array | None = None) -> Array:
    x, order = by_memory(x)
    kept = [d for d in order if d not in spec.axes]
    summed = [order.index(d) for d in spec.axes]
    sums = _sums(x, summed).reshape([n for d, n in zip(order, x.shape, strict=True) if d in kept])
    return deliver(reordered(sums, kept, sorted(kept)).reshape(spec.shape), out)


def packbits64(spec: PackBits, x: Array, out: Array | None = None) -> Array:
    unsigned = x.view(np.dtype(f"u{x.itemsize}"))
    nonzero = (1, int(np.iinfo(unsigned.dtype).max))
    return _pack(unsigned, spec.axis, nonzero, reverse=spec.bitorder == "big", moved=False, out=out)


def unpackbits64(spec: UnpackBits, words: Array, out: Array | None = None) -> Array:
    words, axis, count = contiguous(words), spec.axis, spec.length
    outer, width, inner = _parts(words.shape, axis)
    bits = result(out, (*words.shape[:axis], count, *words.shape[axis + 1 :]), np.uint8, words)
    reverse = int(spec.bitorder == "big")
    if not bits.size:
        return deliver(bits, out)
    if inner == 1 and count == 64 * width and bits.data.ptr % 16 == 0:
        _unpack(4 * words.size, "unpack_flat", words, bits, words.size, reverse)
    elif inner == 1 and count > SHORT:
        _unpack(words.size, "unpack_rows", words, bits, outer, width, count, reverse)
    else:
        _unpack(words.size, "unpack_columns", words, bits, outer, width, count, inner, reverse)
    return deliver(bits, out)


def signs(spec: PackSigns, x: Array, threshold: Any = 0) -> Array:
    strict = spec.zero == -1
    on_device = isinstance(threshold, cupy.ndarray)  # where a look at its value would wait for the device
    accepted = None if on_device else accepted_keys(x.dtype, threshold, strict)
    if accepted is None:
        compare = cupy.greater if strict else cupy.greater_equal
        signed = cupy.where(x, np.int8(1), np.int8(-1)) if x.dtype == np.bool_ else x
        bounds = cupy.asarray(threshold) if isinstance(threshold, (list, tuple)) else threshold
        x, accepted = compare(signed, bounds), (1, 255)
    return _pack(x, spec.axis, accepted, reverse=False, moved=True, out=None)


def compare(spec: Compare, x: Array, tau: Array, flip: Array) -> Array:
    return pack_signs(expressions.compared(x, spec.axis, tau, flip), spec.axis)


def hamming_distance(spec: Hamming, a: Array, b: Array, out: Array | None = None) -> Array:
    batch, width = spec.batch, a.shape[-1]
    distances = result(out, batch, spec.dtype, a, b)
    if prod(batch) and width:
        a, b = (cupy.broadcast_to(_rows_together(x), (*batch, width)) for x in (a, b))
        _fill_distances(a, b, distances)
    else:
        distances.fill(0)
    return deliver(distances, out)


def _fill_distances(a: Array, b: Array, distances: Array) -> None:
    """``distances`` of the rows of ``a`` and of ``b``, views in which rows may repeat."""
    batch, width, total = distances.shape, a.shape[-1], distances.size
    pairs = merged(batch, _row_steps(a), _row_steps(b))
    if len(pairs) > DIMENSIONS:
        for part in zip(a, b, distances, strict=True):
            _fill_distances(*part)
        return
    sizes, left, right = zip(*[(1, 0, 0)] * (DIMENSIONS - len(pairs)), *pairs, strict=True)
    shift = min((width // 4).bit_length(), 5)  # a lane has two words or more
    pieces = _pieces(-(-total << shift) // 32, width)
    found = distances if pieces == 1 else cupy.zeros(batch, np.uint64)
    arguments = (a, b, found, total, width, pieces, shift, *sizes[1:], *left, *right)
    kind = (f"DISTANCE={c_type(np.dtype(f'u{found.itemsize}'))}",)
    launch_over(total * pieces << shift, "hamming.cu", "hamming", kind, arguments)
    if found is not distances:
        distances[...] = found


def _integer_type(x: Array) -> tuple[str, ...]:
    return (f"ELEMENT={c_type(x.dtype)}", *(("SIGNED",) if x.dtype.kind == "i" else ()))


def _parts(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """``shape`` as (outer, n, inner), n being the length of ``axis``."""
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


def _pieces(warps: int, length: int) -> int:
    """Into how many pieces to cut each of some rows of ``length``, which take ``warps`` as they are."""
    return max(1, min(_all_warps() // max(warps, 1), length // PIECE))


def _all_warps() -> int:
    return WARPS * multiprocessors(cupy.cuda.Device().id)


def _sums(x: Array, axes: list[int]) -> Array:
    """popcount_sum of ``x``, which is contiguous, as a flat array."""
    summed = sorted(d for d in axes if x.shape[d] != 1)
    if not summed:
        return _column_sums(x, 1, 1, x.size)
    between = [d for d in range(summed[0], summed[-1]) if x.shape[d] != 1 and d not in summed]
    n = prod(x.shape[d] for d in summed)
    if between:
        x = contiguous(x.transpose([*(d for d in range(x.ndim) if d not in summed), *summed]))
        return _column_sums(x, x.size // n if n else prod(x.shape[: -len(summed)]), n, 1)
    return _column_sums(x, prod(x.shape[: summed[0]]), n, prod(x.shape[summed[-1] + 1 :]))


def _column_sums(x: Array, outer: int, n: int, inner: int) -> Array:
    """The sums (outer * inner,) over n of ``x`` (outer, n, inner)."""
    results = outer * inner
    file, types = "popcount.cu", _integer_type(x)
    if n <= SHORT or (inner >= 32 and results >= 32 * _all_warps()):
        sums = cupy.empty(results, np.int64)
        launch_over(results, file, "sum_each", types, (x, sums, outer, n, inner))
        return sums
    sums = cupy.zeros(results, np.int64)
    if inner == 1:
        pieces = _pieces(outer, n)
        launch_over(32 * outer * pieces, file, "sum_rows", types, (x, sums, outer, n, pieces))
    elif results:
        size = 16 // x.itemsize
        whole = inner % size == 0 and x.data.ptr % 16 == 0
        vectors = inner // size if whole else inner
        tile = min(vectors, THREADS)
        tasks = outer * -(-vectors // tile)
        pieces = _pieces(tasks * THREADS // 32, n * tile)
        blocks = min(tasks * pieces, BLOCKS_PER_MULTIPROCESSOR * multiprocessors(cupy.cuda.Device().id))
        kernel = "sum_vectors" if whole else "sum_columns"
        launch(file, kernel, types, (blocks,), (THREADS,), (x, sums, outer, n, vectors, pieces))
    return sums


def _pack(
    x: Array, axis: int, accepted: tuple[int, int], *, reverse: bool, moved: bool, out: Array | None
) -> Array:
    """The words, along ``axis`` or moved to the last, of which keys of ``x`` are accepted."""
    x, order = by_memory(x)
    others = [d for d in order if d != axis]
    axes, wanted = ([*others, axis], [*sorted(others), axis]) if moved else (order, sorted(order))
    outer, n, inner = _parts(x.shape, order.index(axis))
    width = -(-n // 64)
    shape = tuple(width if d == axis else x.shape[order.index(d)] for d in axes)
    words = result(out if axes == wanted else None, shape, np.uint64, x)
    if accepted[0] > accepted[1]:
        words.fill(0)
    elif inner > 1 or n <= SHORT:
        steps = (1, width) if moved else (inner, 1)
        arguments = (x, words, outer, n, inner, *steps, *_ranges(x.dtype, *accepted), int(reverse))
        launch_over(words.size, "pack.cu", "pack_columns", _key(x), arguments)
    else:
        _pack_rows(x, outer, n, accepted, reverse, words)
    return deliver(reordered(words, axes, wanted), out)


def _pack_rows(x: Array, rows: int, n: int, accepted: tuple[int, int], reverse: bool, words: Array) -> None:
    """``words`` (rows, ceil(n / 64)) of ``x`` (rows, n)."""
    if n % 64 == 0:  # one row's last word ends where the next row's first begins
        rows, n = 1, x.size
    if rows == 1 and x.itemsize == 1 and x.data.ptr % 16 == 0:
        flip = 128 if x.dtype.kind == "i" else 0  # after which bytes are in the order of the numbers
        bounds = (np.uint32(byte * 0x01010101) for byte in (flip, accepted[0] + flip))
        launch_over(words.size, "pack_bytes.cu", "pack_bytes", (), (x, words, n, *bounds, int(reverse)))
    else:
        arguments = (x, words, rows, n, *_ranges(x.dtype, *accepted), int(reverse))
        launch_over(words.size, "pack.cu", "pack_rows", _key(x), arguments)


def _key(x: Array) -> tuple[str, ...]:
    return (f"KEY=u{8 * x.itemsize}",)


def _ranges(dtype: np.dtype[Any], low: int, top: int) -> tuple[np.uint64, ...]:
    """The keys ``low`` to ``top`` (see :func:`accepted_keys`) as two ranges of what the bits are as an
    unsigned integer, each its first and its length: for numbers with a sign bit and for those without."""
    negative = 2 ** (8 * dtype.itemsize - 1)
    ranges = [(max(low, 0), top)]
    if dtype.kind == "f" and low <= 0:
        ranges.append((negative, negative - low))
    elif low < 0:
        ranges.append((2 * negative + low, 2 * negative - 1))
    return tuple(np.uint64(v) for first, last in (ranges[0], ranges[-1]) for v in (first, last - first))


def _unpack(threads: int, kernel: str, *arguments: Any) -> None:
    launch_over(threads, "unpack.cu", kernel, (), arguments)


def _rows_together(x: Array) -> Array:
    """``x`` with the words of a row side by side."""
    return x if x.shape[-1] == 1 or x.strides[-1] == x.itemsize else contiguous(x)


def _row_steps(x: Array) -> tuple[int, ...]:
    """The step of each dimension that leads to the next row, 0 where the rows are the same."""
    return tuple(
        0 if n == 1 else step // x.itemsize for n, step in zip(x.shape[:-1], x.strides, strict=False)
    )


PLANNERS: dict[type, Callable[..., Array]] = {
    Popcount: popcount,
    PopcountSum: popcount_sum,
    PackBits: packbits64,
    UnpackBits: unpackbits64,
    PackSigns: signs,
    Compare: compare,
    Hamming: hamming_distance,
}


@lru_cache(maxsize=256, typed=True)
def plan(spec: Any) -> Callable[..., Array]:
    """What computes ``spec``; see :mod:`fastconv._specs.bits` for what to call it with."""
    return partial(PLANNERS[type(spec)], spec)


def pack_signs(x: Array, axis: int, zero: int = 1) -> Array:
    """Words of the signs of ``x`` along ``axis``."""
    return plan(PackSigns(memory_of(x), axis, zero))(x)
