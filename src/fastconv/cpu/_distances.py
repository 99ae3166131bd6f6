"""Distances between rows of words, in whatever way two sets of rows are paired."""

from __future__ import annotations

import numba
import numpy as np

from fastconv._shared.dimensions import merged
from fastconv.cpu._bit_vectors import ROWS, count_differences, count_lanes, popcount64
from fastconv.cpu._counting import CHUNK, COPIED
from fastconv.cpu._threads import SMALL, parallel_kernel, scratch, threads
from fastconv.cpu.arrays import Array, blocks, flat_memory, native

SPAN = 8192
"""Words that a thread compares with one row after another before it goes on: 64 KiB, which stay in L2."""

REUSE = 4
"""Rows that must meet the same others before it pays to turn those, so that vectors run across rows."""


def fill_distances(a: Array, b: Array, distances: Array) -> None:
    """distances (...) int64 = the bits in which a (..., w) and b (..., w), which broadcast, differ."""
    width = a.shape[-1]
    if not (_readable(a) and _readable(b)):
        shape = (*distances.shape, width)
        distances[...] = 0
        for index in blocks(shape, COPIED):
            part = np.empty(distances[index[:-1]].shape, np.int64)
            own, other = (native(np.broadcast_to(x, shape)[index]) for x in (a, b))
            fill_distances(own, other, part)
            distances[index[:-1]] += part
        return
    (a, origin_a, steps_a), (b, origin_b, steps_b) = (_rows(x, distances.ndim) for x in (a, b))
    *outer, (m, step_a, step_b) = merged(distances.shape, steps_a, steps_b)
    if step_b == 0:  # let the row that stays be that of ``a``
        a, b, origin_a, origin_b, step_a, step_b = b, a, origin_b, origin_a, step_b, step_a
        outer = [(n, j, i) for n, i, j in outer]
    lines = distances.size // m
    span = max(1, SPAN // width)
    turned = step_a == 0 and bool(outer) and outer[-1][2] == 0 and outer[-1][0] >= REUSE and span >= ROWS
    spans = -(-m // span)
    serially = 8 * distances.size * width <= SMALL
    workers = 1 if serially else threads()
    groups = 1 if spans >= workers else min(lines, workers)
    pieces = 1 if distances.size >= workers else max(1, min(workers, width // CHUNK))
    partial = distances.reshape(1, -1) if pieces == 1 else np.empty((pieces, distances.size), np.int64)
    _count_pairs(
        a,
        b,
        (origin_a, origin_b, width),
        np.array(outer, np.int64).reshape(-1, 3),
        (m, step_a, step_b),
        (span, groups, turned),
        *scratch((span * width + 2 * ROWS if turned else 0, np.uint64), serially=serially),
        partial,
        serially=serially,
    )
    if pieces > 1:
        partial.sum(axis=0, out=distances.reshape(-1))


def _readable(x: Array) -> bool:
    """Whether kernels can read the rows of ``x`` where they are."""
    steps_fit = all(step % x.dtype.itemsize == 0 for step in x.strides)
    together = x.shape[-1] == 1 or x.strides[-1] == x.dtype.itemsize
    return x.dtype.isnative and x.flags.aligned and steps_fit and together


def _rows(x: Array, dimensions: int) -> tuple[Array, int, tuple[int, ...]]:
    """The words of ``x`` as flat memory, the first row's place, and the step of each dimension that
    leads to the next row, 0 where the rows are the same."""
    flat, origin, steps = flat_memory(x)
    own = [0 if n == 1 else step for n, step in zip(x.shape[:-1], steps, strict=False)]
    return flat, origin, (*(0,) * (dimensions - len(own)), *own)


@parallel_kernel
def _count_pairs(a, b, start, outer, inner, tiling, tiles, partial):
    """partial (pieces, lines * m) int64: the differing bits in each piece of the width of each pair.

    a, b flat words; start: the first row's place in each, and the width; outer (d, 3), inner (3,): the
    length of each dimension of the pairs and its step in a and in b; tiling: rows of b to compare with
    one row after another, into how many groups to cut the lines, and whether to turn the rows of b. tiles: a
    worker's scratch.
    """
    pieces, pairs = partial.shape
    m, step_a, step_b = inner
    span, groups, turned = tiling
    lines = pairs // m
    spans = -(-m // span)
    workers = tiles.shape[0]
    tasks = pieces * spans * groups
    for index in numba.prange(workers):
        worker = np.int64(index)
        tile = tiles[worker]
        for task in range(tasks * worker // workers, tasks * (worker + 1) // workers):
            piece, rest = divmod(task, spans * groups)
            first, group = rest // groups * span, rest % groups
            begin, width = start[2] * piece // pieces, start[2] * (piece + 1) // pieces
            width -= begin
            count = min(span, m - first)
            held = np.int64(-1)
            for line in range(lines * group // groups, lines * (group + 1) // groups):
                i, j = start[0] + begin + first * step_a, start[1] + begin + first * step_b
                rest = line
                for d in range(outer.shape[0] - 1, -1, -1):
                    rest, k = divmod(rest, outer[d, 0])
                    i += k * outer[d, 1]
                    j += k * outer[d, 2]
                found = partial[piece, line * m + first : line * m + first + count]
                if not turned:
                    _pair_rows(a, i, step_a, b, j, step_b, width, found)
                    continue
                if j != held:
                    _turn(b, j, step_b, width, count, span, tile)
                    held = j
                _pair_lanes(a, i, tile, width, span, found)


@numba.njit
def _pair_rows(a, i, step_a, b, j, step_b, width, found):
    """found[r] = the bits in which row r from a[i] on differs from row r from b[j] on."""
    vectors = width // 8 * 8
    for r in range(found.size):
        at_a, at_b = i + r * step_a, j + r * step_b
        total = np.int64(0)
        if vectors:
            total = count_differences(a, at_a, b, at_b, vectors // 8)
        for k in range(vectors, width):
            total += np.int64(popcount64(a[at_a + k] ^ b[at_b + k]))
        found[r] = total


@numba.njit
def _turn(b, j, step, width, count, span, tile):
    """tile[k * span + r] = word k of row r."""
    for r in range(count):
        for k in range(width):
            tile[k * span + r] = b[j + r * step + k]


@numba.njit
def _pair_lanes(a, i, tile, width, span, found):
    """found[r] = the bits in which the row a[i] differs from row r of the turned tile, which has ROWS words
    to spare twice: for reading beyond its last row, and for what is then not wanted."""
    whole = found.size // ROWS * ROWS
    for r in range(0, whole, ROWS):
        count_lanes(a, i, tile, r, span, width, found, r)
    if whole < found.size:
        line = tile[tile.size - ROWS :].view(np.int64)
        count_lanes(a, i, tile, whole, span, width, line, 0)
        for r in range(whole, found.size):
            found[r] = line[r - whole]
