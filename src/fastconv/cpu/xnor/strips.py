"""Strips of words under a tile of the result, for counting in slices, and which of their terms are outside.

A strip has a plane for each channel of a group. In it every word is what 64 filters see of that channel: as
the words of x are, or, where filters share channels, with bits repeated. Its rows are those under the tile,
each as one or more rows of neighbours, see :func:`fastconv.cpu.xnor.pixels.neighbours`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import carray

from fastconv._geometry import Window
from fastconv.cpu.arrays import Array
from fastconv.cpu.simd import LANES, copy_line
from fastconv.cpu.xnor.borders import edges
from fastconv.cpu.xnor.pixels import neighbours
from fastconv.cpu.xnor.problem import UNIT
from fastconv.cpu.xnor.slices import AT_ONCE

STRIP_WORDS = 16384
"""Words of a strip from which on it takes no more rows: 128 KiB. Rows where strips meet are laid out twice,
which costs more than to read from L2: groups of 8 channels take a third less time than with 32 KiB."""

STRIP_COLUMNS = 1024
"""Columns of the result per strip."""

STRIP = (
    "band tile_rows tile_columns strip_rows pitch line_pixels shift_count down across "
    "depth multiplier lowest group_mask whole doublings"
)
"""Fields of a record that say how strips are cut and laid out."""

EDGES = "left_words right_words skipped mask_pitch"
"""Fields that say where in a row the words begin and end whose terms are all inside, how many of those the
rows of tables leave out, and how far those are apart."""

NO_EDGE = 2**60
"""Where the words of a row end whose terms are all inside, if those of the last one are."""


@numba.njit(error_model="numpy")
def lay_out(p, strip, image, i, j, m):
    """The words under m rows of the result from (i, j) on: (plane, row, shift, column, depth).

    What is outside is written only if it counts as a sign: else it is masked, or not looked at.
    """
    shifts, count = carray(p.shifts, p.shift_count), p.line_pixels
    rows = (p.kernel_rows - 1) * p.band + (m - 1) * p.stride_rows + 1
    for s in range(p.shift_count):
        first = j * p.stride_columns + shifts[s] - p.left
        lo = min(max(-(first // p.stride_columns), 0), count)
        hi = max(min((p.columns - 1 - first) // p.stride_columns + 1, count), lo)
        start = image * p.image_step + (first + lo * p.stride_columns) * p.column_step
        for row in range(rows):
            y = i * p.stride_rows - p.top + row // p.band * p.dilation_rows + row % p.band
            inside = 0 <= y < p.rows
            for c in range(p.channels):
                at = ((c * p.strip_rows + row) * p.shift_count + s) * p.pitch
                if p.outside != 0:
                    fill_line(p, strip[at : at + p.pitch], lo if inside else count, hi)
                if inside and hi > lo:
                    lay_line(p, start + y * p.row_step, c, strip[at + lo * p.depth : at + hi * p.depth])


@numba.njit(error_model="numpy")
def fill_line(p, line, lo, hi):
    """The padding of a line whose pixels from ``lo`` on, before ``hi``, are inside."""
    outside = np.uint64(0xFFFFFFFFFFFFFFFF) if p.outside > 0 else np.uint64(0)
    for k in range(lo * p.depth):
        line[k] = outside
    for k in range(hi * p.depth, line.size):
        line[k] = outside


@numba.njit(error_model="numpy")
def lay_line(p, start, c, line):
    """The words of pixels that are a stride apart in x, the first at ``start``, as filters see channel c."""
    step, depth = p.stride_columns * p.column_step, p.depth
    x = carray(p.x, start + line.size)
    if p.whole != 0 and step == depth:
        copy_line(x[start : start + line.size], line)
        return
    for at in range(0, line.size, depth):
        for k in range(depth):
            line[at + k] = x[start + k] if p.whole != 0 else spread(p, x[start + (k >> p.doublings)], k, c)
        start += step


@numba.njit(error_model="numpy")
def spread(p, word, k, c):
    """Word k of a pixel as its filters see channel c of their groups, of a word that has these groups: the
    channel's bit in place of all bits of its group, and that for each filter of it."""
    word >>= np.uint64((k & (p.multiplier - 1)) << (6 - p.doublings))
    word = (word >> np.uint64(c) & np.uint64(p.lowest)) * np.uint64(p.group_mask)
    for _ in range(p.doublings):
        word = doubled(word)
    return word


@numba.njit(error_model="numpy", inline="always")
def doubled(word):
    """The lower 32 bits, each twice."""
    word &= np.uint64(0x00000000FFFFFFFF)
    for shift, mask in (
        (np.uint64(16), np.uint64(0x0000FFFF0000FFFF)),
        (np.uint64(8), np.uint64(0x00FF00FF00FF00FF)),
        (np.uint64(4), np.uint64(0x0F0F0F0F0F0F0F0F)),
        (np.uint64(2), np.uint64(0x3333333333333333)),
        (np.uint64(1), np.uint64(0x5555555555555555)),
    ):
        word = (word | word << shift) & mask
    return word | word << np.uint64(1)


