"""im2col on NumPy arrays: windows as columns."""

from __future__ import annotations

from math import prod
from typing import Any

import numba
import numpy as np
from numba import carray

from fastconv._geometry import Window
from fastconv._specs.patches import Im2col
from fastconv.cpu.arrays import Array, blocks, deliver, flat_memory, native, readable, result, stacked
from fastconv.cpu.kernels import Job, kernel, record, share
from fastconv.cpu.patches.moves import FEW_COLUMNS, VECTOR_BYTES, gathering, move, places_type
from fastconv.cpu.simd import peek, poke
from fastconv.cpu.threads import SMALL, chunks_of
from fastconv.cpu.windows import PLANES, WINDOW, between, met, take, window_numbers

COPIED_PIXELS = 1 << 17
"""Pixels, or one plane of them, copied at a time where they do not follow one another: they stay in L2 until
they are gathered."""

GATHER = record("x columns places", f"{PLANES} {WINDOW} planes first count moved")
"""``moved`` rows of windows are taken at once, see :class:`fastconv.cpu.patches.moves.Gathered`."""


def carrier(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """A dtype that moves the bits of ``dtype`` through numba unchanged."""
    size = dtype.itemsize
    return np.dtype(np.complex128 if size == 16 else f"u{size}")


class Gathering:
    """The plan of im2col."""

    def __init__(self, spec: Im2col) -> None:
        self.spec, self.dtype = spec, spec.dtype.newbyteorder("=")
        self.bits = carrier(spec.dtype)
        window = spec.window
        self.columns = (*spec.x[:-2], window.taps, window.positions)
        if prod(spec.shape):
            self.gather = Gather(self.bits, window, prod(spec.x[:-2]), window.positions)

    def __call__(self, x: Array, out: Array | None) -> Array:
        target = result(out, self.spec.shape, self.dtype, x)
        if not target.size:
            return deliver(target, out)
        columns = target.view(self.bits).reshape(self.columns)
        if readable(x):
            self._gather(x, columns)
            return deliver(target, out)
        # Each tap reads the image anew: in another order, or with gaps, that takes longer than one copy.
        for index in blocks(x.shape[:-2], COPIED_PIXELS // max(prod(x.shape[-2:]), 1)):
            self._gather(native(np.asarray(x[index])), columns[index])
        return deliver(target, out)

    def _gather(self, x: Array, columns: Array) -> None:
        self.gather(stacked(x.view(self.bits), 2), 0, columns.reshape(-1, self.columns[-1]))


class Gather:
    """Windows of ``planes`` images of elements ``bits``, unsigned integers or complex128, as columns, about
    ``count`` at a time."""

    def __init__(self, bits: np.dtype[Any], window: Window, planes: int, count: int) -> None:
        rows = planes * window.taps
        serially = rows * count * bits.itemsize <= SMALL
        moves = gathering(window, bits)
        elements = {"x": bits, "columns": bits, "places": places_type(bits)}
        self.job = Job(
            gather, chunks_of(rows, serially=serially), elements,
            moved=moves.rows, places=moves.places, **window_numbers(window),
        )  # fmt: skip

    def __call__(self, images: Array, first: int, columns: Array) -> None:
        """Fill ``columns`` (planes * taps, n) with windows first ... first + n of ``images`` (planes, H, W),
        which may have any strides."""
        flat, origin, (plane, row, column) = flat_memory(images)
        self.job(
            x=flat, extent=flat.size, origin=origin, plane_step=plane, row_step=row, column_step=column,
            columns=columns, planes=len(images), first=first, count=columns.shape[1],
        )  # fmt: skip


@kernel(GATHER)
def gather(p, chunk, worker):
    """x: flat memory of planes (P, H, W); columns (P * kh * kw, count): windows first ... first + count."""
    taps, width = p.kernel_rows * p.kernel_columns, p.out_columns
    x, columns = carray(p.x, p.extent), carray(p.columns, (p.planes * taps, p.count))
    step = p.stride_columns * p.column_step
    shifted = width == p.width and p.stride_rows == 1 and step == 1 and p.row_step == width
    in_rows = p.row_step == p.width and p.column_step == 1
    begin, end = share(p, chunk, p.planes * taps)
    for index in range(begin, end):
        plane, tap = divmod(index, taps)
        a, b = divmod(tap, p.kernel_columns)
        down, right = a * p.dilation_rows - p.top, b * p.dilation_columns - p.left
        inside, outside = met(p, right)
        base = p.origin + plane * p.plane_step
        if shifted:
            _shift(p, x, base, down, right, columns[index])
            continue
        if width <= FEW_COLUMNS or (p.moved > 0 and in_rows):
            column = columns[index]
            column[:] = 0
            rows = (
                _take_rows(p, x, base, tap, column) if p.moved > 0 and in_rows else (np.int64(0), np.int64(0))
            )
            _take_down(p, x, base, (down, right), rows, column)
            continue
        done = 0
        while done < p.count:
            i, j = divmod(p.first + done, width)
            part = columns[index, done : done + min(width - j, p.count - done)]
            row = i * p.stride_rows + down
            lo = min(max(inside - j, 0), part.size)
            hi = max(min(outside - j, part.size), lo)
            if row < 0 or row >= p.height:
                lo = hi = part.size
            part[:lo] = 0
            start = base + row * p.row_step + ((j + lo) * p.stride_columns + right) * p.column_step
            take(x, start, step, part[lo:hi])
            part[hi:] = 0
            done += part.size


@numba.njit(error_model="numpy")
def _shift(p, x, base, down, right, column):
    """One tap where windows and pixels are as many: the plane at x[base], moved by ``down`` rows and
    ``right`` pixels in one long copy, then zeros for what came from beyond the ends of rows."""
    height, width, first = p.height, p.width, p.first
    inside, outside = met(p, right)
    last = first + column.size
    move = down * width + right
    begin = min(max(first, -down * width, -move), last)
    end = max(min(last, (height - down) * width, height * width - move), begin)
    column[: begin - first] = 0
    take(x, base + begin + move, 1, column[begin - first : end - first])
    column[end - first :] = 0
    for j in range(width):
        if j < inside or j >= outside:
            for k in range((begin - j + width - 1) // width * width + j, end, width):
                column[k - first] = 0


@numba.njit(error_model="numpy")
def _take_rows(p, x, base, tap, column):
    """One tap of the windows p.first ... p.first + column.size, several rows of them at once, as far as
    vectors fit into column and image. Gives the first row and the last + 1 that were done."""
    a, b = divmod(tap, p.kernel_columns)
    down, right = a * p.dilation_rows - p.top, b * p.dilation_columns - p.left
    inside, outside = met(p, right)
    above, below = between(p, down, 0, p.height)
    lanes, width = VECTOR_BYTES // x.itemsize, p.out_columns
    places = carray(p.places, p.kernel_columns * lanes)
    first = max(above, -(-p.first // width))
    row, at = first, first * width - p.first
    start = base + (first * p.stride_rows + down) * p.width + inside * p.stride_columns + right
    while outside > inside and row < below and at + lanes <= column.size and start + lanes <= p.extent:
        move(x, start, places, b * lanes, column, at)
        row, at = row + p.moved, at + p.moved * width
        start += p.moved * p.stride_rows * p.width
    if row > max(first, below):  # of rows below the image, zeros
        column[below * width - p.first : min(row * width - p.first, column.size)] = 0
    return first, row


@numba.njit(error_model="numpy")
def _take_down(p, x, base, place, done, column):
    """One tap, (down, right) of the first pixel, of the windows p.first ... p.first + column.size, column by
    column of windows, but for the rows from done[0] to done[1]."""
    down, right = place
    inside, outside = met(p, right)
    first, last, width = p.first, p.first + column.size, p.out_columns
    above, below = between(p, down, 0, p.height)
    step = p.stride_rows * p.row_step
    for j in range(inside, outside):
        begin, end = max(above, -((j - first) // width)), min(below, -((j - last) // width))
        for lo, hi in ((begin, min(done[0], end)), (max(begin, done[1]), end)):
            y, z = lo * p.stride_rows + down, j * p.stride_columns + right
            start, at = base + y * p.row_step + z * p.column_step, lo * width + j - first
            if width == 1:
                take(x, start, step, column[at : at + max(hi - lo, 0)])
            else:
                for k in range(hi - lo):
                    poke(column, at + k * width, peek(x, start + k * step))
