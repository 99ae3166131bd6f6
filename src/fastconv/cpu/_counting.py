"""Kernels that count bits, and the order in which a sum over any axes reads memory."""

from __future__ import annotations

from math import prod
from typing import Any

import numba
import numpy as np

from fastconv.cpu._bit_vectors import count_ones, popcount64, popcount_block
from fastconv.cpu._threads import SMALL, parallel_kernel, scratch, threads
from fastconv.cpu.arrays import Array, blocks, computable, readable
from fastconv.cpu.simd import BLOCK

CHUNK = 4096
"""Elements one thread takes at a time: long enough to hide the loop, short enough to share."""

SUMS = 2048
"""Running sums of a thread: 16 KiB, which stay in L1 beside the elements that are added to them."""

COPIED = 1 << 17
"""Elements copied at a time from arrays that kernels cannot read: a block stays in L2 until counted."""

PARTIAL = 1 << 20
"""Sums over some of several axes that may be kept for the last step: 8 MiB."""


def sum_ones(x: Array, axes: tuple[int, ...]) -> Array:
    """int64 sums of popcount(x) over ``axes``, at least one, without the axes.

    Sums have no order, so axes are taken as they lie in memory. What cannot be read in place even so is
    copied block by block.
    """
    if not (x.flags.c_contiguous and x.flags.aligned):
        order = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
        if order != list(range(x.ndim)):
            kept = [axis for axis in order if axis not in axes]
            sums = sum_ones(x.transpose(order), tuple(sorted(order.index(axis) for axis in axes)))
            return sums.transpose(np.argsort(kept))
        flips = tuple(slice(None, None, -1 if step < 0 else 1) for step in x.strides)
        x = x[flips]
    else:
        flips = ()
    begin, end = _longest_run(x.shape, axes)
    few_left = end - begin == len(axes) or x.size // max(prod(x.shape[begin:end]), 1) <= PARTIAL
    if readable(x) and few_left:
        sums = _sum_contiguous(computable(x), axes, begin, end)
    else:
        sums = np.zeros([n for axis, n in enumerate(x.shape) if axis not in axes], np.int64)
        for index in blocks(x.shape, COPIED):
            block = computable(x[index])
            own = tuple(part for axis, part in enumerate(index) if axis not in axes)
            sums[own] += _sum_contiguous(block, axes, *_longest_run(block.shape, axes))
    return sums[tuple(flip for axis, flip in enumerate(flips) if axis not in axes)]


def _longest_run(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, int]:
    """Begin and end of the neighbouring ``axes`` (sorted) with most elements."""
    best = (axes[0], axes[0] + 1)
    begin = end = axes[0]
    for axis in axes:
        if axis != end:
            begin = axis
        end = axis + 1
        best = max(best, (begin, end), key=lambda run: prod(shape[run[0] : run[1]]))
    return best


def _sum_contiguous(x: Array, axes: tuple[int, ...], begin: int, end: int) -> Array:
    """The kernels sum axes ``begin`` to ``end``; what is left is small and summed by NumPy."""
    outer, n, inner = prod(x.shape[:begin]), prod(x.shape[begin:end]), prod(x.shape[end:])
    across = 1 if inner == 1 else -(-inner // SUMS)
    serially = x.nbytes <= SMALL
    workers = 1 if serially else threads()
    pieces = 1 if outer * across >= workers else max(1, min(workers, n * inner // CHUNK))
    partial = np.empty((outer, pieces, inner), np.int64)
    if inner == 1:
        _count_rows(x.reshape(outer, n), workers, partial.reshape(outer, pieces), serially=serially)
    else:
        (running,) = scratch((SUMS, np.int64), serially=serially)
        _count_columns(x.reshape(outer, n, inner), running, partial, serially=serially)
    sums: Array = partial if pieces == 1 else partial.sum(axis=1)
    sums = sums.reshape(x.shape[:begin] + x.shape[end:])
    if end - begin == len(axes):
        return sums
    left = tuple(a - (a >= end) * (end - begin) for a in axes if not begin <= a < end)
    return np.asarray(sums.sum(axis=left))


def fill_counts(x: Array, counts: Array) -> None:
    """counts = popcount(x); what kernels cannot read is copied block by block."""
    if readable(x):
        _count_each(computable(x).reshape(-1), counts.reshape(-1), serially=x.nbytes <= SMALL)
        return
    for index in blocks(x.shape, COPIED):
        part = np.empty(counts[index].shape, np.uint8)
        fill_counts(computable(x[index]), part)
        counts[index] = part


@parallel_kernel
def _count_each(x, out):
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
def _count_rows(x, workers, partial):
    """x (m, n) integers; partial (m, pieces) int64: the count of each piece of each row."""
    m, pieces = partial.shape
    n = x.shape[1]
    flat = x.reshape(-1)
    lanes = 64 // x.itemsize
    for index in numba.prange(workers):
        worker = np.int64(index)
        for task in range(m * pieces * worker // workers, m * pieces * (worker + 1) // workers):
            row, piece = divmod(task, pieces) if pieces > 1 else (task, 0)
            begin, end = row * n + n * piece // pieces, row * n + n * (piece + 1) // pieces
            vectors = (end - begin) // lanes
            total = count_ones(flat, begin, vectors)
            for i in range(begin + vectors * lanes, end):
                total += np.int64(popcount64(_magnitude(flat[i])))
            partial[row, piece] = total


@parallel_kernel
def _count_columns(x, running, partial):
    """x (outer, n, inner) integers; partial (outer, pieces, inner) int64: the sums over each piece of
    the n. ``running`` (workers, >= SUMS) int64 is scratch.

    Few columns are summed as several rows side by side, so that the sums fill vectors.
    """
    outer, n, inner = x.shape
    pieces = partial.shape[1]
    flat = x.reshape(-1)
    across = -(-inner // SUMS)
    workers = running.shape[0]
    tasks = outer * pieces * across
    for index in numba.prange(workers):
        worker = np.int64(index)
        for task in range(tasks * worker // workers, tasks * (worker + 1) // workers):
            o, rest = divmod(task, pieces * across)
            piece, column = rest // across, rest % across * SUMS
            count = min(SUMS, inner - column)
            side_by_side = SUMS // inner if across == 1 else 1
            step = inner * side_by_side
            width = count * side_by_side
            first = (o * n + n * piece // pieces) * inner + column
            last = (o * n + n * (piece + 1) // pieces) * inner - inner + column + count
            sums = running[worker, :width]
            sums[:] = 0
            for base in range(first, last, step):
                part = flat[base : min(base + width, last)]
                for i in range(part.size):
                    sums[i] += np.int64(popcount64(_magnitude(part[i])))
            for i in range(count):
                total = np.int64(0)
                for row in range(side_by_side):
                    total += sums[row * inner + i]
                partial[o, piece, column + i] = total


@numba.njit
def _magnitude(v: Any) -> Any:
    """abs(v) as uint64, also of the most negative integer."""
    return np.uint64(v) if v >= 0 else np.uint64(-np.int64(v))
