"""col2im on NumPy arrays: columns added up where their windows see pixels."""

from __future__ import annotations

from math import prod

import numba
import numpy as np
from numba import carray

from fastconv._specs.patches import Col2im
from fastconv.cpu.arrays import Array, blocks, computable, deliver, readable, result
from fastconv.cpu.kernels import Job, kernel, record, share
from fastconv.cpu.patches.moves import FEW_COLUMNS, VECTOR_BYTES, add_up, places_type, scattering
from fastconv.cpu.threads import SMALL, chunks_of
from fastconv.cpu.windows import WINDOW, between, met, window_numbers

COPIED = 1 << 20
"""Elements of columns converted at a time where kernels cannot read them: 16 MiB at most."""

BAND = 4096
"""Pixels that windows are put back into at a time: they stay in L1 while all taps are added."""

SCATTER = record(
    "columns image places starts", f"{WINDOW} planes band bands moved first_moved last_moved farthest"
)
"""``moved`` rows are added up at once, from ``first_moved`` to ``last_moved``, see
:class:`fastconv.cpu.patches.moves.Scattered`; ``farthest`` is the largest of its starts."""


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
            moves = scattering(window, self.sums)
            self.job = Job(
                scatter,
                chunks_of(planes * bands, serially=serially),
                {"columns": self.sums, "image": self.sums, "places": places_type(self.sums)},
                **window_numbers(window),
                band=-(-height // bands),
                bands=bands,
                moved=moves.rows,
                places=moves.places,
                starts=moves.starts,
                first_moved=moves.first,
                last_moved=moves.last,
                farthest=moves.starts.max(),
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


@kernel(SCATTER, starts=np.int64)
def scatter(p, chunk, worker):
    """columns (P, kh * kw, Ho, Wo); image (P, H, W): each band of rows gathers what falls on it."""
    size = p.height * p.width
    image = carray(p.image, p.planes * size)
    begin, end = share(p, chunk, p.planes * p.bands)
    for index in range(begin, end):
        plane, band = divmod(index, p.bands)
        first, last = band * p.band, min((band + 1) * p.band, p.height)
        own = image[plane * size : (plane + 1) * size]
        above, below = _add_up_rows(p, plane, (first, last), own) if p.moved > 0 else (last, last)
        _add_taps(p, plane, (first, above), own)
        _add_taps(p, plane, (below, last), own)


@numba.njit(error_model="numpy")
def _add_up_rows(p, plane, rows, target):
    """Add up what falls on some ``rows`` of a plane, several at once, as far as all taps see as many. Gives
    the first row and the last + 1 that were done."""
    taps, positions = p.kernel_rows * p.kernel_columns, p.out_rows * p.out_columns
    lanes = VECTOR_BYTES // target.itemsize
    columns, places = carray(p.columns, p.planes * taps * positions), carray(p.places, taps * lanes)
    starts = carray(p.starts, taps)
    first = min(rows[1], -(-max(rows[0], p.first_moved) // p.stride_rows) * p.stride_rows)
    row, last = first, min(rows[1], p.last_moved)
    start = plane * taps * positions + row // p.stride_rows * p.out_columns
    room = columns.size - lanes - p.farthest
    while row + p.moved <= last and row * p.width + lanes <= rows[1] * p.width and start <= room:
        add_up(columns, start, starts, places, taps, target, row * p.width)
        row, start = row + p.moved, start + p.moved // p.stride_rows * p.out_columns
    return first, row


@numba.njit(error_model="numpy")
def _add_taps(p, plane, rows, target):
    """Add up what falls on some ``rows`` of a plane, tap by tap."""
    taps, positions = p.kernel_rows * p.kernel_columns, p.out_rows * p.out_columns
    columns = carray(p.columns, p.planes * taps * positions)
    target[rows[0] * p.width : rows[1] * p.width] = 0
    for tap in range(taps if rows[1] > rows[0] else 0):
        source = columns[(plane * taps + tap) * positions : (plane * taps + tap + 1) * positions]
        _add_tap(p, tap, source, rows, target)


@numba.njit(error_model="numpy")
def _add_tap(p, tap, source, rows, plane):
    """Add what one tap sees, ``source`` (Ho, Wo), to some ``rows`` of a ``plane`` (H, W), along rows or down
    columns, whichever are longer."""
    a, b = divmod(tap, p.kernel_columns)
    down, right = a * p.dilation_rows - p.top, b * p.dilation_columns - p.left
    (above, below), (inside, outside) = between(p, down, rows[0], rows[1]), met(p, right)
    at = (above * p.stride_rows + down) * p.width + inside * p.stride_columns + right
    begin, height, width = above * p.out_columns + inside, below - above, outside - inside
    if p.out_columns <= FEW_COLUMNS and height > width:
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
