"""Depthwise binary convolution, and groups of a few channels: 64 filters a word, counted in slices.

Where a filter sees one channel, or a few, words of a pixel meet words of filters bit by bit: each term is one
XOR for 64 filters, and what agrees is added up in slices, see :mod:`fastconv.cpu.xnor.slices`. A threshold is
compared with slices, so no integer is ever made where packed signs come out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import carray

from fastconv._epilogue import COMPARED, Epilogue
from fastconv._geometry import Window
from fastconv._shared.problem import by_pixel, problem_of, result_strides
from fastconv._specs.bits import PackBits, memory_of
from fastconv._specs.xnor import BinaryConv
from fastconv.cpu import bits, threads
from fastconv.cpu.arrays import Array, aligned, native
from fastconv.cpu.kernels import Job, call_with, kernel, own, record, share
from fastconv.cpu.simd import copy_line
from fastconv.cpu.vectors import load_some, nonzero
from fastconv.cpu.xnor.counting import count_terms, count_terms_inside
from fastconv.cpu.xnor.epilogue import Finish
from fastconv.cpu.xnor.means import window_means
from fastconv.cpu.xnor.pack import packing_padded
from fastconv.cpu.xnor.problem import ELEMENTS, FINISH, UNIT
from fastconv.cpu.xnor.slices import (
    AT_ONCE,
    compare_slices,
    counter_of,
    expand_slices,
    lay_out_limits,
)
from fastconv.cpu.xnor.steps import place_of
from fastconv.cpu.xnor.strips import EDGES, STRIP, edges_of, lay_out, strips_of, whole_lines
from fastconv.cpu.xnor.tiles import turn_over
from fastconv.packed import PackedFilters, PackedSigns

FEWEST_FILTERS, FEWEST_IN_WORDS = 24, 3
"""Filters from which on slices are counted: fewer fill too little of a word. The second is for results that
are packed, or in which a pixel's filters are neighbours: there, lanes over pixels take longer."""

MOST_CHANNELS = 8
"""Channels of a group up to which slices are counted: a term is for 64 filters then, and a word for 8. With
16, slices take 1.2 to 2 times as long as words."""

SMALL_WORDS = 2**16
"""Words of terms up to which one thread counts: 12 us. A word of sums that come out is as many as SUMS."""

SUMS = 16

BLOCK_WORDS = 512
"""Words of each slice that are counted before they are finished."""

SLICED = record(
    "x strip opposite places mask_places shifts masks outsides row_kinds ranges counted limits",
    f"{STRIP} {EDGES} slices strip_size counted_size limits_size slice_pitch filter_pitch phase_step "
    "block_rows block_columns terms packed direct by_line",
    FINISH,
)


@kernel(
    SLICED, x=np.uint64, strip=np.uint64, opposite=np.uint64, places=np.int64,
    mask_places=np.int64, shifts=np.int64, masks=np.uint64, outsides=np.uint64, row_kinds=np.int64,
    ranges=np.int64, counted=np.uint64, limits=np.uint64, **ELEMENTS,
)  # fmt: skip
def count_slices(p, chunk, worker):
    """y = sum of signs of x * weight over each window, finished and stored.

    x: words (N, H, W, w); opposite (terms, filter_pitch): words of the filters' opposite signs, the first
    again behind the last; places, shifts: see :class:`fastconv.cpu.xnor.strips.Strips`; mask_places, masks,
    outsides, row_kinds, ranges: see :class:`fastconv.cpu.xnor.strips.Edges`.
    """
    first, last = share(p, chunk, p.images * p.down * p.across)
    if p.packed != 0:
        lay_out_thresholds(p, own(p, p.limits, worker, p.limits_size))
    for task in range(first, last):
        rest, column = divmod(task, p.across)
        image, row = divmod(rest, p.down)
        count_tile(p, worker, image, row * p.tile_rows, column * p.tile_columns)


@numba.njit(error_model="numpy")
def lay_out_thresholds(p, limits):
    """The thresholds of all filters, in slices, their flips behind, and the first words again behind the
    last."""
    tau, flip = carray(p.tau, 1), carray(p.flip, 1)
    pitch, every = p.filter_pitch, p.groups * p.filters
    for d in range(p.depth):
        width = every - d * UNIT
        lay_out_limits(p, load_some(tau, d * UNIT, width), width, limits, d)
        limits[(p.slices + 1) * pitch + d] = nonzero(load_some(flip, d * UNIT, width))
    for s in range(p.slices + 2):
        for d in range(p.depth, pitch):
            limits[s * pitch + d] = limits[s * pitch + d % p.depth]


