"""Sums of bits, and the order in which a sum over any axes reads memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from math import prod
from typing import Any

import numpy as np
from numba import carray

from fastconv._specs.bits import Memory, Popcount, PopcountSum, Shape
from fastconv.cpu.arrays import Array, blocks, deliver, native, one_run, result
from fastconv.cpu.bits.each import CHUNK, counted, magnitude, plan_popcount
from fastconv.cpu.bits.lines import COPIED
from fastconv.cpu.bits.vectors import count_ones, popcount64
from fastconv.cpu.kernels import Job, kernel, own, record, share
from fastconv.cpu.threads import CHUNKS_EACH, SMALL, chunks_of

SUMS = 2048
"""Running sums of a thread: 16 KiB, which stay in L1 beside the elements that are added to them."""

PARTIAL = 1 << 20
"""Sums over some of several axes that may be kept for the last step: 8 MiB."""

Sums = Callable[[Array], Array]


def plan_sum(spec: PopcountSum) -> Callable[..., Array]:
    shape = spec.shape
    add_up = _sums(spec.memory, spec.axes) if spec.axes else plan_popcount(Popcount(spec.memory))

    def run(x: Array, out: Array | None = None) -> Array:
        target = result(out, shape, np.int64, x)
        if target.size:
            np.copyto(target, add_up(x).reshape(shape))
        return deliver(target, out)

    return run


def _sums(memory: Memory, axes: Shape) -> Sums:
    """What sums the ones of arrays over ``axes``, at least one, which go.

    Sums have no order, so axes are taken as they lie in memory, and each from its lower end.
    """
    shape, dtype = memory.shape, memory.dtype
    if 0 in shape:
        return lambda x: np.zeros([n for axis, n in enumerate(shape) if axis not in axes], np.int64)
    if one_run(memory):
        order, flips = list(range(len(shape))), (slice(None),) * len(shape)
    else:
        order = sorted(range(len(shape)), key=lambda axis: -abs(memory.strides[axis]))
        flips = tuple(slice(None, None, -1 if step < 0 else 1) for step in memory.strides)
    turned = Memory(
        tuple(shape[d] for d in order), tuple(abs(memory.strides[d]) for d in order), dtype, memory.aligned
    )
    summed = tuple(sorted(order.index(axis) for axis in axes))
    begin, end = _longest_run(turned.shape, summed)
    few_left = end - begin == len(axes) or prod(shape) // max(prod(turned.shape[begin:end]), 1) <= PARTIAL
    at_once = one_run(turned) and few_left
    in_order = (_contiguous_sums if at_once else _sums_in_blocks)(turned.shape, dtype, summed)
    if one_run(memory):
        return in_order
    kept = [axis for axis in order if axis not in axes]
    back, flips_kept = np.argsort(kept), tuple(flips[axis] for axis in sorted(kept))
    return lambda x: in_order(x[flips].transpose(order)).transpose(back)[flips_kept]


def _longest_run(shape: Shape, axes: Shape) -> tuple[int, int]:
    """Begin and end of the neighbouring ``axes`` (sorted) with most elements."""
    best = (axes[0], axes[0] + 1)
    begin = end = axes[0]
    for axis in axes:
        if axis != end:
            begin = axis
        end = axis + 1
        best = max(best, (begin, end), key=lambda run: prod(shape[run[0] : run[1]]))
    return best


def _sums_in_blocks(shape: Shape, dtype: np.dtype[Any], axes: Shape) -> Sums:
    """Sums of what cannot be read, or summed, in place: of contiguous copies of blocks."""
    kept = tuple(n for axis, n in enumerate(shape) if axis not in axes)
    add_up = cache(partial(_contiguous_sums, dtype=dtype, axes=axes))  # for each shape of a block

    def run(x: Array) -> Array:
        sums = np.zeros(kept, np.int64)
        for index in blocks(shape, COPIED):
            block = native(x[index])
            place = tuple(part for axis, part in enumerate(index) if axis not in axes)
            sums[place] += add_up(block.shape)(block)
        return sums

    return run


def _contiguous_sums(shape: Shape, dtype: np.dtype[Any], axes: Shape) -> Sums:
    """Kernels sum neighbouring axes; what is left is small and summed by NumPy."""
    begin, end = _longest_run(shape, axes)
    outer, n, inner = prod(shape[:begin]), prod(shape[begin:end]), prod(shape[end:])
    across = 1 if inner == 1 else -(-inner // SUMS)
    chunks = chunks_of(-(-outer * n * inner // CHUNK), serially=outer * n * inner * dtype.itemsize <= SMALL)
    enough = outer * across * CHUNKS_EACH >= chunks
    pieces = 1 if enough else -(-chunks // (outer * across))
    numbers = {"outer": outer, "length": n, "pieces": pieces}
    if inner == 1:
        counting, scratch, tasks = count_rows, {}, outer * pieces
    else:
        counting, scratch, tasks = count_columns, {"running": SUMS}, outer * pieces * across
        numbers["inner"] = inner
    job = Job(counting, min(chunks, tasks), {"x": counted(dtype)}, scratch, **numbers)
    rest = tuple(a - (a >= end) * (end - begin) for a in axes if not begin <= a < end)
    kept = shape[:begin] + shape[end:]

    def run(x: Array) -> Array:
        partial_sums = np.empty((outer, pieces, inner), np.int64)
        job(x=x, sums=partial_sums)
        sums: Array = partial_sums if pieces == 1 else partial_sums.sum(axis=1)
        sums = sums.reshape(kept)
        return np.asarray(sums.sum(axis=rest)) if rest else sums

    return run


@kernel(record("x sums", "outer length pieces"), sums=np.int64)
def count_rows(p, chunk, worker):
    """sums (outer, pieces): the ones of each piece of each row of the integers x (outer, length)."""
    n, pieces = p.length, p.pieces
    x, sums = carray(p.x, p.outer * n), carray(p.sums, p.outer * pieces)
    lanes = 64 // x.itemsize
    first, last = share(p, chunk, p.outer * pieces)
    for task in range(first, last):
        row, piece = divmod(task, pieces) if pieces > 1 else (task, 0)
        begin, end = row * n + n * piece // pieces, row * n + n * (piece + 1) // pieces
        vectors = (end - begin) // lanes
        total = count_ones(x, begin, vectors)
        for i in range(begin + vectors * lanes, end):
            total += np.int64(popcount64(magnitude(x[i])))
        sums[task] = total


@kernel(record("x sums running", "outer length inner pieces"), sums=np.int64, running=np.int64)
def count_columns(p, chunk, worker):
    """sums (outer, pieces, inner): the ones over each piece of the length of the integers x (outer, length,
    inner). running: scratch for SUMS sums.

    Few columns are summed as several rows side by side, so that the sums fill vectors.
    """
    n, inner, pieces = p.length, p.inner, p.pieces
    x, result = carray(p.x, p.outer * n * inner), carray(p.sums, p.outer * pieces * inner)
    across = -(-inner // SUMS)
    start, stop = share(p, chunk, p.outer * pieces * across)
    for task in range(start, stop):
        rest, column = task // across, task % across * SUMS
        o, piece = divmod(rest, pieces)
        count = min(SUMS, inner - column)
        side_by_side = SUMS // inner if across == 1 else 1
        step, width = inner * side_by_side, count * side_by_side
        first = (o * n + n * piece // pieces) * inner + column
        last = (o * n + n * (piece + 1) // pieces) * inner - inner + column + count
        sums = own(p, p.running, worker, width)
        sums[:] = 0
        for base in range(first, last, step):
            part = x[base : min(base + width, last)]
            for i in range(part.size):
                sums[i] += np.int64(popcount64(magnitude(part[i])))
        for i in range(count):
            total = np.int64(0)
            for row in range(side_by_side):
                total += sums[row * inner + i]
            result[rest * inner + column + i] = total
