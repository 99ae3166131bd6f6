"""The kernel of distances between rows of words."""

from __future__ import annotations

import numba
import numpy as np
from numba import carray

from fastconv.cpu.bits.row_vectors import (
    ROWS,
    copy_words,
    count_differences,
    lanes_of_row,
    lanes_of_rows,
    word_at,
)
from fastconv.cpu.bits.vectors import popcount64
from fastconv.cpu.kernels import kernel, own, record, share
from fastconv.cpu.simd import LANES, peek, poke

BARE, ROWWISE, TURNED = range(3)
"""Ways to compare: words that lie side by side, where they are; long rows, each by itself; short rows, or
rows that meet many others, turned so that vectors run across them."""

RUN = 64
"""Words, or rows, that are copied at a time: those to be turned stay in L1 until all their words are."""

PAIRS = record(
    "a b found outer tile_a tile_b",
    "way m step_a step_b place lines word_a word_b swapped_a swapped_b copied_a copied_b origin_a origin_b "
    "width span groups pieces dimensions",
)
"""Rows a and b: memory, from its lowest word on, in which the first row begins at the byte ``origin``; from
word to word it is ``word`` bytes, and their bytes may be ``swapped``. Each row has ``width`` words.

Pairs are ``lines`` of ``m`` neighbours, with steps in bytes of their own, and a ``place`` from distance to
distance; outer (dimensions, 4) says of each further dimension its length and these three.

Tiling: ``span`` rows of b that are compared with one row after another, and into how many groups lines are
cut. The tiles are scratch of width * span + 2 * ROWS: for reading beyond the last row, and for what is then
not wanted. All rows are turned into them, or those that are ``copied`` because vectors cannot load them."""


@kernel(PAIRS, a=np.uint64, b=np.uint64, outer=np.int64, tile_a=np.uint64, tile_b=np.uint64)
def count_pairs(p, chunk, worker):
    """found (pieces, distances): the differing bits in each piece of the width of each pair."""
    pieces, groups, span, m = p.pieces, p.groups, p.span, p.m
    spans, room = -(-m // span), p.width * span + 2 * ROWS
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
                continue
            _copy_rows(p, (i, j), (count, width), tiles, j == held)
            held = j
            if p.way == ROWWISE:
                _pair_rows(p, (i, j), (count, width), tiles, place)
            else:
                _pair_lanes(p, (count, width), tiles, place)


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
def _copy_rows(p, at, size, tiles, held):
    """Fill the tiles with (count, width) words, those of b unless they are ``held``."""
    (count, width), rows = size, size[0] if p.step_a else 1
    if p.way == TURNED:
        _copy(p.a, at[0], (p.step_a, p.word_a, p.swapped_a), (rows, width), tiles[0], p.span)
        if not held:
            _copy(p.b, at[1], (p.step_b, p.word_b, p.swapped_b), size, tiles[1], p.span)
        return
    if p.copied_a:
        _copy(p.a, at[0], (p.word_a, p.step_a, p.swapped_a), (width, rows), tiles[0], width)
    if p.copied_b and not held:
        _copy(p.b, at[1], (p.word_b, p.step_b, p.swapped_b), (width, count), tiles[1], width)


@numba.njit(error_model="numpy")
def _copy(x, at, steps, size, tile, apart):
    """tile[k * apart + r] = the word at the byte at + r * near + k * far of x, for all r and k below the two
    sizes; near, far, and whether bytes are swapped, are ``steps``."""
    (near, far, swapped), (count, length) = steps, size
    for first in range(0, count, RUN):
        last = min(first + RUN, count)
        for k in range(length):
            start, r = at + k * far, first
            if near == 8:
                while r + LANES <= last:
                    copy_words(x, start + r * 8, swapped, tile, k * apart + r)
                    r += LANES
            while r < last:
                poke(tile, k * apart + r, word_at(x, start + r * near, swapped))
                r += 1


@numba.njit(error_model="numpy")
def _pair_rows(p, at, size, tiles, place):
    """Distances of (count, width) long rows."""
    found, (count, width) = carray(p.found, 1), size
    a, at_a, step_a = tiles[0], 0, width if p.step_a else 0
    if not p.copied_a:
        a, at_a, step_a = carray(p.a, 1), at[0] // 8, p.step_a // 8
    b, at_b, step_b = tiles[1], 0, width
    if not p.copied_b:
        b, at_b, step_b = carray(p.b, 1), at[1] // 8, p.step_b // 8
    vectors = width // 8
    for r in range(count):
        i, j = at_a + r * step_a, at_b + r * step_b
        total = count_differences(a, i, b, j, vectors)
        for k in range(vectors * 8, width):
            total += np.int64(popcount64(peek(a, i + k) ^ peek(b, j + k)))
        poke(found, place + r * p.place, found.dtype.type(total))


@numba.njit(error_model="numpy")
def _pair_lanes(p, size, tiles, place):
    """Distances of (count, width) turned rows."""
    (a, b), (count, width), step = tiles, size, p.place
    found = carray(p.found, 1)
    whole = count // ROWS * ROWS if step == 1 else 0
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
            poke(found, place + (r + k) * step, found.dtype.type(line[k]))
