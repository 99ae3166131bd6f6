"""Binary convolution with few channels: vectors run over pixels.

The signs under a tile of the result are laid out as int8 in a strip, -1, 1 or whatever lies outside, in
rows of neighbours even if the windows move by several columns. A filter is then two lists of places in
the strip: its positive taps, whose rows are added, and its negative ones, whose rows are subtracted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import carray

from fastconv._epilogue import Epilogue
from fastconv._geometry import ImageLayout, Window
from fastconv._shared.problem import Strides, problem_of, result_strides
from fastconv._specs.xnor import BinaryConv
from fastconv.cpu import threads
from fastconv.cpu.arrays import Array
from fastconv.cpu.bits.vectors import in_range
from fastconv.cpu.kernels import Job, call_with, kernel, own, record, share
from fastconv.cpu.simd import LANES, PIXELS
from fastconv.cpu.xnor.epilogue import Finish
from fastconv.cpu.xnor.means import window_means
from fastconv.cpu.xnor.pack import Keys, sign_bounds, unpacked
from fastconv.cpu.xnor.problem import ELEMENTS, FINISH, UNIT
from fastconv.cpu.xnor.tiles import sum_signs, turn_over
from fastconv.packed import PackedFilters, PackedSigns

FEW_CHANNELS = 12
"""Up to this many channels per word of full vectors of filters, lanes run over pixels: a tap and channel then
take one operation on 64 pixels, a tap and word of the tiles three on 8 filters, half-filled or not. So a
single filter always has its lanes over pixels."""

SMALL_SUMS = 2**18
"""Sign products up to which one thread adds rows of pixels."""

LINE_SUMS = 4096
"""Sums of a line of pixels and its filters that a worker keeps: 16 KiB."""

STRIP_COLUMNS = 1024
"""Columns of the result per strip, and the longest line."""

STRIP_BYTES = 32 * 1024
"""Bytes of a strip from which on it takes no more rows: two thirds of a usual L1 cache."""

PLANES = record(
    "x low span taps places shifts strip order",
    "size origin channel_step terms band tile_rows tile_columns strip_rows pitch shift_count strip_size "
    "order_size down across by_line",
    FINISH,
)


@kernel(
    PLANES, taps=np.int64, places=np.int64, shifts=np.int64, strip=np.int8, order=np.int64, **ELEMENTS,
)  # fmt: skip
def multiply_planes(p, chunk, worker):
    """y = sum of sign(x) * weight over each window, finished and stored.

    x: flat memory of keys (N, C, H, W), those from ``low`` to ``low + span`` of +1; taps (O, 1 + T): of each
    filter the number of its positive taps, those, and the negative ones; places (T,): of each tap in the
    strip; shifts: the first column of each row of neighbours.
    """
    units = -(-p.groups * p.filters // UNIT)
    first, last = share(p, chunk, p.images * units * p.down * p.across)
    for task in range(first, last):
        rest, column = divmod(task, p.across)
        rest, row = divmod(rest, p.down)
        image, unit = divmod(rest, units)
        sum_tile(p, worker, image, unit * UNIT, row * p.tile_rows, column * p.tile_columns)


@numba.njit(error_model="numpy")
def sum_tile(p, worker, image, o, i, j):
    """Filters o to o + 64 on the tile of the result whose corner is (i, j)."""
    strip, order = own(p, p.strip, worker, p.strip_size), own(p, p.order, worker, p.order_size)
    height, width = p.positions // p.output_columns, p.output_columns
    m, columns = min(p.tile_rows, height - i), min(p.tile_columns, width - j)
    count = min(UNIT, p.groups * p.filters - o)
    taps = carray(p.taps, (p.groups * p.filters, 1 + p.terms))
    lay_out_channels(p, strip, (image, o, count), i, j, m)
    list_places(p, taps, order, o, count)
    sums = own(p, p.sums, worker, p.sums_size)
    for r in range(m):
        for first in range(0, columns, p.line):
            size = min(p.line, columns - first)
            begin = r * p.stride_rows * p.shift_count * p.pitch + first
            for k in range(count):
                start, middle, end = k * p.terms, k * p.terms + taps[o + k, 0], (k + 1) * p.terms
                sum_line(strip, begin, order, (start, middle, end), sums, k * p.line, size)
            pixel = (i + r) * width + j + first
            if p.by_line != 0:
                call_with(p.finish_lines, p, (worker, np.int64(0), size, count, image, o, pixel))
            else:
                at = -(-count // PIXELS) * PIXELS * p.line
                turn_over(sums, p.line, count, size, sums[at:], 0, UNIT)
                call_with(p.finish_rows, p, (worker, at, size, count, image, o, pixel))


@numba.njit(error_model="numpy")
def lay_out_channels(p, strip, where, i, j, m):
    """Lay out the channels of all groups that the filters ``where`` = (image, first, count) belong to."""
    image, o, count = where
    group, plane = o // p.filters, p.strip_rows * p.pitch * p.shift_count
    for g in range(group, (o + count - 1) // p.filters + 1):
        for c in range(p.channels):
            at = ((g - group) * p.channels + c) * plane
            lay_out(p, strip[at : at + plane], (image, g * p.channels + c), i, j, m)


@numba.njit(error_model="numpy")
def list_places(p, taps, order, o, count):
    """Places in the strip of the taps of each filter, the positive ones first."""
    places = carray(p.places, p.terms)
    group, plane = o // p.filters, p.strip_rows * p.pitch * p.shift_count
    for k in range(count):
        at = ((o + k) // p.filters - group) * p.channels * plane
        for t in range(p.terms):
            order[k * p.terms + t] = at + places[taps[o + k, 1 + t]]


@numba.njit(error_model="numpy")
def sum_line(strip, begin, order, terms, sums, at, size):
    """sums[at + q] = the sums of one filter, whose ``terms`` are (first, first negative, end) in
    ``order``."""
    q = 0
    while q + 3 * UNIT < size:
        sum_signs(strip, begin + q, order, terms, sums, at + q, 4)
        q += 4 * UNIT
    while q < size:
        sum_signs(strip, begin + q, order, terms, sums, at + q, 1)
        q += UNIT


@numba.njit(error_model="numpy")
def lay_out(p, strip, channel, i, j, m):
    """The signs of a channel under the tile: rows (strip row, shift, column)."""
    image, c = channel
    x, low, span = carray(p.x, p.size), carray(p.low, 1)[0], carray(p.span, 1)[0]
    shifts, outside = carray(p.shifts, p.shift_count), np.int8(p.outside)
    start = p.origin + image * p.image_step + c * p.channel_step
    for row in range((p.kernel_rows - 1) * p.band + (m - 1) * p.stride_rows + 1):
        y = i * p.stride_rows - p.top + row // p.band * p.dilation_rows + row % p.band
        for s in range(p.shift_count):
            line = strip[(row * p.shift_count + s) * p.pitch : (row * p.shift_count + s + 1) * p.pitch]
            first = j * p.stride_columns + shifts[s] - p.left
            lo = min(max(-(first // p.stride_columns), 0), p.pitch)
            hi = max(min((p.columns - 1 - first) // p.stride_columns + 1, p.pitch), lo)
            if y < 0 or y >= p.rows:
                lo = hi = 0
            line[:lo] = outside
            line[hi:] = outside
            if hi > lo:
                at = start + y * p.row_step + (first + lo * p.stride_columns) * p.column_step
                write_signs(x, at, p.stride_columns * p.column_step, low, span, line[lo:hi])


@numba.njit(error_model="numpy")
def write_signs(x, first, step, low, span, line):
    """line[k] = sign of x[first + k * step]."""
    plus, minus = np.int8(1), np.int8(-1)
    if step == 1:
        row = x[first : first + line.size]
        for k in range(line.size):
            line[k] = plus if in_range(row[k], low, span) else minus
    else:
        for k in range(line.size):
            line[k] = plus if in_range(x[first + k * step], low, span) else minus


class Strips(NamedTuple):
    """How strips are cut, see :func:`strips_of`."""

    places: Array
    shifts: Array
    numbers: dict[str, int]
    scratch: dict[str, int]


def strips_of(spec: BinaryConv, by_line: bool, workers: int) -> Strips:
    """Strips of a convolution: columns, then rows of neighbours, then rows of the result."""
    geometry, filters = spec.geometry, spec.filters // spec.groups
    kh, sh, dh = geometry.kernel[0], geometry.stride[0], geometry.dilation[0]
    height, width = geometry.output
    unit = min(UNIT, spec.filters)
    columns = min(STRIP_COLUMNS, width)
    length = UNIT
    if by_line:
        length = min(STRIP_COLUMNS, -(-width // UNIT) * UNIT, max(LINE_SUMS // unit // UNIT, 1) * UNIT)
    shifts, slots, far = neighbours(geometry, columns)
    pitch = -(-(columns + far) // UNIT) * UNIT + UNIT
    planes = spec.channels * min(spec.groups, (unit - 1) // filters + 2)
    across = -(-width // columns)

    def band(m: int) -> int:
        """Rows from one of the kernel's to the next in a strip for m rows of the result."""
        return min(dh, (m - 1) * sh + 1)

    def rows(m: int) -> int:
        return (kh - 1) * band(m) + (m - 1) * sh + 1

    tasks = spec.images * across * -(-spec.filters // UNIT)
    m = -(-height // max(1, -(-4 * workers // tasks)))
    while m > 1 and planes * rows(m) * len(shifts) * pitch > STRIP_BYTES:
        m = -(-m // 2)
    places = [
        ((c * rows(m) + a * band(m)) * len(shifts) + slot) * pitch + shift
        for c in range(spec.channels)
        for a in range(kh)
        for slot, shift in slots
    ]
    numbers = {
        "band": band(m), "tile_rows": m, "tile_columns": columns, "line": length, "strip_rows": rows(m),
        "pitch": pitch, "shift_count": len(shifts), "down": -(-height // m), "across": across,
    }  # fmt: skip
    scratch = {
        "strip": planes * rows(m) * len(shifts) * pitch + UNIT,
        "order": unit * len(places),
        "sums": -(-unit // PIXELS) * PIXELS * length + (0 if by_line else length * UNIT) + UNIT,
    }
    return Strips(np.array(places, np.int64), np.array(shifts, np.int64), numbers, scratch)


def neighbours(geometry: Window, columns: int) -> tuple[list[int], list[tuple[int, int]], int]:
    """First columns of the rows of neighbours; of each tap of a kernel row its row and its place there; and
    the columns by which these rows are longer than the result's.

    Taps a stride apart share a row of neighbours, unless dilation makes that row much longer.
    """
    kw, sw, dw = geometry.kernel[1], geometry.stride[1], geometry.dilation[1]
    reach = [b * dw for b in range(kw)]
    shifts = list(dict.fromkeys(b % sw for b in reach))
    far = reach[-1] // sw
    if len(shifts) * (columns + far) > kw * columns:
        return reach, [(slot, 0) for slot in range(kw)], 0
    return shifts, [(shifts.index(b % sw), b // sw) for b in reach], far


def supports(spec: BinaryConv) -> bool:
    """Whether filters have few channels, or there are few of them."""
    channels, filters = spec.channels, spec.filters // spec.groups
    words, padded = -(-channels // UNIT), -(-filters // LANES) * LANES
    return channels * filters <= FEW_CHANNELS * words * padded


class PixelConv:
    """The plan of a binary convolution by pixels."""

    def __init__(self, spec: BinaryConv) -> None:
        self.spec, geometry = spec, spec.geometry
        last = spec.target.channels_last and spec.target.rank > 2
        self.finish = finish = Finish(spec.outcome, spec.shape, spec.logical, last)
        dtype = np.dtype(np.int8) if spec.dtype is None else spec.dtype
        source = ImageLayout(max(spec.source.rank, 3), True) if spec.dtype is None else spec.source
        shape = source.shape(spec.images, spec.groups * spec.channels, *geometry.size)
        self.keys = Keys(shape, dtype, source, "column_step")
        terms = spec.channels * geometry.taps
        everything = spec.images * geometry.positions * spec.filters * terms
        workers = 1 if everything <= SMALL_SUMS else threads.threads()
        strips = strips_of(spec, finish.by_line, workers)
        strides = result_strides(spec.groups, spec.filters // spec.groups, geometry.positions, last)
        problem = problem_of(
            geometry, spec.images, Strides(0, 0, 0, 0), strides, groups=spec.groups,
            filters=spec.filters // spec.groups, channels=spec.channels, outside=spec.pad_value,
        )  # fmt: skip
        for step in ("image_step", "row_step", "column_step"):  # which the memory of x says
            del problem[step]
        self.low, self.span = sign_bounds(dtype)
        kind = self.low.dtype
        tasks = spec.images * -(-spec.filters // UNIT) * strips.numbers["down"] * strips.numbers["across"]
        self.job = Job(
            multiply_planes,
            1 if workers == 1 else min(tasks, threads.CHUNKS_EACH * workers),
            {"x": kind, "low": kind, "span": kind},
            {**strips.scratch, **finish.scratch()},
            images=spec.images, places=strips.places, shifts=strips.shifts, terms=terms,
            strip_size=strips.scratch["strip"], order_size=strips.scratch["order"],
            sums_size=strips.scratch["sums"], by_line=finish.by_line,
            finish_lines=finish.of_lines() if finish.by_line else 0,
            finish_rows=0 if finish.by_line else finish.of_rows(),
            **strips.numbers, **problem, **finish.values(),
        )  # fmt: skip
        self.means = window_means(spec)

    def __call__(self, x: Array, filters: PackedFilters, epilogue: Epilogue, out: Array | None) -> Any:
        finish = self.finish
        values = finish.given(epilogue)
        targets = finish.targets(out, [x, filters.words], values)
        if self.means is not None:
            values = {**values, "window": self.means(x)}
        if self.spec.dtype is None:
            x = unpacked(x, self.spec.channels * self.spec.groups)
        taps = filters.derived("order", lambda: tap_order(filters))
        self.job(low=self.low, span=self.span, taps=taps, **self.keys(x), **values, **targets)
        return finish.delivered(targets, out)


plan = PixelConv


def tap_order(filters: PackedFilters) -> Array:
    """Of each filter the number of its positive taps, then those, then the negative ones: (O, 1 + T)."""
    o, c, kh, kw = filters.shape
    signs = PackedSigns(filters.words, c).unpack().transpose(0, 3, 1, 2).reshape(o, c * kh * kw)
    order = np.argsort(-signs, axis=1, kind="stable")
    counts = (signs > 0).sum(axis=1, keepdims=True)
    return np.ascontiguousarray(np.concatenate([counts, order], axis=1), np.int64)
