"""What the kernels of binary convolution need to know of a geometry; made once and remembered.

A small call takes less time than making these arrays does, so they are kept for the latest geometries.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv._checks import Pair
from fastconv._geometry import Window
from fastconv.cpu._binary import MOST_PIXELS
from fastconv.cpu._tiles import TILE_PIXELS, UNIT
from fastconv.cpu.arrays import Array, native
from fastconv.cpu.simd import LANES, PIXELS

REMEMBERED = 256
"""Geometries kept: more than the layers of a network; about 10 KiB each."""

LINE_SUMS = 4096
"""Sums of a line of pixels and its filters that a worker keeps: 16 KiB."""

STRIP_COLUMNS = 1024
"""Columns of the result per strip, and the longest line."""

STRIP_BYTES = 32 * 1024
"""Bytes of a strip from which on it takes no more rows: two thirds of a usual L1 cache."""

Kinds = tuple[Pair, ...]
"""The ranges of taps that lie inside: first (0, taps), the whole, then what borders leave of it."""


def numbers(*values: int) -> Array:
    """Integers as a kernel takes them."""
    return native(np.array(values, np.int64))


class WordPlan(NamedTuple):
    """See :func:`fastconv.cpu._binary.multiply_words`."""

    problem: Array
    offsets: Array
    edges: tuple[Array, Array]
    kinds: tuple[Kinds, Kinds]
    totals: Array
    """Where padding counts as -1, or there is none."""


@lru_cache(REMEMBERED)
def word_plan(
    geometry: Window,
    n: int,
    groups: int,
    depth: int,
    filters: int,
    terms: int,
    whole: bool,
    by_line: bool,
    workers: int,
) -> WordPlan:
    """``whole``: one task must do all filters of a pixel; ``by_line``: a filter's pixels are neighbours in
    the result, where workers that shared its lines would wait for each other."""
    height, width = geometry.padded
    (kh, kw), (sh, sw), (dh, dw) = geometry.kernel, geometry.stride, geometry.dilation
    offsets = np.arange(kh)[:, None] * dh * width
    run = kw * depth
    if dw > 1:
        offsets = offsets + np.arange(kw) * dw
        run = depth
    units = groups * -(-filters // UNIT)
    positions, splits = geometry.positions, 1
    parts = -(-positions // MOST_PIXELS)
    if by_line and n % workers and units % workers == 0:
        splits = workers
        pixels = _task_pixels(positions, n * splits, workers)
    elif n * parts >= workers or whole:
        pixels = _task_pixels(positions, n, workers)
    else:
        splits = units
        pixels = -(-positions // max(parts, -(-workers // (n * units))))
    problem = numbers(  # in the order of _binary.IMAGES
        n, groups, filters, height * width * depth, run, kh * kw * depth,
        sh * width * depth, sw * depth, pixels, splits,
    )  # fmt: skip
    totals = native(np.full((1, groups * -(-filters // LANES) * LANES), terms, np.int32))
    rows, row_kinds = _edges(geometry, 0)
    columns, column_kinds = _edges(geometry, 1)
    edges = (native(rows * len(column_kinds)), native(columns))
    return WordPlan(problem, native(offsets.reshape(-1) * depth), edges, (row_kinds, column_kinds), totals)


def _task_pixels(positions: int, n: int, workers: int) -> int:
    """Pixels a task, so that the worker with most to do is done first: in units of the time a pixel takes
    in a tile, one left over takes 1.6, and each task 4 (measured with 9 words a window)."""

    def time(size: int) -> float:
        tasks = -(-n * -(-positions // size) // workers)
        return tasks * (size + 0.6 * (size % TILE_PIXELS) + 4)

    return min(range(min(positions, MOST_PIXELS), 0, -1), key=time)


def _edges(geometry: Window, axis: int) -> tuple[Array, Kinds]:
    """For each window along ``axis`` the index of the range of taps that lies inside, and those ranges."""
    taps = geometry.kernel[axis]
    dilation = geometry.dilation[axis]
    start = np.arange(geometry.output[axis]) * geometry.stride[axis] - geometry.padding[axis][0]
    first = np.clip(-(start // dilation), 0, taps)
    last = np.clip((geometry.size[axis] - 1 - start) // dilation + 1, first, taps)
    ranges = [(0, taps), *zip(first.tolist(), last.tolist(), strict=True)]
    index = {pair: i for i, pair in enumerate(dict.fromkeys(ranges))}
    return np.array([index[pair] for pair in ranges[1:]], np.int64), tuple(index)


class StripPlan(NamedTuple):
    """See :func:`fastconv.cpu._planes.multiply_planes`."""

    shape: Array
    places: Array
    shifts: Array
    strip: int
    """Bytes of a strip."""
    order: int
    """Places of the taps of the filters of a unit."""
    sums: int
    """Sums of a line, by filter and by pixel."""


@lru_cache(REMEMBERED)
def strip_plan(
    geometry: Window, n: int, channels: int, groups: int, filters: int, by_pixel: bool, workers: int
) -> StripPlan:
    """``channels`` and ``filters`` of a group."""
    (kh, kw), (sh, sw), (dh, dw) = geometry.kernel, geometry.stride, geometry.dilation
    height, width = geometry.output
    unit = min(UNIT, filters * groups)
    length = min(STRIP_COLUMNS, -(-width // UNIT) * UNIT, max(LINE_SUMS // unit // UNIT, 1) * UNIT)
    if by_pixel:
        length = UNIT
    columns = min(STRIP_COLUMNS, width)
    # Taps a stride apart share a row of neighbours, unless dilation makes that row much longer.
    reach = [b * dw for b in range(kw)]
    phases = list(dict.fromkeys(b % sw for b in reach))
    far = reach[-1] // sw
    if len(phases) * (columns + far) > kw * columns:
        phases, far = reach, 0
        slots = [(slot, 0) for slot in range(kw)]
    else:
        slots = [(phases.index(b % sw), b // sw) for b in reach]
    pitch = -(-(columns + far) // UNIT) * UNIT + UNIT
    planes = channels * min(groups, (unit - 1) // filters + 2)

    def rows(m: int) -> int:
        return (kh - 1) * band(m) + (m - 1) * sh + 1

    def band(m: int) -> int:
        return min(dh, (m - 1) * sh + 1)

    tasks = n * -(-width // columns) * -(-groups * filters // UNIT)
    m = -(-height // max(1, -(-4 * workers // tasks)))
    while m > 1 and planes * rows(m) * len(phases) * pitch > STRIP_BYTES:
        m = -(-m // 2)
    places = [
        ((c * rows(m) + a * band(m)) * len(phases) + slot) * pitch + shift
        for c in range(channels) for a in range(kh) for slot, shift in slots
    ]  # fmt: skip
    (top, _), (left, _) = geometry.padding
    shape = numbers(  # in the order of _planes.CHANNELS
        channels, filters, *geometry.size, height, width, sh, sw, top, left, kh, dh, band(m), m, columns,
        length, rows(m), pitch,
    )  # fmt: skip
    strip = planes * rows(m) * len(phases) * pitch + UNIT
    sums = -(-unit // PIXELS) * PIXELS * length + (length * UNIT if by_pixel else 0)
    return StripPlan(shape, numbers(*places), numbers(*phases), strip, unit * prod((channels, kh, kw)), sums)


remembered: Any = lru_cache(REMEMBERED)(numbers)
"""The same for numbers that come again."""
