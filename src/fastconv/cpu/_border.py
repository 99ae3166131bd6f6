"""A tile of a correlation: where the kernel fits into the image, and what lies around it."""

from __future__ import annotations

import numba
import numpy as np

from fastconv.cpu._stencil import PREFETCH_ROWS, VECTOR_BYTES, correlate_strip
from fastconv.cpu.simd import copy_line, prefetch

ABOVE, LEFT, BOUNDARY, DIRECT, TILE_HEIGHT, TILE_WIDTH, STREAM = range(7)
"""Places in ``frame``: rows above and columns left of the image at which the first window begins; what lies
outside, see :func:`_inner`; 1 if the image is read where it lies; rows and columns of a tile; 1 if the result
is written past the caches."""


@numba.njit
def filter_tile(image, taps, passes, frame, fill, strip, i, j, m, n, out, target, pitch, stream):
    """out[target + r * pitch + c] = the result at (i + r, j + c), r < m, c < n; past
    the caches, if ``stream``.

    Where the kernel fits into the image, straight from there; the rest, rounded up to whole strips, from a
    padded copy: alone, a vector takes 1.4 to 1.8 times as long as in a strip.
    """
    height, width = image.shape
    kw, kh = taps.shape
    lanes = VECTOR_BYTES // taps.itemsize
    wide = passes[0, 4] * lanes
    skip = -(out.ctypes.data // out.itemsize + target) % lanes if stream else 0
    rest = (n - skip) % lanes if stream else 0
    top, bottom = _inside(i, m, frame[ABOVE], height - kh + 1)
    left, right = _inside(j, n, frame[LEFT], width - kw + 1)
    left, right = _edge(left, skip, wide), n - _edge(n - right, rest, wide)
    if frame[DIRECT] == 0 or bottom <= top or right - left < wide:
        top = bottom = m
        left = right = 0
    for r0, r1, c0, c1 in (
        (0, top, 0, n),
        (bottom, m, 0, n),
        (top, bottom, 0, left),
        (top, bottom, right, n),
    ):
        if r1 > r0 and c1 > c0:
            y, x = i + r0 - frame[ABOVE], j + c0 - frame[LEFT]
            across = max(c1 - c0, lanes) + kw - 1
            _pad(image, y, x, r1 - r0 + kh - 1, c1 - c0 + kw - 1, frame[BOUNDARY], fill[0], strip, across)
            source, at = np.int64(strip.ctypes.data), target + r0 * pitch + c0
            sweep(source, across, taps, passes, out, at, pitch, r1 - r0, c1 - c0, False)
    if bottom > top:
        start = (i + top - frame[ABOVE]) * width + j + left - frame[LEFT]
        source, at = np.int64(image.ctypes.data) + start * image.itemsize, target + top * pitch + left
        sweep(source, width, taps, passes, out, at, pitch, bottom - top, right - left, stream)


@numba.njit
def _edge(outside, over, wide):
    """How many columns at an edge to copy: those whose windows reach outside, and from the columns ``over``
    on whole strips."""
    if outside == 0 and over == 0:
        return 0
    return over + -(-max(outside - over, 1) // wide) * wide


@numba.njit
def sweep(source, pitch, taps, passes, out, target, out_pitch, m, n, stream):
    """Correlate m x n results from the pixels at the address ``source``, strip by strip."""
    kh = taps.shape[1]
    lanes = VECTOR_BYTES // taps.itemsize
    flat = taps.reshape(-1)
    wide = passes[0, 4]
    j = 0
    while j < n:
        columns = wide if n >= wide * lanes and 2 * (n - j) > wide * lanes else 1
        j = max(0, min(j, n - columns * lanes))
        for k in range(passes.shape[0]):
            a, rows, b, width = passes[k, 0], passes[k, 1], passes[k, 2], passes[k, 3]
            at = source + (a * pitch + b + j) * taps.itemsize
            correlate_strip(
                at, pitch, flat, b * kh + a, kh, width, rows, columns,
                out, target + j, out_pitch, m, min(lanes, n), k > 0, stream and columns > 1,
            )  # fmt: skip
        j += columns * lanes


@numba.njit
def _inside(start, length, before, count):
    """Which of ``length`` results from ``start`` on have their window in the image: first and last + 1."""
    first = min(max(before - start, 0), length)
    return first, max(min(before + count - start, length), first)


@numba.njit
def _pad(image, row, column, m, n, boundary, fill, strip, pitch):
    """strip[r * pitch + c] = pixel (row + r, column + c) of the padded image, r < m, c < n; 0 in the rest of
    a row, for vectors reach there: what lies in memory may be denormal numbers, each 100 times as slow."""
    height, width = image.shape
    lo = min(max(-column, 0), n)
    hi = max(min(width - column, n), lo)
    for r in range(m):
        line = strip[r * pitch : r * pitch + n]
        strip[r * pitch + n : (r + 1) * pitch] = 0
        y = _inner(row + r, height, boundary)
        if y < 0:
            line[:] = fill
            continue
        source = image[y]
        ahead = np.int64(source.ctypes.data) + (PREFETCH_ROWS * width + column) * image.itemsize
        for offset in range(0, n * image.itemsize, 64):
            prefetch(ahead + offset)
        # slices, so that LLVM sees plain indices that never wrap around, and vectorises
        if hi > lo:
            copy_line(source[column + lo : column + hi], line[lo:hi])
        for part in ((0, lo), (hi, n)):
            for c in range(part[0], part[1]):
                x = _inner(column + c, width, boundary)
                if x < 0:
                    line[c] = fill
                else:
                    line[c] = source[x]


@numba.njit
def _inner(position, n, boundary):
    """The pixel of n that stands at ``position``, maybe outside; -1 for the fill value."""
    if 0 <= position < n:
        return position
    if boundary == 0:
        return np.int64(-1)
    if boundary == 1:
        return position % n
    folded = position % (2 * n)
    return folded if folded < n else 2 * n - 1 - folded
