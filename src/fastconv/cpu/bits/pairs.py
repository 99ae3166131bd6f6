"""The kernel of distances between rows of words."""

from __future__ import annotations

import numba
import numpy as np
from numba import carray

from fastconv.cpu.bits.vectors import (
    ROWS,
    count_differences,
    lanes_of_row,
    lanes_of_rows,
    popcount64,
    swap_bytes,
    word_at,
)
from fastconv.cpu.kernels import kernel, own, record, share
from fastconv.cpu.simd import peek, poke

BARE, ROWWISE, LANES = range(3)
"""Ways to compare: words that lie side by side, where they are; long rows, where they are; copies of rows,
turned so that vectors run across them."""

RUN = 64
"""Rows that are turned at a time, which stay in L1 until all their words are."""

PAIRS = record(
    "a b found outer tile_a tile_b",
    "way m step_a step_b place lines word_a word_b swapped_a swapped_b origin_a origin_b width depth span "
    "groups pieces dimensions",
)
"""Rows a and b: memory, from its lowest word on, in which the first row begins at the byte ``origin``; from
word to word it is ``word`` bytes, and their bytes may be ``swapped``. Each row has ``width`` words.

Pairs are ``lines`` of ``m`` neighbours, with steps in bytes of their own, and a ``place`` from distance to
distance; outer (dimensions, 4) says of each further dimension its length and these three.

Tiling: ``span`` rows of b that are compared with one row after another, of which ``depth`` words are turned
at a time, and into how many groups lines are cut. The tiles are scratch of depth * span + 2 * ROWS: for
reading beyond the last row, and for what is then not wanted."""


@kernel(PAIRS, a=np.uint64, b=np.uint64, outer=np.int64, tile_a=np.uint64, tile_b=np.uint64)
def count_pairs(p, chunk, worker):
    """found (pieces, distances): the differing bits in each piece of the width of each pair."""
    pieces, groups, span, m = p.pieces, p.groups, p.span, p.m
    spans, room = -(-m // span), p.depth * span + 2 * ROWS
    tiles = own(p, p.tile_a, worker, room), own(p, p.tile_b, worker, room)
    start, stop = share(p, chunk, pieces * spans * groups)
    for task in range(start, stop):
        piece, rest = divmod(task, spans * groups)
        first, group = rest // groups * span, rest % groups
        begin = p.width * piece // pieces
        width, count, held = p.width * (piece + 1) // pieces - begin, min(span, m - first), np.int64(-1)
        for line in range(p.lines * group // groups, p.lines * (group + 1) // groups):
            i, j, place = _line_start(p, line)
            i += p.origin_a + first * p.step_a + begin * p.word_a
            j += p.origin_b + first * p.step_b + begin * p.word_b
            place += piece * p.lines * m + first * p.place
            if p.way == BARE:
                _pair_words(p, i, j, place, count)
            elif p.way == ROWWISE:
                _pair_rows(p, i, j, place, (count, width))
            else:
                for k in range(0, width, p.depth):
                    size = count, min(p.depth, width - k)
                    at = i + k * p.word_a, j + k * p.word_b
                    if at[1] != held:
                        _turn(p.b, at[1], (p.step_b, p.word_b, p.swapped_b), size, tiles[1], span)
                        held = at[1]
                    rows = 1 if p.step_a == 0 else count, size[1]
                    apart = 1 if p.step_a == 0 else span
                    _turn(p.a, at[0], (p.step_a, p.word_a, p.swapped_a), rows, tiles[0], apart)
                    _pair_lanes(p, tiles, size, place, k > 0)


@numba.njit(error_model="numpy")
def _line_start(p, line):
    """Where the first pair of rows of a line is, in a, in b, and among distances."""
    outer = carray(p.outer, (p.dimensions, 4))
    i, j, place, rest = np.int64(0), np.int64(0), np.int64(0), line
    for d in range(p.dimensions - 1, -1, -1):
        rest, k = divmod(rest, outer[d, 0])
        i += k * outer[d, 1]
        j += k * outer[d, 2]
        place += k * outer[d, 3]
    return i, j, place


@numba.njit(error_model="numpy")
def _pair_words(p, i, j, place, count):
    """Distances of words that lie side by side, or of one and such words."""
    a, b = carray(p.a, 1), carray(p.b, 1)
    found, i, j = carray(p.found, 1), i // 8, j // 8
    step = p.step_a // 8
    whole = count // ROWS * ROWS
    for r in range(0, whole, ROWS):
        if step:
            lanes_of_rows(p, a, i + r, b, j + r, 1, found, place + r)
        else:
            lanes_of_row(p, a, i, b, j + r, 1, found, place + r)
    for r in range(whole, count):
        different = popcount64(peek(a, i + r * step) ^ peek(b, j + r))
        poke(found, place + r, found.dtype.type(different))


@numba.njit(error_model="numpy")
def _pair_rows(p, i, j, place, size):
    """Distances of (count, width) long rows."""
    a, b, found = carray(p.a, 1), carray(p.b, 1), carray(p.found, 1)
    count, width = size
    vectors = width // 8
    for r in range(count):
        at_a, at_b = (i + r * p.step_a) // 8, (j + r * p.step_b) // 8
        total = count_differences(a, at_a, b, at_b, vectors)
        for k in range(vectors * 8, width):
            total += np.int64(popcount64(peek(a, at_a + k) ^ peek(b, at_b + k)))
        poke(found, place + r * p.place, found.dtype.type(total))


@numba.njit(error_model="numpy")
def _turn(x, at, steps, size, tile, span):
    """tile[k * span + r] = word k of row r, the first at the byte ``at``; rows and words are as many bytes
    apart as ``steps`` says, and so many as ``size`` says."""
    (row, word, swapped), (count, width) = steps, size
    for first in range(0, count, RUN):
        last = min(first + RUN, count)
        for k in range(width):
            start = at + k * word
            if swapped:
                for r in range(first, last):
                    poke(tile, k * span + r, swap_bytes(word_at(x, start + r * row)))
            else:
                for r in range(first, last):
                    poke(tile, k * span + r, word_at(x, start + r * row))


@numba.njit(error_model="numpy")
def _pair_lanes(p, tiles, size, place, more):
    """Distances of (count, width) turned rows, or what ``more`` of their words add to them."""
    a, b = tiles
    count, width = size
    found, step = carray(p.found, 1), p.place
    whole = count // ROWS * ROWS if step == 1 and not more else 0
    for r in range(0, whole, ROWS):
        if p.step_a:
            lanes_of_rows(p, a, r, b, r, width, found, place + r)
        else:
            lanes_of_row(p, a, 0, b, r, width, found, place + r)
    for r in range(whole, count, ROWS):
        line = a[a.size - ROWS :].view(np.int64)
        if p.step_a:
            lanes_of_rows(p, a, r, b, r, width, line, 0)
        else:
            lanes_of_row(p, a, 0, b, r, width, line, 0)
        for k in range(min(ROWS, count - r)):
            at = place + (r + k) * step
            before = peek(found, at) if more else found.dtype.type(0)
            poke(found, at, found.dtype.type(before + line[k]))