@numba.njit(error_model="numpy")
def count_tile(p, worker, image, i, j):
    """The tile of the result whose corner is (i, j), block by block."""
    strip, counted = own(p, p.strip, worker, p.strip_size), own(p, p.counted, worker, p.counted_size)
    m = min(p.tile_rows, p.positions // p.output_columns - i)
    columns = min(p.tile_columns, p.output_columns - j)
    lay_out(p, strip, image, i, j, m)
    line = p.stride_rows * p.shift_count * p.pitch
    for r in range(0, m, p.block_rows):
        rows = min(p.block_rows, m - r)
        for first in range(0, columns, p.block_columns):
            n = min(p.block_columns, columns - first)
            for k in range(rows):
                start = (r + k) * line + first * p.depth
                count_line(p, strip, start, i + r + k, (j + first, n), (counted, k * n * p.depth))
            pixel = (i + r) * p.output_columns + j + first
            if p.packed != 0:
                compare_block(p, worker, counted, rows * n, image, pixel)
            else:
                expand_block(p, worker, counted, rows * n, image, pixel)


@numba.njit(error_model="numpy")
def count_line(p, strip, start, i, columns, target):
    """Count the windows of row i and of ``columns`` = (first, count), whose words begin at strip[start].
    ``target`` is (array, place)."""
    kind, (first, n), (counted, to) = carray(p.row_kinds, 1)[i], columns, target
    ranges, q, v, words = carray(p.ranges, (1, 2)), first * p.depth, 0, n * p.depth
    begin = kind * (p.slices + 1) * p.mask_pitch
    while v < words:
        inside = 0
        if kind == 0 and q + v >= p.left_words:
            inside = (min(p.right_words - q, -(-words // AT_ONCE) * AT_ONCE) - v) // AT_ONCE
        if inside > 0:
            count_terms(p, strip, start + v, (q + v) % p.depth, inside, counted, to + v)
            v += inside * AT_ONCE
        else:
            column = max(min(q + v, p.left_words), q + v - p.skipped)
            edge = ranges[kind, 0], ranges[kind, 1], begin, column
            count_terms_inside(p, strip, start + v, (q + v) % p.depth, edge, counted, to + v)
            v += AT_ONCE


@numba.njit(error_model="numpy")
def compare_block(p, worker, counted, m, image, pixel):
    """Compare m pixels with the thresholds, and store what comes of it."""
    signs, limits = carray(p.signs, p.word_count), own(p, p.limits, worker, p.limits_size)
    to, words = (image * p.positions + pixel) * p.depth, m * p.depth
    whole = words // AT_ONCE * AT_ONCE
    compare_slices(p, counted, whole // AT_ONCE, limits, 0, signs, to)
    if whole < words:  # what is behind is another's, or not there
        compare_slices(p, counted[whole:], 1, limits, whole % p.depth, counted, 0)
        copy_line(counted, signs[to + whole : to + words])


@numba.njit(error_model="numpy")
def expand_block(p, worker, counted, m, image, pixel):
    """The sums of m pixels, word by word of filters, finished and stored."""
    sums, integers = own(p, p.sums, worker, p.sums_size), carray(p.integers, p.number_count)
    every = p.groups * p.filters
    for d in range(p.depth):
        o = d * UNIT
        width = min(UNIT, every - o)
        if p.direct != 0 and width == UNIT:
            expand_slices(p, counted, d, m, integers, place_of(p, image, o, pixel), p.pixel_stride)
            continue
        expand_slices(p, counted, d, m, sums, 0, UNIT)
        if p.by_line != 0 and p.step_count != 0:
            turn_over(sums, UNIT, m, width, sums[UNIT * UNIT :], 0, UNIT)
            call_with(p.finish_lines, p, (worker, UNIT * UNIT, m, width, image, o, pixel))
        else:
            call_with(p.finish_rows, p, (worker, 0, m, width, image, o, pixel))


def supports(spec: BinaryConv) -> bool:
    """Whether filters of a group see few channels, both powers of 2, and fill words."""
    channels, filters = spec.channels, spec.filters // spec.groups
    if not 0 < channels <= MOST_CHANNELS or filters % channels or filters > UNIT:
        return False
    by_pixel = spec.outcome == COMPARED or (spec.target.channels_last and spec.target.rank > 2)
    return (
        channels.bit_count() == filters.bit_count() == 1
        and spec.filters >= (FEWEST_IN_WORDS if by_pixel else FEWEST_FILTERS)
        and counter_of(channels * spec.geometry.taps) > 0
    )


class SlicedConv:
    """The plan of a binary convolution by slices."""

    def __init__(self, spec: BinaryConv) -> None:
        geometry, channels, part = spec.geometry, spec.channels, spec.filters // spec.groups
        outcome, terms, depth = spec.outcome, channels * geometry.taps, -(-spec.filters // UNIT)
        last = spec.target.channels_last and spec.target.rank > 2
        self.spec, self.packed = spec, outcome == COMPARED
        self.finish = finish = Finish(outcome, spec.shape, spec.logical, last)
        every = spec.channels * spec.groups
        self.pack, self.means = packing(spec), window_means(spec)
        cost = spec.images * geometry.positions * depth * (terms + (0 if self.packed else SUMS))
        workers = 1 if cost <= SMALL_WORDS else threads.threads()
        each = -(-threads.CHUNKS_EACH * workers // spec.images) if workers > 1 else 1
        strips = strips_of(geometry, channels, part // channels, depth, each)
        slices = counter_of(terms)
        border = edges_of(geometry, channels, depth, slices + 1, spec.pad_value != 0)
        x_depth, (h, w) = -(-every // UNIT), geometry.size
        strides = result_strides(spec.groups, part, geometry.positions, last)
        problem = problem_of(
            geometry, spec.images, by_pixel(1, (h, w), x_depth), strides, groups=spec.groups, filters=part,
            channels=channels, outside=spec.pad_value,
        )  # fmt: skip
        pitch = whole_lines(depth + AT_ONCE)
        room = max(BLOCK_WORDS // depth, 1)  # pixels of a block
        room = room if self.packed else min(room, UNIT)
        columns = min(room, strips.numbers["tile_columns"])
        rows = max(room // columns, 1) if columns == geometry.output[1] else 1
        slice_pitch = whole_lines(room * depth + AT_ONCE)
        scratch = {
            "strip": strips.size, "counted": (slices + 1) * slice_pitch, "limits": (slices + 2) * pitch,
            "sums": 2 * UNIT * UNIT,
        }  # fmt: skip
        tasks = spec.images * strips.numbers["down"] * strips.numbers["across"]
        self.job = Job(
            count_slices,
            1 if workers == 1 else min(tasks, threads.CHUNKS_EACH * workers),
            {},
            {**scratch, **finish.scratch()},
            places=strips.places, shifts=strips.shifts, row_kinds=border.row_kinds, ranges=border.ranges,
            outsides=border.outsides, masks=border.masks, mask_places=border.mask_places,
            **{f"{name}_size": size for name, size in scratch.items()},
            slices=slices, slice_pitch=slice_pitch, filter_pitch=pitch, phase_step=AT_ONCE % depth,
            terms=terms, block_rows=rows, block_columns=columns, packed=self.packed, by_line=finish.by_line,
            images=spec.images, line=UNIT,
            direct=outcome.numbers and not (outcome.steps or outcome.signs or finish.by_line),
            finish_rows=0 if self.packed else finish.of_rows(),
            finish_lines=finish.of_lines() if finish.by_line and outcome.steps else 0,
            **strips.numbers, **border.numbers, **problem, **finish.values(),
        )  # fmt: skip

    def __call__(self, x: Array, filters: PackedFilters, epilogue: Epilogue, out: Array | None) -> Any:
        finish = self.finish
        values = thresholds(epilogue, self.spec.filters) if self.packed else finish.given(epilogue)
        targets = finish.targets(out, [x, filters.words], values)
        if self.means is not None:
            values = {**values, "window": self.means(x)}
        opposite = filters.derived("slices", lambda: opposite_signs(filters))
        self.job(x=self.pack(x), opposite=opposite, **values, **targets)
        return finish.delivered(targets, out)


plan = SlicedConv


def thresholds(epilogue: Epilogue, filters: int) -> dict[str, Array]:
    """Thresholds and flips of all filters, as they are wherever they can be read so: the kernel lays them
    out."""

    def row(numbers: Any, dtype: Any) -> Array:
        given = np.ascontiguousarray(numbers, dtype)
        return given if given.size == filters else np.full(filters, given[0])

    found: dict[str, Array] = epilogue.derived(
        "slices", lambda: {"tau": row(epilogue.tau, np.int32), "flip": row(epilogue.flip, np.uint8)}
    )
    return found


def packing(spec: BinaryConv) -> Callable[[Array], Array]:
    """What makes words (N, H, W, w) of x, of all channels."""
    if spec.dtype is None:
        return native
    if spec.source.channels_last:
        return lambda x: bits.pack_signs(x, x.ndim - 1)
    size = spec.geometry.size
    bare = Window(size, (1, 1), (1, 1), (1, 1), ((0, 0), (0, 0)), size)
    return packing_padded(spec._replace(channels=spec.channels * spec.groups, groups=1, geometry=bare))


def opposite_signs(filters: PackedFilters) -> Array:
    """Of each term, the opposite signs of all filters as words, and the first again behind the last."""
    o, c, kh, kw = filters.shape
    signs = PackedSigns(filters.words, c).unpack().reshape(o, kh * kw * c)
    negative = np.ascontiguousarray(signs.T < 0)
    words = bits.plan(PackBits(memory_of(negative), 1))(negative)
    depth = words.shape[1]
    found = aligned((len(words), whole_lines(depth + AT_ONCE)), np.uint64)
    found[...] = words[:, np.arange(found.shape[1]) % depth]
    return found
