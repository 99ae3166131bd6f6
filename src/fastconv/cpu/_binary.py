"""The numba kernel of binary products: words of pixels against words of filters.

Numbers that only describe the problem come as one array.
"""

from __future__ import annotations

import numba
import numpy as np

from fastconv.cpu._store import (
    FILTER_STEP,
    GROUP_STEP,
    IMAGE_STEP,
    INTEGERS,
    KIND,
    PIXEL_STEP,
    store_lines,
    store_pixels,
    stored_by_pixel,
    turn_over,
)
from fastconv.cpu._threads import parallel_kernel
from fastconv.cpu._tiles import TILE_PIXELS, TILE_VECTORS, UNIT, prefetch_to_write, xnor_tile
from fastconv.cpu.simd import LANES, PIXELS

MOST_PIXELS = 60
"""Most pixels a task does at a time, a multiple of all TILE_PIXELS: their sums with a unit of 64 filters
take 15 KiB."""

IMAGES, GROUPS, FILTERS, PLANE, RUN, DEPTH, DOWN, ACROSS, TASK_PIXELS, SPLITS = range(10)
"""Places in ``problem``: images; groups; filters of a group; words of a plane, a run and a window; words
to the next row and the next column of windows; pixels of a task; parts the filters are split into."""


@parallel_kernel
def lay_tiles(words, tiles):
    """tiles (G, blocks, depth, 8) = words (G, O, depth) with 8 filters side by side, 0 for those missing."""
    groups, filters, depth = words.shape
    blocks = tiles.shape[1]
    for index in numba.prange(groups * blocks):
        g, block = divmod(np.int64(index), blocks)
        first = block * LANES
        tile, rows = tiles[g, block], words[g, first : first + LANES]
        if filters - first >= LANES:
            for d in range(depth):
                for k in range(LANES):
                    tile[d, k] = rows[k, d]
        else:
            for d in range(depth):
                for k in range(LANES):
                    tile[d, k] = rows[k, d] if first + k < filters else np.uint64(0)


