"""Correlation of images with small kernels, tile by tile: where a kernel fits into the image, and what lies
around it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import carray

from fastconv.cpu.correlation.stencil import (
    PREFETCH_ROWS,
    VECTOR_BYTES,
    Piece,
    Place,
    Source,
    correlate_strip,
)
from fastconv.cpu.kernels import kernel, own, part_of, record, share
from fastconv.cpu.simd import copy_line, fence, prefetch

INTEGERS = """
height width spacing pitch kernels kernel_rows kernel_columns results out_rows out_columns out_pitch
out_length above left boundary direct stream pieces tile_rows tile_columns length
"""
"""Numbers of the records: images of height x width, kernels, and results of out_rows x out_columns, in memory
as ``lines.Lines`` say: widths and columns count the numbers of all images that are interleaved. ``above`` and
``left`` of the image the first window begins; ``boundary`` is what lies outside, see :func:`_inner`;
``direct`` is 1 if the image is read where it lies, ``stream`` if results are written past the caches.
``length`` is that of a worker's strip."""

FILTER = record("images taps which passes fill strip out", INTEGERS)
FACTORS = record(
    "images taps which passes fill strip out rows columns row_passes column_passes between least",
    f"{INTEGERS} row_pieces column_pieces careful",
)


class Taps(NamedTuple):
    """Kernels (kw, kh), and the pieces that one run down a strip takes: (P, 5), see ``tiling.passes``."""

    taps: Any
    passes: Any


class Area(NamedTuple):
    """A part of a plane: its first row and column, and how many there are."""

    row: int
    column: int
    rows: int
    columns: int


@kernel(FILTER, which=np.int64, passes=np.int64)
def correlate(p, chunk, worker):
    """images, out: flat, see ``lines.Lines`` also for which (B, 3); taps (K, kw, kh); passes (P, 5);
    fill (1,). strip: a worker's scratch."""
    taps = carray(p.taps, (p.kernels, p.kernel_columns, p.kernel_rows))
    which, passes = carray(p.which, (p.results, 3)), carray(p.passes, (p.pieces, 5))
    out = carray(p.out, p.out_length)
    strip = own(p, p.strip, worker, p.length)
    stream = p.stream == 1 and _evenly_aligned(p, out)
    first, last = share(p, chunk, _tiles(p))
    for task in range(first, last):
        b, tile = _tile(p, task)
        image = part_of(p.images, which[b, 0], (p.height, p.pitch))
        place = Place(out, which[b, 2] + tile.row * p.out_pitch + tile.column, p.out_pitch)
        filter_tile(p, image, Taps(taps[which[b, 1]], passes), tile, strip, place, stream)
    fence()


@kernel(FACTORS, which=np.int64, passes=np.int64, row_passes=np.int64, column_passes=np.int64)
def correlate_twice(p, chunk, worker):
    """As :func:`correlate`, by rows (K, kw, 1) and then columns (K, 1, kh); if ``careful``, results that are
    not finite, or not beyond doubt by ``least`` (K, 2) of ``rank1.Factors``, are summed again with ``taps``.
    between: a worker's scratch, like strip."""
    taps = carray(p.taps, (p.kernels, p.kernel_columns, p.kernel_rows))
    rows = carray(p.rows, (p.kernels, p.kernel_columns, 1))
    columns = carray(p.columns, (p.kernels, 1, p.kernel_rows))
    which, passes = carray(p.which, (p.results, 3)), carray(p.passes, (p.pieces, 5))
    row_passes = carray(p.row_passes, (p.row_pieces, 5))
    column_passes = carray(p.column_passes, (p.column_pieces, 5))
    least = carray(p.least, (p.kernels, 2))
    out = carray(p.out, p.out_length)
    strip, between = own(p, p.strip, worker, p.length), own(p, p.between, worker, p.length)
    first, last = share(p, chunk, _tiles(p))
    for task in range(first, last):
        b, tile = _tile(p, task)
        image, k = part_of(p.images, which[b, 0], (p.height, p.pitch)), which[b, 1]
        higher = Area(tile.row, tile.column, tile.rows + p.kernel_rows - 1, tile.columns)
        by_rows = Place(between, np.int64(0), tile.columns)
        filter_tile(p, image, Taps(rows[k], row_passes), higher, strip, by_rows, False)
        place = Place(out, which[b, 2] + tile.row * p.out_pitch + tile.column, p.out_pitch)
        source = Source(np.int64(between.ctypes.data), tile.columns, np.int64(1))
        sweep(source, Taps(columns[k], column_passes), place, tile.rows, tile.columns, False)
        if p.careful == 1:
            again = _doubtful(place, tile, least[k])
            start = place.start + (again.row - tile.row) * place.pitch + again.column - tile.column
            part = Place(out, start, place.pitch)
            filter_tile(p, image, Taps(taps[k], passes), again, strip, part, False)


