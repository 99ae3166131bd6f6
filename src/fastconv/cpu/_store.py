"""The epilogue of binary products: what becomes of the integers of some pixels and filters.

The sums of m pixels and up to 64 filters come pixel by pixel, y[p * UNIT + k], or filter by filter,
y[k * pitch + p]; so does the result, and the two are turned into each other in between. The epilogue's
arguments stay together as one tuple, ``epilogue``:

    numbers: see ``KIND``;
    scale, bias (O,) and factor (N, G, L), empty for 1, for SCALED;
    tau, flip for SIGNS, with 63 more to read unless the filters of a group are a multiple of 64;
    integers, values, signs: the result's flat memory, two of them empty.
"""

from __future__ import annotations

import numba
import numpy as np
from numba.extending import register_jitable

from fastconv.cpu._tiles import UNIT, threshold_word, transpose_block
from fastconv.cpu.simd import PIXELS, copy_line

INTEGERS, SCALED, SIGNS = 0, 1, 2
"""What an epilogue stores: y; scale * y + bias; the bits of y >= tau."""

KIND, GROUPS, FILTERS, POSITIONS, IMAGE_STEP, GROUP_STEP, FILTER_STEP, PIXEL_STEP = range(8)
"""Places in ``numbers``: what to store; groups; filters of a group; pixels of an image; the result's strides,
of which that of filters is 1 if that of pixels is not."""


@register_jitable
def stored_by_pixel(numbers):
    """Whether a pixel's filters are neighbours in the result; those who launch the kernels ask, too."""
    return numbers[KIND] == SIGNS or numbers[PIXEL_STEP] != 1


@numba.njit
def turn_over(y, pitch, rows, columns, out, begin, step):
    """out[begin + j * step + i] = y[i * pitch + j], in blocks of 16 x 16, the last of which takes rows again
    rather than too many; up to 16 rows and columns are written, whatever is in them."""
    for j in range(0, columns, PIXELS):  # lines of ``out`` lie pages apart: finish 16 before the next
        for block in range(0, rows, PIXELS):
            i = min(block, max(rows - PIXELS, 0))
            transpose_block(y, i * pitch + j, pitch, out, begin + j * step + i, step)


@numba.njit
def store_pixels(y, m, width, image, o, first, epilogue):
    """Store m pixels from ``first`` on of ``width`` filters from o on, y[p * UNIT + k]."""
    numbers, scale, bias, factor, tau, flip, integers, values, signs = epilogue
    if numbers[KIND] == SIGNS:
        _store_signs(y, m, width, image * numbers[POSITIONS] + first, o, numbers, tau, flip, signs)
        return
    g, f = divmod(o, numbers[FILTERS])
    start = image * numbers[IMAGE_STEP] + g * numbers[GROUP_STEP] + f + first * numbers[PIXEL_STEP]
    for p in range(m):
        row, begin = y[p * UNIT : p * UNIT + width], start + p * numbers[PIXEL_STEP]
        if numbers[KIND] == INTEGERS:
            copy_line(row, integers[begin : begin + width])
            continue
        lo = 0
        while lo < width:  # factors differ between groups
            g = (o + lo) // numbers[FILTERS]
            hi = min(width, (g + 1) * numbers[FILTERS] - o) if factor.size else width
            window = (image * numbers[GROUPS] + g) * numbers[POSITIONS] + first + p
            each = factor[window] if factor.size else values.dtype.type(1)
            line = values[begin + lo : begin + hi]
            _scale_filters(row[lo:hi], scale[o + lo : o + hi], bias[o + lo : o + hi], each, line)
            lo = hi


@numba.njit
def store_lines(y, pitch, m, width, image, o, first, epilogue):
    """The same from y[k * pitch + p], where a filter's pixels are neighbours in the result."""
    numbers, scale, bias, factor, _, _, integers, values, _ = epilogue
    for k in range(width):
        g, f = divmod(o + k, numbers[FILTERS])
        begin = image * numbers[IMAGE_STEP] + g * numbers[GROUP_STEP] + f * numbers[FILTER_STEP] + first
        row = y[k * pitch : k * pitch + m]
        if numbers[KIND] == INTEGERS:
            copy_line(row, integers[begin : begin + m])
        else:
            line = values[begin : begin + m]
            window = (image * numbers[GROUPS] + g) * numbers[POSITIONS] + first
            if factor.size:
                _scale_pixels(row, factor[window : window + m], scale[o + k], bias[o + k], line)
            else:
                _scale_line(row, scale[o + k], bias[o + k], line)


@numba.njit
def _store_signs(y, m, width, row, o, numbers, tau, flip, signs):
    """Word by word: the bits of 64 filters belong to one word, or to two if o is not a multiple of 64.

    Filters come in order, so the first to reach a word finds nothing in it that is to stay.
    """
    depth = (numbers[GROUPS] * numbers[FILTERS] + 63) // 64
    shift = np.uint64(o % 64)
    mask = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - width)
    for p in range(m):
        bits = threshold_word(y, p * UNIT, tau, flip, o) & mask
        at = (row + p) * depth + o // 64
        if o % 64 == 0:
            signs[at] = bits
        else:
            signs[at] |= bits << shift
            if o % 64 + width > 64:
                signs[at + 1] = bits >> (np.uint64(64) - shift)


@numba.njit
def _scale_filters(row, scale, bias, each, line):
    for k in range(line.size):
        line[k] = line.dtype.type(row[k]) * (scale[k] * each) + bias[k]


@numba.njit
def _scale_pixels(row, factor, scale, bias, line):
    for p in range(line.size):
        line[p] = line.dtype.type(row[p]) * (scale * factor[p]) + bias


@numba.njit
def _scale_line(row, scale, bias, line):
    for p in range(line.size):
        line[p] = line.dtype.type(row[p]) * scale + bias