@parallel_kernel
def multiply_words(words, tiles, offsets, problem, edges, totals, epilogue, starts, scratch):
    """y = totals - 2 * (bits in which each window differs from each filter), stored by the epilogue.

    words: flat planes; tiles: flat (G, blocks, depth, 8); offsets: see ``xnor_tile``;
    problem: see ``IMAGES``; edges: two arrays, the kind of edge each row and column of windows meets, 0 for
    none; totals (kinds, filters, each group's padded to blocks of 8): the sum if no bit differs, the same at
    all edges if there is one kind; starts, scratch: a worker's own.
    """
    workers = scratch.shape[0]
    positions = edges[0].size * edges[1].size
    tasks = problem[IMAGES] * -(-positions // problem[TASK_PIXELS]) * problem[SPLITS]
    for index in numba.prange(workers):
        worker = np.int64(index)
        for task in range(tasks * worker // workers, tasks * (worker + 1) // workers):
            _multiply_task(
                task,
                words,
                tiles,
                offsets,
                problem,
                edges,
                totals,
                epilogue,
                starts[worker],
                scratch[worker],
            )


@numba.njit
def _multiply_task(task, words, tiles, offsets, problem, edges, totals, epilogue, starts, scratch):
    """Some pixels against one part of the filters."""
    groups, filters, plane = problem[GROUPS], problem[FILTERS], problem[PLANE]
    pixels, splits = problem[TASK_PIXELS], problem[SPLITS]
    positions = edges[0].size * edges[1].size
    rest, part = divmod(task, -(-positions // pixels))
    image, split = divmod(rest, splits)
    first = part * pixels
    m = min(pixels, positions - first)
    bases = starts[MOST_PIXELS:]
    _place_windows(first, m, problem, edges, totals, starts, bases)
    numbers, _, _, _, _, _, integers, values, _ = epilogue
    by_pixel = stored_by_pixel(numbers)
    units, padded = -(-filters // UNIT), -(-filters // LANES) * LANES
    for unit in range(groups * units * split // splits, groups * units * (split + 1) // splits):
        g, f = unit // units, unit % units * UNIT
        width, o = min(UNIT, filters - f), g * filters + f
        origin = (image * groups + g) * plane
        window = words[origin : origin + plane]
        direct = numbers[KIND] == INTEGERS and by_pixel and width % LANES == 0
        y, row, pitch = scratch, np.int64(0), np.int64(UNIT)
        if direct:
            y, pitch = integers, numbers[PIXEL_STEP]
            row = image * numbers[IMAGE_STEP] + g * numbers[GROUP_STEP] + f + first * pitch
        begin = image * numbers[IMAGE_STEP] + g * numbers[GROUP_STEP] + f * numbers[FILTER_STEP] + first
        if not by_pixel:
            if numbers[KIND] == INTEGERS:
                _prefetch_lines(integers, begin, numbers[FILTER_STEP], m, width)
            else:
                _prefetch_lines(values, begin, numbers[FILTER_STEP], m, width)
        column = g * padded + f
        _multiply_tiles(
            window, starts, m, offsets, tiles, column, -(-width // LANES), problem, totals.reshape(-1), bases,
            y, row, pitch,
        )  # fmt: skip
        if direct:
            continue
        if by_pixel:
            store_pixels(scratch, m, width, image, o, first, epilogue)
        elif numbers[KIND] == INTEGERS and m >= PIXELS and width % PIXELS == 0:
            turn_over(scratch, UNIT, m, width, integers, begin, numbers[FILTER_STEP])
        else:
            lines = scratch[UNIT * UNIT :]
            turn_over(scratch, UNIT, m, width, lines, 0, UNIT)
            store_lines(lines, UNIT, m, width, image, o, first, epilogue)


@numba.njit
def _prefetch_lines(out, begin, pitch, m, width):
    """Ask for the lines that are going to be written in ``width`` rows of m, which no hardware foresees."""
    for k in range(width):
        for p in range(0, m, PIXELS):
            prefetch_to_write(out, begin + k * pitch + p)


@numba.njit
def _place_windows(first, m, problem, edges, totals, starts, bases):
    """Where the windows of m pixels start in a plane, and in ``totals`` the rows for the edges they meet."""
    rows, columns = edges
    pitch = totals.shape[1] if totals.shape[0] > 1 else 0
    i, j = divmod(first, columns.size)
    p = 0
    while p < m:
        n = min(m - p, columns.size - j)
        start, base = i * problem[DOWN] + j * problem[ACROSS], rows[i]
        kinds = columns[j : j + n]
        start_line, base_line = starts[p : p + n], bases[p : p + n]
        for k in range(n):
            start_line[k] = start + k * problem[ACROSS]
            base_line[k] = (base + kinds[k]) * pitch
        p += n
        i, j = i + 1, 0


@numba.njit
def _multiply_tiles(words, starts, m, offsets, tiles, column, blocks, problem, totals, bases, y, row, pitch):
    """y[row + p * pitch + k] of m pixels and ``blocks`` blocks of 8 filters from ``column`` on, tile by
    tile."""
    run, size = problem[RUN], problem[DEPTH] * LANES
    v = 0
    while v < blocks:
        f = column + v * LANES
        at, target = f * problem[DEPTH], row + v * LANES
        p = 0
        if v + TILE_VECTORS <= blocks:
            while p + TILE_PIXELS <= m:
                xnor_tile(
                    words, starts, p, TILE_PIXELS, offsets, run, tiles, at, size, TILE_VECTORS,
                    totals, bases, f, y, target + p * pitch, pitch,
                )  # fmt: skip
                p += TILE_PIXELS
            while p < m:
                xnor_tile(
                    words, starts, p, 1, offsets, run, tiles, at, size, TILE_VECTORS,
                    totals, bases, f, y, target + p * pitch, pitch,
                )  # fmt: skip
                p += 1
            v += TILE_VECTORS
        else:
            while p + TILE_PIXELS <= m:
                xnor_tile(
                    words, starts, p, TILE_PIXELS, offsets, run, tiles, at, size, 1,
                    totals, bases, f, y, target + p * pitch, pitch,
                )  # fmt: skip
                p += TILE_PIXELS
            while p < m:
                xnor_tile(
                    words, starts, p, 1, offsets, run, tiles, at, size, 1,
                    totals, bases, f, y, target + p * pitch, pitch,
                )  # fmt: skip
                p += 1
            v += 1
