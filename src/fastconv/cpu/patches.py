"""Patches on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any

import numba
import numpy as np
from numba import carray

from fastconv._geometry import Window
from fastconv._specs.patches import Col2im, Im2col
from fastconv.cpu.arrays import (
    Array,
    blocks,
    computable,
    deliver,
    flat_memory,
    native,
    readable,
    result,
    stacked,
)
from fastconv.cpu.kernels import Job, kernel, record, share
from fastconv.cpu.threads import SMALL, chunks_of
from fastconv.cpu.windows import PLANES, WINDOW, between, met, take, window_numbers

COPIED = 1 << 20
"""Elements of columns converted at a time where kernels cannot read them: 16 MiB at most."""

COPIED_PIXELS = 1 << 17
"""Pixels, or one plane of them, copied at a time where they do not follow one another: they stay in L2 until
they are gathered."""

NARROW = 10
"""Windows of a row up to which columns of windows are walked down, rather than rows along: to begin with
another row takes as long as so many strided elements."""

BAND = 4096
"""Pixels that windows are put back into at a time: they stay in L1 while all taps are added."""

GATHER = record("x columns", f"{PLANES} {WINDOW} planes first count")
SCATTER = record("columns image", f"{WINDOW} planes band bands")


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
        elements = {"x": bits, "columns": bits}
        self.job = Job(gather, chunks_of(rows, serially=serially), elements, **window_numbers(window))

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
        if width <= NARROW:
            _take_down(p, x, base, down, right, columns[index])
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
def _take_down(p, x, base, down, right, column):
    """One tap of the windows p.first ... p.first + column.size, column by column of windows."""
    inside, outside = met(p, right)
    first, last, width = p.first, p.first + column.size, p.out_columns
    above, below = between(p, down, 0, p.height)
    column[:] = 0
    for j in range(inside, outside):
        lo = max(above, -((j - first) // width))
        n = min(below, -((j - last) // width)) - lo
        y, z = lo * p.stride_rows + down, j * p.stride_columns + right
        start = base + y * p.row_step + z * p.column_step
        at, step = lo * width + j - first, p.stride_rows * p.row_step
        if width == 1:
            take(x, start, step, column[at : at + max(n, 0)])
        else:
            for k in range(n):
                column[at + k * width] = x[start + k * step]


class Scattering:
    """The plan of col2im."""

    def __init__(self, spec: Col2im) -> None:
        self.spec, self.dtype = spec, spec.dtype.newbyteorder("=")
        self.sums = self.dtype
        if self.dtype in (np.bool_, np.float16):
            self.sums = np.dtype(np.int32 if self.dtype == np.bool_ else np.float32)
        window, planes = spec.window, prod(spec.shape[:-2])
        serially = prod(spec.cols) * spec.dtype.itemsize <= SMALL
        if prod(spec.shape):
            height, width = window.size
            bands = -(-height // max(1, BAND // width))
            self.job = Job(
                scatter,
                chunks_of(planes * bands, serially=serially),
                {"columns": self.sums, "image": self.sums},
                **window_numbers(window),
                band=-(-height // bands),
                bands=bands,
            )

    def __call__(self, cols: Array, out: Array | None) -> Array:
        target = result(out, self.spec.shape, self.dtype, cols)
        if target.size and self.sums == self.dtype and readable(cols):
            self.job(columns=cols, image=target, planes=prod(target.shape[:-2]))
        elif target.size:
            self._by_blocks(cols, target)
        return deliver(target, out)

    def _by_blocks(self, cols: Array, target: Array) -> None:
        """Columns that have to be copied, some at a time."""
        window = self.spec.window
        planes = cols.reshape(*target.shape[:-2], window.taps, window.positions)
        for index in blocks(target.shape[:-2], COPIED // (window.taps * window.positions)):
            part = planes[index]
            part = part.astype(np.int32, order="C") if part.dtype == np.bool_ else computable(part)
            sums = np.empty(target[index].shape, self.sums)
            self.job(columns=part, image=sums, planes=prod(sums.shape[:-2]))
            target[index] = sums


@kernel(SCATTER)
def scatter(p, chunk, worker):
    """columns (P, kh * kw, Ho, Wo); image (P, H, W): each band of rows gathers what falls on it."""
    taps, positions = p.kernel_rows * p.kernel_columns, p.out_rows * p.out_columns
    size = p.height * p.width
    columns, image = carray(p.columns, p.planes * taps * positions), carray(p.image, p.planes * size)
    begin, end = share(p, chunk, p.planes * p.bands)
    for index in range(begin, end):
        plane, band = divmod(index, p.bands)
        rows = band * p.band, min((band + 1) * p.band, p.height)
        start = plane * size
        image[start + rows[0] * p.width : start + rows[1] * p.width] = 0
        for tap in range(taps):
            source = columns[(plane * taps + tap) * positions : (plane * taps + tap + 1) * positions]
            _add_tap(p, tap, source, rows, image[start : start + size])


@numba.njit(error_model="numpy")
def _add_tap(p, tap, source, rows, plane):
    """Add what one tap sees, ``source`` (Ho, Wo), to some ``rows`` of a ``plane`` (H, W), along rows or down
    columns, whichever are longer."""
    a, b = divmod(tap, p.kernel_columns)
    down, right = a * p.dilation_rows - p.top, b * p.dilation_columns - p.left
    (above, below), (inside, outside) = between(p, down, rows[0], rows[1]), met(p, right)
    at = (above * p.stride_rows + down) * p.width + inside * p.stride_columns + right
    begin, height, width = above * p.out_columns + inside, below - above, outside - inside
    if p.out_columns <= NARROW and height > width:
        for j in range(width):
            steps = p.out_columns, p.stride_rows * p.width
            _add_line(source, begin + j, plane, at + j * p.stride_columns, steps, height)
    else:
        for i in range(height):
            to, steps = at + i * p.stride_rows * p.width, (np.int64(1), p.stride_columns)
            _add_line(source, begin + i * p.out_columns, plane, to, steps, width)


@numba.njit(error_model="numpy")
def _add_line(source, begin, target, at, steps, count):
    """target[at + k * steps[1]] += source[begin + k * steps[0]] for k < ``count``; a loop of its own for
    neighbours, so that LLVM vectorises it."""
    if steps == (1, 1):
        given, sums = source[begin : begin + count], target[at : at + count]
        for k in range(count):
            sums[k] += given[k]
    else:
        for k in range(count):
            target[at + k * steps[1]] += source[begin + k * steps[0]]


PLANNERS: dict[type, Callable[[Any], Callable[..., Array]]] = {Im2col: Gathering, Col2im: Scattering}


@lru_cache(maxsize=256, typed=True)
def plan(spec: Im2col | Col2im) -> Callable[..., Array]:
    """What computes ``spec``, called with an array and ``out``."""
    return PLANNERS[type(spec)](spec)
