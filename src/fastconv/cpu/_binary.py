"""The numba kernel of binary products: words of pixels against words of filters.

Numbers that only describe the problem come as one array.
"""

from __future__ import annotations

import numba
import numpy as np

from fastconv.cpu._store import INTEGERS, store_lines, store_pixels, stored_by_pixel, turn_over
from fastconv.cpu._threads import parallel_kernel
from fastconv.cpu._tiles import TILE_PIXELS, TILE_VECTORS, UNIT, xnor_tile
from fastconv.cpu._vector import LANES

PIXEL_BLOCK = 64
"""Pixels a task does at a time: their sums with a unit of 64 filters take 16 KiB."""


@parallel_kernel
def multiply_words(words, tiles, offsets, problem, edges, outside, epilogue, starts, scratch):
    """y = terms - 2 * (bits in which each window differs from each filter), stored by the epilogue.

    words: flat planes; tiles: flat (G, blocks, depth, 8); offsets: see ``xnor_tile``;
    problem: N, G, filters a group, words a plane, run and depth in words, terms, words from a row and a
    column of windows to the next, pixels a block, parts the filters are split into;
    edges: two arrays, the kind of edge each row and column of windows meets, 0 for none; outside
    (kinds, O): what to add to y there; starts, scratch: a worker's own.
    """
    workers = scratch.shape[0]
    positions = edges[0].size * edges[1].size
    tasks = problem[0] * -(-positions // problem[9]) * problem[10]
    for index in numba.prange(workers):
        worker = np.int64(index)
        for task in range(tasks * worker // workers, tasks * (worker + 1) // workers):
            _multiply_block(
                task,
                words,
                tiles,
                offsets,
                problem,
                edges,
                outside,
                epilogue,
                starts[worker],
                scratch[worker],
            )


@numba.njit
def _multiply_block(task, words, tiles, offsets, problem, edges, outside, epilogue, starts, scratch):
    """A block of pixels against one part of the filters."""
    groups, filters, plane, block, splits = problem[1], problem[2], problem[3], problem[9], problem[10]
    positions = edges[0].size * edges[1].size
    rest, split = divmod(task, splits)
    image, part = divmod(rest, -(-positions // block))
    first = part * block
    m = min(block, positions - first)
    meets_edge = _place_windows(first, m, problem, edges, outside.shape[0], starts)
    numbers, integers = epilogue[0], epilogue[6]
    by_pixel = stored_by_pixel(numbers)
    units = -(-filters // UNIT)
    for unit in range(groups * units * split // splits, groups * units * (split + 1) // splits):
        g, f = unit // units, unit % units * UNIT
        width, o = min(UNIT, filters - f), g * filters + f
        origin = (image * groups + g) * plane
        window = words[origin : origin + plane]
        direct = numbers[0] == INTEGERS and by_pixel and width % LANES == 0
        y, row, pitch = scratch, np.int64(0), np.int64(UNIT)
        if direct:
            y, pitch = integers, numbers[7]
            row = image * numbers[4] + g * numbers[5] + f + first * pitch
        blocks = -(-width // LANES)
        begin = (g * -(-filters // LANES) + f // LANES) * problem[5] * LANES
        _multiply_tiles(window, starts, m, offsets, tiles, begin, blocks, problem, y, row, pitch)
        if meets_edge:
            _add_outside(starts[PIXEL_BLOCK : PIXEL_BLOCK + m], outside, o, width, y, row, pitch)
        if direct:
            continue
        if by_pixel:
            store_pixels(scratch, m, width, image, o, first, epilogue)
        else:
            lines = scratch[PIXEL_BLOCK * UNIT :]
            turn_over(scratch, UNIT, m, width, lines, PIXEL_BLOCK)
            store_lines(lines, PIXEL_BLOCK, m, width, image, o, first, epilogue)


@numba.njit
def _place_windows(first, m, problem, edges, kinds, starts):
    """Where the windows of m pixels start, and after PIXEL_BLOCK of those the edge each one meets."""
    rows, columns = edges
    i, j = divmod(first, columns.size)
    met = False
    for p in range(m):
        starts[p] = i * problem[7] + j * problem[8]
        starts[PIXEL_BLOCK + p] = rows[i] + columns[j]
        met |= starts[PIXEL_BLOCK + p] != 0
        j += 1
        if j == columns.size:
            i, j = i + 1, 0
    return met and kinds > 0


@numba.njit
def _multiply_tiles(words, starts, m, offsets, tiles, begin, blocks, problem, y, row, pitch):
    """y[row + p * pitch + k] of m pixels and ``blocks`` blocks of 8 filters, tile by tile."""
    run, size, terms = problem[4], problem[5] * LANES, problem[6]
    v = 0
    while v < blocks:
        at, column = begin + v * size, row + v * LANES
        p = 0
        if v + TILE_VECTORS <= blocks:
            while p + TILE_PIXELS <= m:
                xnor_tile(
                    words, starts, p, TILE_PIXELS, offsets, run, tiles, at, size, TILE_VECTORS,
                    terms, y, column + p * pitch, pitch,
                )  # fmt: skip
                p += TILE_PIXELS
            while p < m:
                xnor_tile(
                    words, starts, p, 1, offsets, run, tiles, at, size, TILE_VECTORS,
                    terms, y, column + p * pitch, pitch,
                )  # fmt: skip
                p += 1
            v += TILE_VECTORS
        else:
            while p + TILE_PIXELS <= m:
                xnor_tile(
                    words, starts, p, TILE_PIXELS, offsets, run, tiles, at, size, 1,
                    terms, y, column + p * pitch, pitch,
                )  # fmt: skip
                p += TILE_PIXELS
            while p < m:
                xnor_tile(
                    words, starts, p, 1, offsets, run, tiles, at, size, 1,
                    terms, y, column + p * pitch, pitch,
                )  # fmt: skip
                p += 1
            v += 1


@numba.njit
def _add_outside(edges, outside, o, width, y, row, pitch):
    """Padding was counted as -1: add what ``outside`` (kinds, O) has for the edge of each pixel."""
    for p in range(edges.size):
        if edges[p] != 0:
            line = y[row + p * pitch : row + p * pitch + width]
            part = outside[edges[p], o : o + width]
            for k in range(line.size):
                line[k] += part[k]
