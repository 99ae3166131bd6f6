"""The numba kernel of binary convolution with few channels, where lanes run over pixels.

The signs under a tile of the result are laid out as int8 in a strip, -1, 1 or whatever lies outside, in
rows of neighbours even if the windows move by several columns. A filter is then two lists of places in
the strip: its positive taps, whose rows are added, and its negative ones, whose rows are subtracted.
"""

from __future__ import annotations

import numba
import numpy as np

from fastconv.cpu._bit_vectors import in_range
from fastconv.cpu._store import store_lines, store_pixels, stored_by_pixel, turn_over
from fastconv.cpu._threads import parallel_kernel
from fastconv.cpu._tiles import UNIT, sum_signs
from fastconv.cpu.simd import PIXELS

IMAGES, ORIGIN, IMAGE_STEP, CHANNEL_STEP, ROW_STEP, PIXEL_STEP, OUTSIDE = range(7)
"""Places in ``image``: number of images; origin and strides of x; what lies outside."""

(
    CHANNELS, FILTERS,  # of a group
    IMAGE_ROWS, IMAGE_COLUMNS, ROWS, COLUMNS,  # of the images and of the result
    DOWN, ACROSS, ABOVE, LEFT,  # strides of the windows, and padding before the image
    KERNEL_ROWS, DILATION, BAND,  # rows from one of the kernel's to the next: in the image, in the strip
    TILE_ROWS, TILE_COLUMNS, LINE,  # of the result, and columns of a tile whose sums a worker keeps
    STRIP_ROWS, PITCH,  # of a channel in the strip, and columns of a row of neighbours
) = range(18)  # fmt: skip
"""Places in ``shape``: what the problem and its strips look like."""


@parallel_kernel
def multiply_planes(x, low, span, taps, places, shifts, image, shape, epilogue, strips, orders, scratch):
    """y = sum of sign(x) * weight over each window.

    x: flat memory of keys (N, C, H, W); low, span: see ``in_range``; taps (O, 1 + T): of each filter the
    number of its positive taps, those, and the negative ones; places (T,): of each tap in the strip;
    shifts: the first column of each row of neighbours; image: see ``IMAGES``;
    shape: see ``CHANNELS``; strips, orders, scratch: a worker's own.
    """
    workers = strips.shape[0]
    units = -(-taps.shape[0] // UNIT)
    down, across = -(-shape[ROWS] // shape[TILE_ROWS]), -(-shape[COLUMNS] // shape[TILE_COLUMNS])
    tasks = image[IMAGES] * units * down * across
    for index in numba.prange(workers):
        worker = np.int64(index)
        for task in range(tasks * worker // workers, tasks * (worker + 1) // workers):
            rest, column = divmod(task, across)
            rest, row = divmod(rest, down)
            n, unit = divmod(rest, units)
            _sum_tile(
                n, unit * UNIT, row * shape[TILE_ROWS], column * shape[TILE_COLUMNS], x, low, span, taps,
                places, shifts, image, shape, epilogue, strips[worker], orders[worker], scratch[worker],
            )  # fmt: skip


@numba.njit
def _sum_tile(
    n, o, i, j, x, low, span, taps, places, shifts, image, shape, epilogue, strip, order, scratch
):  # fmt: skip
    """Filters o to o + 64 on the tile of the result whose corner is (i, j)."""
    channels, filters, height, width = shape[CHANNELS], shape[FILTERS], shape[ROWS], shape[COLUMNS]
    m, columns, length = min(shape[TILE_ROWS], height - i), min(shape[TILE_COLUMNS], width - j), shape[LINE]
    count = min(UNIT, taps.shape[0] - o)
    group = o // filters
    plane, terms = shape[STRIP_ROWS] * shape[PITCH] * shifts.size, places.size
    for g in range(group, (o + count - 1) // filters + 1):
        for c in range(channels):
            at = ((g - group) * channels + c) * plane
            _lay_out(x, low, span, n, g * channels + c, i, j, m, shifts, image, shape, strip[at : at + plane])
    for k in range(count):
        at = ((o + k) // filters - group) * channels * plane
        for t in range(terms):
            order[k * terms + t] = at + places[taps[o + k, 1 + t]]
    by_pixel = stored_by_pixel(epilogue[0])
    for r in range(m):
        for first in range(0, columns, length):
            size = min(length, columns - first)
            begin = r * shape[DOWN] * shifts.size * shape[PITCH] + first
            for k in range(count):
                start, middle, end = k * terms, k * terms + taps[o + k, 0], (k + 1) * terms
                p = 0
                while p + 3 * UNIT < size:
                    sum_signs(strip, begin + p, order, start, middle, end, 4, scratch, k * length + p)
                    p += 4 * UNIT
                while p < size:
                    sum_signs(strip, begin + p, order, start, middle, end, 1, scratch, k * length + p)
                    p += UNIT
            position = (i + r) * width + j + first
            if by_pixel:
                pixels = scratch[-(-count // PIXELS) * PIXELS * length :]
                turn_over(scratch, length, count, size, pixels, 0, UNIT)
                store_pixels(pixels, size, count, n, o, position, epilogue)
            else:
                store_lines(scratch, length, size, count, n, o, position, epilogue)


@numba.njit
def _lay_out(x, low, span, n, c, i, j, m, shifts, image, shape, strip):
    """The signs of channel c under the tile: rows (strip row, shift, column)."""
    start = image[ORIGIN] + n * image[IMAGE_STEP] + c * image[CHANNEL_STEP]
    band, pitch = shape[BAND], shape[PITCH]
    for row in range((shape[KERNEL_ROWS] - 1) * band + (m - 1) * shape[DOWN] + 1):
        y = i * shape[DOWN] - shape[ABOVE] + row // band * shape[DILATION] + row % band
        for s in range(shifts.size):
            line = strip[(row * shifts.size + s) * pitch : (row * shifts.size + s + 1) * pitch]
            first = j * shape[ACROSS] + shifts[s] - shape[LEFT]
            lo = min(max(-(first // shape[ACROSS]), 0), pitch)
            hi = max(min((shape[IMAGE_COLUMNS] - 1 - first) // shape[ACROSS] + 1, pitch), lo)
            if y < 0 or y >= shape[IMAGE_ROWS]:
                lo = hi = 0
            line[:lo] = image[OUTSIDE]
            line[hi:] = image[OUTSIDE]
            if hi > lo:
                at = start + y * image[ROW_STEP] + (first + lo * shape[ACROSS]) * image[PIXEL_STEP]
                _write_signs(x, at, shape[ACROSS] * image[PIXEL_STEP], low, span, line[lo:hi])


@numba.njit
def _write_signs(x, first, step, low, span, line):
    """line[k] = sign of x[first + k * step]."""
    plus, minus = np.int8(1), np.int8(-1)
    if step == 1:
        row = x[first : first + line.size]
        for k in range(line.size):
            line[k] = plus if in_range(row[k], low, span) else minus
    else:
        for k in range(line.size):
            line[k] = plus if in_range(x[first + k * step], low, span) else minus