@numba.njit(error_model="numpy")
def _tiles(p):
    """How many tiles there are."""
    return p.results * -(-p.out_rows // p.tile_rows) * -(-p.out_columns // p.tile_columns)


@numba.njit(error_model="numpy")
def _tile(p, task):
    """Which result a tile belongs to, and its area."""
    down, across = -(-p.out_rows // p.tile_rows), -(-p.out_columns // p.tile_columns)
    b, tile = divmod(task, down * across)
    i, j = tile // across * p.tile_rows, tile % across * p.tile_columns
    return b, Area(i, j, min(p.tile_rows, p.out_rows - i), min(p.tile_columns, p.out_columns - j))


@numba.njit(error_model="numpy")
def _evenly_aligned(p, out):
    """Whether the rows of ``out`` are whole vectors, and vectors can begin at multiples of their size."""
    return p.out_pitch * out.itemsize % VECTOR_BYTES == 0 and out.ctypes.data % out.itemsize == 0


@numba.njit(error_model="numpy")
def _doubtful(place, tile, least):
    """The part of a ``tile`` that holds all results, at ``place``, that are not finite or less than
    least[0] in magnitude; those of 0 count if least[1] is more."""
    top, bottom, left, right = tile.rows, 0, tile.columns, 0
    for i in range(tile.rows):
        start = place.start + i * place.pitch
        row = place.results[start : start + tile.columns]
        strange = 0
        for j in range(tile.columns):
            strange += _in_doubt(row[j], least)
        if strange > 0:
            top, bottom = min(top, i), i + 1
            first, last = 0, tile.columns
            while not _in_doubt(row[first], least):
                first += 1
            while not _in_doubt(row[last - 1], least):
                last -= 1
            left, right = min(left, first), max(right, last)
    return Area(tile.row + top, tile.column + left, max(bottom - top, 0), max(right - left, 0))


@numba.njit(error_model="numpy", inline="always")
def _in_doubt(x, least):
    size = max(abs(x.real), abs(x.imag))
    return (x - x != 0) | ((size < least[0]) & ((size > 0) | (least[1] > 0)))


@numba.njit(error_model="numpy")
def filter_tile(p, image, weights, tile, strip, place, stream):
    """The results of a ``tile``, to ``place``; past the caches, if ``stream``.

    Where the kernel fits into the image, straight from there; the rest, rounded up to whole strips, from a
    padded copy: alone, a vector takes 1.4 to 1.8 times as long as in a strip.
    """
    kw, kh = weights.taps.shape
    i, j, m, n = tile
    out, target, pitch = place
    reach = (kw - 1) * p.spacing
    lanes = VECTOR_BYTES // weights.taps.itemsize
    wide = weights.passes[0, 4] * lanes
    skip = -(out.ctypes.data // out.itemsize + target) % lanes if stream else 0
    rest = (n - skip) % lanes if stream else 0
    top, bottom = _inside(i, m, p.above, p.height - kh + 1)
    left, right = _inside(j, n, p.left, p.width - reach)
    left, right = _edge(left, skip, wide), n - _edge(n - right, rest, wide)
    if p.direct == 0 or bottom <= top or right - left < wide:
        top = bottom = m
        left = right = 0
    for r0, r1, c0, c1 in (
        (0, top, 0, n),
        (bottom, m, 0, n),
        (top, bottom, 0, left),
        (top, bottom, right, n),
    ):
        if r1 > r0 and c1 > c0:
            under = Area(i + r0 - p.above, j + c0 - p.left, r1 - r0 + kh - 1, c1 - c0)
            source = _copied(p, image, under, kw, strip)
            part = Place(out, target + r0 * pitch + c0, pitch)
            sweep(source, weights, part, r1 - r0, c1 - c0, False)
    if bottom > top:
        start = (i + top - p.above) * p.pitch + j + left - p.left
        source = Source(np.int64(image.ctypes.data) + start * image.itemsize, p.pitch, p.spacing)
        part = Place(out, target + top * pitch + left, pitch)
        sweep(source, weights, part, bottom - top, right - left, stream)


@numba.njit(error_model="numpy")
def _edge(outside, over, wide):
    """How many columns at an edge to copy: those whose windows reach outside, and from the columns ``over``
    on whole strips."""
    if outside == 0 and over == 0:
        return 0
    return over + -(-max(outside - over, 1) // wide) * wide


@numba.njit(error_model="numpy")
def sweep(source, weights, place, m, n, stream):
    """Correlate m x n results, strip by strip."""
    taps, passes = weights
    kh, itemsize = taps.shape[1], taps.itemsize
    lanes = VECTOR_BYTES // itemsize
    flat = taps.reshape(-1)
    wide = passes[0, 4]
    j = 0
    while j < n:
        columns = wide if n >= wide * lanes and 2 * (n - j) > wide * lanes else 1
        j = max(0, min(j, n - columns * lanes))
        part = Place(place.results, place.start + j, place.pitch)
        for k in range(passes.shape[0]):
            a, rows, b, width = passes[k, 0], passes[k, 1], passes[k, 2], passes[k, 3]
            first = source.address + (a * source.pitch + b * source.step + j) * itemsize
            pixels = Source(first, source.pitch, source.step)
            piece = Piece(flat, b * kh + a, kh, rows, width)
            correlate_strip(pixels, piece, part, columns, m, min(lanes, n), k > 0, stream and columns > 1)
        j += columns * lanes


@numba.njit(error_model="numpy")
def _inside(start, length, before, count):
    """Which of ``length`` results from ``start`` on have their window in the image: first and last + 1."""
    first = min(max(before - start, 0), length)
    return first, max(min(before + count - start, length), first)


@numba.njit(error_model="numpy")
def _copied(p, image, area, kw, strip):
    """The pixels of an ``area`` of the padded image and right of it, which kw taps need, in a ``strip``: one
    run in each row, or one for each tap if they lie further apart than that."""
    row, column, m, n = area
    wide = max(n, VECTOR_BYTES // strip.itemsize)
    step = min(p.spacing, wide)
    runs, reach = (1, (kw - 1) * step) if step == p.spacing else (kw, 0)
    length = wide + reach
    for b in range(runs):
        under = Area(row, column + b * p.spacing, m, n + reach)
        _pad(p, image, under, strip[b * wide :], length, runs * length)
    return Source(np.int64(strip.ctypes.data), runs * length, step)


@numba.njit(error_model="numpy")
def _pad(p, image, area, strip, length, pitch):
    """strip[r * pitch + c] = number (r, c) of an ``area`` of the padded image; 0 in the rest of ``length``:
    vectors reach there, and what lies in memory may be denormal numbers, each 100 times as slow."""
    height, width = p.height, p.width
    row, column, m, n = area
    boundary, fill = p.boundary, carray(p.fill, 1)[0]
    lo = min(max(-column, 0), n)
    hi = max(min(width - column, n), lo)
    for r in range(m):
        line = strip[r * pitch : r * pitch + n]
        strip[r * pitch + n : r * pitch + length] = 0
        y = row + r
        if y < 0 or y >= height:
            y = _inner(y, height, 1, boundary)
        if y < 0:
            line[:] = fill
            continue
        source = image[y]
        ahead = np.int64(source.ctypes.data) + (PREFETCH_ROWS * p.pitch + column) * image.itemsize
        for offset in range(0, n * image.itemsize, 64):
            prefetch(ahead + offset)
        # slices, so that LLVM sees plain indices that never wrap around, and vectorises
        if hi > lo:
            copy_line(source[column + lo : column + hi], line[lo:hi])
        for part in ((0, lo), (hi, n)):
            for c in range(part[0], part[1]):
                if boundary == 0:
                    line[c] = fill
                else:
                    line[c] = source[_inner(column + c, width, p.spacing, boundary)]


@numba.njit(error_model="numpy")
def _inner(position, n, spacing, boundary):
    """Which of n numbers, of ``spacing`` images interleaved, stands at a ``position`` outside; -1 for the
    fill value."""
    if boundary == 0:
        return np.int64(-1)
    if boundary == 1:
        return position % n
    folded = position % (2 * n)
    return folded if folded < n else 2 * n - spacing - folded + 2 * (folded % spacing)
