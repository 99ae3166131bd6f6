"""Where a kernel fits into an image, and what lies around it."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit
def inside(start, length, before, count):
    """Which of ``length`` results from ``start`` on have their window in the image: first and last + 1."""
    first = min(max(before - start, 0), length)
    return first, max(min(before + count - start, length), first)


@numba.njit
def pad(image, row, column, m, n, boundary, fill, strip, pitch):
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
        # slices, so that LLVM sees plain indices that never wrap around, and vectorises
        if hi > lo:
            _copy(source[column + lo : column + hi], line[lo:hi])
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


@numba.njit
def _copy(source, target):
    for k in range(source.size):
        target[k] = source[k]