class Strips(NamedTuple):
    """How strips are cut: places of terms in them, first columns of rows of neighbours, numbers of the
    record, and words of a strip."""

    places: Array
    shifts: Array
    numbers: dict[str, int]
    size: int


def strips_of(geometry: Window, channels: int, multiplier: int, depth: int, tasks: int) -> Strips:
    """Strips for groups of ``channels``, each seen by ``multiplier`` times as many filters, as words of which
    a pixel has ``depth``; cut into at least so many ``tasks`` an image, if it has as many rows."""
    kh, sh, dh = geometry.kernel[0], geometry.stride[0], geometry.dilation[0]
    height, width = geometry.output
    columns = min(STRIP_COLUMNS, width)
    shifts, slots, far = neighbours(geometry, columns)
    pitch = whole_lines((columns + far) * depth)

    def band(m: int) -> int:
        """Rows from one of the kernel's to the next in a strip for m rows of the result."""
        return min(dh, (m - 1) * sh + 1)

    def rows(m: int) -> int:
        return (kh - 1) * band(m) + (m - 1) * sh + 1

    across = -(-width // columns)
    m = -(-height // max(1, -(-tasks // across)))
    while m > 1 and channels * rows(m) * len(shifts) * pitch > STRIP_WORDS:
        m = -(-m // 2)
    places = [
        ((c * rows(m) + a * band(m)) * len(shifts) + slot) * pitch + shift * depth
        for a in range(kh)
        for slot, shift in slots
        for c in range(channels)
    ]
    numbers = {
        "band": band(m), "tile_rows": m, "tile_columns": columns, "strip_rows": rows(m), "pitch": pitch,
        "line_pixels": columns + far, "shift_count": len(shifts), "down": -(-height // m), "across": across,
        "depth": depth, "multiplier": multiplier, "group_mask": 2**channels - 1,
        "lowest": -1 if channels == 1 else sum(1 << k for k in range(0, UNIT, channels)),
        "whole": channels * multiplier == 1, "doublings": multiplier.bit_length() - 1,
    }  # fmt: skip
    size = channels * rows(m) * len(shifts) * pitch + AT_ONCE
    return Strips(np.array(places, np.int64), np.array(shifts, np.int64), numbers, size)


def whole_lines(words: int) -> int:
    """So many words, and those missing to whole lines of the cache: vectors that begin at multiples of
    them are loaded in half the time."""
    return -(-words // LANES) * LANES


class Edges(NamedTuple):
    """Which terms are outside.

    ``row_kinds`` has the kind of each row of windows, and ``ranges`` the first term inside of each kind, and
    the last + 1. For each word of a row, ``outsides`` (kinds, slices, words) are the numbers of its terms
    outside, in slices, and ``masks`` (columns of the kernel, words) ones where that column is inside; a
    term's mask begins at its place of ``mask_places``.
    """

    row_kinds: Array
    ranges: Array
    outsides: Array
    masks: Array
    mask_places: Array
    numbers: dict[str, int]


def edges_of(geometry: Window, channels: int, depth: int, slices: int, counted: bool) -> Edges:
    """The edges of a layer. If what is outside is ``counted`` as any sign is, there are none."""
    rows, columns, (row_kinds, column_kinds) = edges(geometry)
    rows = rows // len(column_kinds)
    kw = geometry.kernel[1]
    if counted:
        rows, columns, row_kinds, column_kinds = 0 * rows, 0 * columns, row_kinds[:1], column_kinds[:1]
    inside = np.flatnonzero(columns == 0)
    left, right = (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, 0)
    middle = -(-AT_ONCE // depth)  # pixels that fill a vector: as many of those inside are in the tables
    skipped = max(right - left - middle, 0)
    columns = np.delete(columns, slice(left + middle, left + middle + skipped))
    a0, a1 = np.array(row_kinds).T
    b0, b1 = np.array(column_kinds).T[:, columns]
    outside = (geometry.taps - (a1 - a0)[:, None] * (b1 - b0)) * channels
    bits = outside[:, None, :] >> np.arange(slices)[:, None] & 1
    taps, mask_pitch = np.arange(kw), columns.size * depth + AT_ONCE
    numbers = {
        "left_words": left * depth, "right_words": right * depth if right < geometry.output[1] else NO_EDGE,
        "skipped": skipped * depth, "mask_pitch": mask_pitch,
    }  # fmt: skip
    return Edges(
        rows,
        np.stack([a0, a1], 1) * kw * channels,
        _by_word(bits, depth),
        _by_word((b0 <= taps[:, None]) & (taps[:, None] < b1), depth),
        np.repeat(np.tile(taps, geometry.kernel[0]), channels) * mask_pitch,
        numbers,
    )


def _by_word(bits: Any, depth: int) -> Array:
    """All ones or none for each of the ``depth`` words of a pixel, and room for a vector that begins with the
    last of a row."""
    words = np.repeat(-bits.astype(np.int64), depth, axis=-1).astype(np.uint64)
    return np.ascontiguousarray(np.pad(words, [(0, 0)] * (words.ndim - 1) + [(0, AT_ONCE)]))
