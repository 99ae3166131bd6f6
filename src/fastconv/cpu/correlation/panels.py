"""Panels: the pixels under some rows of a result, with zeros around them, channels side by side."""

from __future__ import annotations

import numba
import numpy as np
from numba import carray
from numpy.typing import NDArray

from fastconv._checks import Pair
from fastconv._geometry import Window, reach
from fastconv.cpu.correlation.lanes import LANES, copy_vector
from fastconv.cpu.kernels import own
from fastconv.cpu.simd import copy_line, peek, poke, transpose_block

PANEL = "panel_rows panel_columns pixel by_planes turned_size"
"""Fields of a record that say how a panel lies in memory, ``pixel`` numbers for each. Pixels are turned over,
in scratch of ``turned_size`` numbers behind the address ``turned``, if ``by_planes``, that is if those of a
channel are one run."""


def panel_of(window: Window, band: int) -> Pair:
    """Rows and columns of pixels under ``band`` rows of the result."""
    rows, columns = reach(window.kernel, window.dilation)
    return rows + (band - 1) * window.stride[0], columns + (window.output[1] - 1) * window.stride[1]


def weight_places(window: Window, channels: int, row: int, pixel: int) -> NDArray[np.int64]:
    """Where in a panel the pixel of each weight of so many ``channels`` lies, from the first one of the
    window on, with so many numbers from ``row`` to row and from ``pixel`` to pixel."""
    (kh, kw), (down, across) = window.kernel, window.dilation
    c, a, b = np.ogrid[:channels, :kh, :kw]
    places: NDArray[np.int64] = (c + a * (down * row) + b * (across * pixel)).reshape(-1).astype(np.int64)
    return places


def window_places(window: Window, images: int, band: int, pixel: int) -> NDArray[np.int64]:
    """Where in panels of ``images``, one after the other, the windows of a band begin; and as many more as
    the last tile may reach beyond."""
    rows, columns = panel_of(window, band)
    image, i, j = np.ogrid[:images, :band, : window.output[1]]
    places = (image * rows + i * window.stride[0]) * columns + j * window.stride[1]
    return np.append(places.reshape(-1) * pixel, np.zeros(LANES)).astype(np.int64)


def turned_size(window: Window, rows: int) -> int:
    """Numbers of scratch for turning over the pixels of a panel of so many rows."""
    return max(LANES, min(rows, window.size[0]) * window.size[1]) * LANES


@numba.njit(error_model="numpy")
def lay_out(p, worker, panel, start, channels, row, rows):
    """Lay out the pixels under ``rows`` rows of the result from ``row`` on, of so many ``channels``, the
    first pixel of the first of which is x[start]."""
    x, wide, pitch, zero = carray(p.x, p.extent), p.panel_columns, p.pixel, panel.dtype.type(0)
    lo = min(p.left, wide)
    hi = max(lo, min(wide, p.width + p.left))
    above = row * p.stride_rows - p.top
    height = (p.kernel_rows - 1) * p.dilation_rows + (rows - 1) * p.stride_rows + 1
    first, last = min(max(above, 0), p.height), max(min(above + height, p.height), 0)
    size = (last - first) * p.width
    turn = p.by_planes != 0 and channels >= LANES and size >= LANES
    for r in range(height):
        y, begin = above + r, r * wide * pitch
        if y < first or y >= last:
            panel[begin : begin + wide * pitch] = zero
            continue
        panel[begin : begin + lo * pitch] = zero
        panel[begin + hi * pitch : begin + wide * pitch] = zero
        at = start + y * p.row_step
        if not turn:
            _copy_row(p, x, at, channels, panel, begin + lo * pitch, hi - lo)
    if not turn:
        return
    turned = own(p, p.turned, worker, p.turned_size)
    for some in range(0, channels, LANES):
        c = min(some, channels - LANES)
        begin = start + c * p.plane_step + first * p.width
        for k in range(0, size, LANES):
            i = min(k, size - LANES)
            transpose_block(x, begin + i, p.plane_step, turned, i * LANES, np.int64(LANES))
        for y in range(first, last):
            at, to = (y - first) * p.width * LANES, ((y - above) * wide + lo) * pitch + c
            for column in range(hi - lo):
                copy_vector(turned, at + column * LANES, panel, to + column * pitch)


@numba.njit(error_model="numpy")
def _copy_row(p, x, start, channels, panel, target, count):
    """``count`` pixels of a row, from x[start] to panel[target] on."""
    if p.plane_step == 1 and p.column_step == channels == p.pixel:
        copy_line(x[start : start + count * channels], panel[target : target + count * channels])
    elif p.plane_step == 1 and channels >= LANES:
        for k in range(count):
            at, to = start + k * p.column_step, target + k * p.pixel
            for c in range(0, channels, LANES):
                first = min(c, channels - LANES)
                copy_vector(x, at + first, panel, to + first)
    else:
        for c in range(channels):
            at, to = start + c * p.plane_step, target + c
            for k in range(count):
                poke(panel, to + k * p.pixel, peek(x, at + k * p.column_step))
