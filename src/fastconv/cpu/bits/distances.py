"""Distances between rows of words, in whatever way two sets of rows are paired."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import carray

from fastconv._shared.dimensions import merged
from fastconv._specs.bits import Hamming, Memory, Shape, memory_of
from fastconv.cpu.arrays import Array, blocks, native
from fastconv.cpu.bits.each import CHUNK
from fastconv.cpu.bits.lines import COPIED
from fastconv.cpu.bits.vectors import ROWS, count_differences, count_lanes, popcount64
from fastconv.cpu.kernels import Job, kernel, own, record, share
from fastconv.cpu.threads import CHUNKS_EACH, SMALL, chunks_of, threads

SPAN = 8192
"""Words that a thread compares with one row after another before it goes on: 64 KiB, which stay in L2."""

REUSE = 4
"""Rows that must meet the same others before it pays to turn those, so that vectors run across rows."""

Distances = Callable[[Array, Array, Array], None]
"""Fills the third array with the distances of the other two."""


def plan_hamming(spec: Hamming) -> Callable[[Array, Array], Array]:
    batch, width = spec.batch, spec.a.shape[-1]
    if not (width and prod(batch)):
        return lambda a, b: np.zeros(batch, np.int64)
    in_place = _rows_together(spec.a) and _rows_together(spec.b)
    fill = (_distances if in_place else _distances_in_blocks)(spec.a, spec.b, batch)

    def run(a: Array, b: Array) -> Array:
        distances = np.empty(batch, np.int64)
        fill(a, b, distances)
        return distances

    return run


def _rows_together(memory: Memory) -> bool:
    """Whether kernels can read rows of such memory where they are."""
    together = memory.shape[-1] == 1 or memory.strides[-1] == memory.dtype.itemsize
    return memory.dtype.isnative and memory.aligned and together


def _distances_in_blocks(a: Memory, b: Memory, batch: Shape) -> Distances:
    """Of rows that kernels cannot read: of contiguous copies of blocks."""
    shape = (*batch, a.shape[-1])
    of_contiguous = cache(_distances)  # for each shape of a block

    def run(a: Array, b: Array, distances: Array) -> None:
        distances[...] = 0
        for index in blocks(shape, COPIED):
            own, other = (native(np.broadcast_to(x, shape)[index]) for x in (a, b))
            part = np.empty(own.shape[:-1], np.int64)
            of_contiguous(memory_of(own), memory_of(other), part.shape)(own, other, part)
            distances[index[:-1]] += part

    return run


class _Side(NamedTuple):
    """One set of rows: ``size`` words from its lowest on; where the first row begins; the steps, in words, of
    each dimension to the next row, 0 where the rows are the same."""

    lowest: tuple[Any, ...]
    size: int
    origin: int
    steps: Shape


def _side(memory: Memory, dimensions: int) -> _Side:
    words = [stride // memory.dtype.itemsize for stride in memory.strides]
    reach = [(n - 1) * step for n, step in zip(memory.shape, words, strict=True)]
    flips = tuple(slice(None, None, -1 if r < 0 else 1) for r in reach)
    steps = [0 if n == 1 else step for n, step in zip(memory.shape[:-1], words, strict=False)]
    missing = dimensions - len(steps)
    return _Side(flips, sum(map(abs, reach)) + 1, -sum(r for r in reach if r < 0), (*(0,) * missing, *steps))


def _distances(a: Memory, b: Memory, batch: Shape) -> Distances:
    """Of rows where they are."""
    width, pairs = a.shape[-1], prod(batch)
    one, other = _side(a, len(batch)), _side(b, len(batch))
    *outer, (m, step_a, step_b) = merged(batch, one.steps, other.steps)
    swapped = step_b == 0
    if swapped:  # let the row that stays be that of ``a``
        one, other, step_a, step_b = other, one, step_b, step_a
        outer = [(n, j, i) for n, i, j in outer]
    lines, span = pairs // m, max(1, SPAN // width)
    turned = step_a == 0 and bool(outer) and outer[-1][2] == 0 and outer[-1][0] >= REUSE and span >= ROWS
    spans = -(-m // span)
    chunks = chunks_of(-(-pairs * width // CHUNK), serially=8 * pairs * width <= SMALL)
    wanted = min(chunks, threads()) if turned else chunks  # each group turns its rows anew
    groups = 1 if spans >= wanted else min(lines, wanted)
    pieces = 1 if pairs * CHUNKS_EACH >= chunks else max(1, min(chunks, width // CHUNK))
    job = Job(
        count_pairs,
        min(chunks, pieces * spans * groups),
        scratch={"tiles": span * width + 2 * ROWS if turned else 0},
        outer=np.array(outer, np.int64).reshape(-1, 3),
        dimensions=len(outer),
        lines=lines,
        m=m,
        step_a=step_a,
        step_b=step_b,
        size_a=one.size,
        size_b=other.size,
        origin_a=one.origin,
        origin_b=other.origin,
        width=width,
        span=span,
        groups=groups,
        pieces=pieces,
        turned=turned,
    )

    def run(a: Array, b: Array, distances: Array) -> None:
        if swapped:
            a, b = b, a
        found = distances if pieces == 1 else np.empty((pieces, pairs), np.int64)
        job(a=a[one.lowest], b=b[other.lowest], found=found)
        if pieces > 1:
            found.sum(axis=0, out=distances.reshape(-1))

    return run


PAIRS = record(
    "a b found outer tiles",
    "m step_a step_b lines width size_a size_b origin_a origin_b span groups turned pieces dimensions",
)
"""Rows a and b, flat words; where the first begins in each, and the ``width`` of all. Pairs are ``lines`` of
``m`` neighbours, with steps of their own, and outer (dimensions, 3) says of each further dimension its length
and its step in a and in b. Tiling: ``span`` rows of b that are compared with one row after another, into how
many groups lines are cut, and whether to turn the rows of b into ``tiles``, which are scratch."""


@kernel(PAIRS, a=np.uint64, b=np.uint64, found=np.int64, outer=np.int64, tiles=np.uint64)
def count_pairs(p, chunk, worker):
    """found (pieces, lines * m): the differing bits in each piece of the width of each pair."""
    pieces, groups, span, lines, m = p.pieces, p.groups, p.span, p.lines, p.m
    found = carray(p.found, pieces * lines * m)
    spans = -(-m // span)
    start, stop = share(p, chunk, pieces * spans * groups)
    for task in range(start, stop):
        piece, rest = divmod(task, spans * groups)
        first, group = rest // groups * span, rest % groups
        begin = p.width * piece // pieces
        width, count = p.width * (piece + 1) // pieces - begin, min(span, m - first)
        tile = own(p, p.tiles, worker, span * width + 2 * ROWS)
        held = np.int64(-1)
        for line in range(lines * group // groups, lines * (group + 1) // groups):
            at_a, at_b = _row_pair(p, line)
            i, j = at_a + begin + first * p.step_a, at_b + begin + first * p.step_b
            at = (piece * lines + line) * m + first
            part = found[at : at + count]
            if not p.turned:
                _pair_rows(p, i, j, width, part)
                continue
            if j != held:
                _turn(p, j, width, count, tile)
                held = j
            _pair_lanes(p, i, width, tile, part)


@numba.njit(error_model="numpy")
def _row_pair(p, line):
    """Where the first pair of rows of a line begins, in a and in b."""
    outer = carray(p.outer, (p.dimensions, 3))
    i, j, rest = p.origin_a, p.origin_b, line
    for d in range(p.dimensions - 1, -1, -1):
        rest, k = divmod(rest, outer[d, 0])
        i += k * outer[d, 1]
        j += k * outer[d, 2]
    return i, j


@numba.njit(error_model="numpy")
def _pair_rows(p, i, j, width, found):
    """found[r] = the bits in which row r from a[i] on differs from row r from b[j] on."""
    a, b = carray(p.a, p.size_a), carray(p.b, p.size_b)
    step_a, step_b = p.step_a, p.step_b
    vectors = width // 8 * 8
    for r in range(found.size):
        at_a, at_b = i + r * step_a, j + r * step_b
        total = np.int64(0)
        if vectors:
            total = count_differences(a, at_a, b, at_b, vectors // 8)
        for k in range(vectors, width):
            total += np.int64(popcount64(a[at_a + k] ^ b[at_b + k]))
        found[r] = total


@numba.njit(error_model="numpy")
def _turn(p, j, width, count, tile):
    """tile[k * span + r] = word k of row r from b[j] on."""
    b, span, step = carray(p.b, p.size_b), p.span, p.step_b
    for r in range(count):
        for k in range(width):
            tile[k * span + r] = b[j + r * step + k]


@numba.njit(error_model="numpy")
def _pair_lanes(p, i, width, tile, found):
    """found[r] = the bits in which the row a[i] differs from row r of the turned tile, which has ROWS words
    to spare twice: for reading beyond its last row, and for what is then not wanted."""
    whole = found.size // ROWS * ROWS
    for r in range(0, whole, ROWS):
        count_lanes(p, i, tile, r, width, found, r)
    if whole < found.size:
        line = tile[tile.size - ROWS :].view(np.int64)
        count_lanes(p, i, tile, whole, width, line, 0)
        for r in range(whole, found.size):
            found[r] = line[r - whole]
