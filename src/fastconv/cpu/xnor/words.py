"""Binary products by words: 8 filters side by side in a vector, one word of a pixel against all of them."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import carray

from fastconv._epilogue import Epilogue
from fastconv._geometry import Window
from fastconv._shared.problem import Strides, by_group, problem_of, result_strides
from fastconv._specs.xnor import BinaryConv
from fastconv.cpu import threads
from fastconv.cpu.arrays import Array
from fastconv.cpu.kernels import Job, call_with, kernel, own, record, share
from fastconv.cpu.simd import LANES, PIXELS
from fastconv.cpu.xnor.borders import edge_totals, edges
from fastconv.cpu.xnor.epilogue import Finish
from fastconv.cpu.xnor.means import window_means
from fastconv.cpu.xnor.pack import filter_tiles, packing_padded
from fastconv.cpu.xnor.problem import ELEMENTS, FINISH, MOST_PIXELS, UNIT
from fastconv.cpu.xnor.steps import place_of
from fastconv.cpu.xnor.tiles import (
    TILE_PIXELS,
    TILE_VECTORS,
    prefetch_to_write,
    turn_over,
    xnor_tile,
)
from fastconv.packed import PackedFilters

SMALL_PRODUCTS = 2**23
"""Sign products up to which one thread multiplies words: 8 us on AVX-512."""

PRODUCT = record(
    "x tiles offsets row_kinds column_kinds totals starts",
    "window_words run runs totals_step task_pixels parts splits padded direct by_line",
    FINISH,
)

full_tile, full_pixel = xnor_tile(TILE_PIXELS, TILE_VECTORS), xnor_tile(1, TILE_VECTORS)
thin_tile, thin_pixel = xnor_tile(TILE_PIXELS, 1), xnor_tile(1, 1)


@kernel(
    PRODUCT, x=np.uint64, tiles=np.uint64, offsets=np.int64, row_kinds=np.int64, column_kinds=np.int64,
    totals=np.int32, starts=np.int64, numbers=np.int32, **ELEMENTS,
)  # fmt: skip
def multiply_words(p, chunk, worker):
    """y = totals - 2 * (bits in which each window differs from each filter), finished and stored.

    x: words in planes (N, G, Hp, Wp, w); tiles (G, blocks, depth, 8): filters side by side; row_kinds,
    column_kinds: which edge each row and column of windows meets, see ``borders.edges``; totals (kinds,
    filters): the sums if no bit differs, at every pair of edges.
    """
    first, last = share(p, chunk, p.images * p.parts * p.splits)
    for task in range(first, last):
        rest, part = divmod(task, p.parts)
        image, split = divmod(rest, p.splits)
        multiply_part(p, worker, image, part * p.task_pixels, split)


@numba.njit(error_model="numpy", inline="always")
def multiply_part(p, worker, image, pixel, split):
    """Some pixels of an image, from ``pixel`` on, against one of the parts that the filters are split
    into."""
    starts, sums = own(p, p.starts, worker, 2 * MOST_PIXELS), own(p, p.sums, worker, p.sums_size)
    m = min(p.task_pixels, p.positions - pixel)
    place_windows(p, pixel, m, starts)
    units = p.groups * -(-p.filters // UNIT)
    for unit in range(units * split // p.splits, units * (split + 1) // p.splits):
        multiply_unit(p, unit, m, starts, sums, (image, pixel, worker))


@numba.njit(error_model="numpy", inline="always")
def place_windows(p, pixel, m, starts):
    """Where the windows of m pixels start in a plane, and behind those the rows in ``totals`` for the edges
    they meet."""
    rows, columns = carray(p.row_kinds, 1), carray(p.column_kinds, 1)
    down, across = p.stride_rows * p.row_step, p.stride_columns * p.column_step
    i, j = divmod(pixel, p.output_columns)
    q = 0
    while q < m:
        n = min(m - q, p.output_columns - j)
        start, base = i * down + j * across, rows[i]
        for k in range(n):
            starts[q + k] = start + k * across
            starts[MOST_PIXELS + q + k] = (base + columns[j + k]) * p.totals_step
        q += n
        i, j = i + 1, 0


@numba.njit(error_model="numpy", inline="always")
def multiply_unit(p, unit, m, starts, sums, where):
    """m pixels against up to 64 filters of a group; ``where``: their image, the first of them, and the
    worker."""
    image, pixel, worker = where
    units = -(-p.filters // UNIT)
    g, f = unit // units, unit % units * UNIT
    width, o = min(UNIT, p.filters - f), g * p.filters + f
    plane, column, blocks = image * p.image_step + g * p.group_step, g * p.padded + f, -(-width // LANES)
    if p.direct != 0 and width % LANES == 0:
        integers, begin = carray(p.integers, p.number_count), place_of(p, image, o, pixel)
        multiply_tiles(p, plane, starts, m, column, blocks, (integers, begin, p.pixel_stride))
        return
    if p.by_line != 0:
        ask_for_lines(p, m, width, image, o, pixel)
    multiply_tiles(p, plane, starts, m, column, blocks, (sums, np.int64(0), np.int64(UNIT)))
    if p.by_line != 0 and p.step_count != 0:
        turn_over(sums, UNIT, m, width, sums[UNIT * UNIT :], 0, UNIT)
        call_with(p.finish_lines, p, (worker, UNIT * UNIT, m, width, image, o, pixel))
    else:
        call_with(p.finish_rows, p, (worker, 0, m, width, image, o, pixel))


@numba.njit(error_model="numpy", inline="always")
def ask_for_lines(p, m, width, image, o, pixel):
    """Ask for the lines that are going to be written in ``width`` rows of m, which no hardware foresees."""
    result, begin = carray(p.integers if p.step_count == 0 else p.numbers, 1), place_of(p, image, o, pixel)
    for k in range(width):
        for q in range(0, m, PIXELS):
            prefetch_to_write(result, begin + k * p.filter_stride + q)


@numba.njit(error_model="numpy")
def multiply_tiles(p, plane, starts, m, column, blocks, target):
    """The sums of m pixels and ``blocks`` blocks of 8 filters from ``column`` on, tile by tile. ``target``:
    the array they go to, the place of the first, and the step from pixel to pixel."""
    y, begin, pitch = target
    v = 0
    while v < blocks:
        f, at = column + v * LANES, begin + v * LANES
        q = 0
        if v + TILE_VECTORS <= blocks:
            while q + TILE_PIXELS <= m:
                full_tile(p, plane, starts, q, f, y, at + q * pitch, pitch)
                q += TILE_PIXELS
            while q < m:
                full_pixel(p, plane, starts, q, f, y, at + q * pitch, pitch)
                q += 1
            v += TILE_VECTORS
        else:
            while q + TILE_PIXELS <= m:
                thin_tile(p, plane, starts, q, f, y, at + q * pitch, pitch)
                q += TILE_PIXELS
            while q < m:
                thin_pixel(p, plane, starts, q, f, y, at + q * pitch, pitch)
                q += 1
            v += 1


class Words(NamedTuple):
    """What is multiplied: words (images, groups, Hp, Wp, depth) by ``filters`` of a group, in windows of
    ``geometry``, whose padding is in the words; a window has ``terms`` signs."""

    geometry: Window
    images: int
    groups: int
    depth: int
    filters: int
    terms: int


class Product:
    """The job of :func:`multiply_words` for words of one shape.

    Parameters
    ----------
    words : Words
    finish : Finish
    strides : Strides
        Of the numbers that come out.
    """

    def __init__(self, words: Words, finish: Finish, strides: Strides) -> None:
        geometry, outcome = words.geometry, finish.outcome
        everything = words.images * words.groups * words.filters * geometry.positions * words.terms
        workers = 1 if everything <= SMALL_PRODUCTS else threads.threads()
        cut = _cut(words, outcome.signs and words.groups > 1, finish.by_line, workers)
        offsets, run = _runs(geometry, words.depth)
        row_kinds, column_kinds, self.kinds = edges(geometry)
        problem = problem_of(
            geometry,
            words.images,
            by_group(words.groups, geometry.padded, words.depth),
            strides,
            groups=words.groups,
            filters=words.filters,
            words=words.depth,
        )
        padded = -(-words.filters // LANES) * LANES
        self.step = words.groups * padded
        self.totals = np.full((1, self.step), words.terms, np.int32)
        tasks = words.images * cut["parts"] * cut["splits"]
        self.job = Job(
            multiply_words,
            1 if workers == 1 else min(tasks, threads.CHUNKS_EACH * workers),
            {},
            {"starts": 2 * MOST_PIXELS, "sums": 2 * UNIT * UNIT, **finish.scratch()},
            offsets=offsets,
            run=run,
            runs=offsets.size,
            window_words=prod(geometry.kernel) * words.depth,
            row_kinds=row_kinds,
            column_kinds=column_kinds,
            padded=padded,
            images=words.images,
            sums_size=2 * UNIT * UNIT,
            line=UNIT,
            finish_rows=finish.of_rows(),
            finish_lines=finish.of_lines() if finish.by_line and outcome.steps else 0,
            by_line=finish.by_line,
            direct=outcome.numbers and not (outcome.steps or outcome.signs or finish.by_line),
            **cut,
            **problem,
            **finish.values(),
        )


def _runs(geometry: Window, depth: int) -> tuple[Array, int]:
    """Where the runs of neighbouring words of a window begin, and how long they are."""
    (kh, kw), (dh, dw) = geometry.kernel, geometry.dilation
    offsets = np.arange(kh)[:, None] * dh * geometry.padded[1]
    if dw == 1:
        return (offsets.reshape(-1) * depth).astype(np.int64), kw * depth
    return ((offsets + np.arange(kw) * dw).reshape(-1) * depth).astype(np.int64), depth


def _cut(words: Words, whole: bool, by_line: bool, workers: int) -> dict[str, int]:
    """Tasks: pixels of each, how many of these an image has, and parts that filters are split into.

    ``whole``: one task must do all filters of a pixel. ``by_line``: a filter's pixels are neighbours in the
    result, where workers that shared its lines would wait for each other.
    """
    n, positions, splits = words.images, words.geometry.positions, 1
    units = words.groups * -(-words.filters // UNIT)
    parts = -(-positions // MOST_PIXELS)
    if by_line and n % workers and units % workers == 0:
        splits = workers
        pixels = _task_pixels(positions, n * splits, workers)
    elif n * parts >= workers or whole:
        pixels = _task_pixels(positions, n, workers)
    else:
        splits = units
        pixels = -(-positions // max(parts, -(-workers // (n * units))))
    return {"task_pixels": pixels, "parts": -(-positions // pixels), "splits": splits}


def _task_pixels(positions: int, n: int, workers: int) -> int:
    """Pixels a task, so that the worker with most to do is done first: in units of the time a pixel takes
    in a tile, one left over takes 1.6, and each task 4 (measured with 9 words a window)."""

    def time(size: int) -> float:
        tasks = -(-n * -(-positions // size) // workers)
        return tasks * (size + 0.6 * (size % TILE_PIXELS) + 4)

    return min(range(min(positions, MOST_PIXELS), 0, -1), key=time)


def supports(spec: BinaryConv) -> bool:
    """Any binary convolution."""
    return True


class WordConv:
    """The plan of a binary convolution by words."""

    def __init__(self, spec: BinaryConv) -> None:
        self.spec, geometry = spec, spec.geometry
        part, depth = spec.filters // spec.groups, -(-spec.channels // UNIT)
        last = spec.target.channels_last and spec.target.rank > 2
        self.finish = Finish(spec.outcome, spec.shape, spec.logical, last)
        terms = spec.channels * geometry.taps
        words = Words(geometry, spec.images, spec.groups, depth, part, terms)
        strides = result_strides(spec.groups, part, geometry.positions, last)
        self.product = Product(words, self.finish, strides)
        self.pack, self.means = packing_padded(spec), window_means(spec)
        self.layout = "words", self.product.kinds, spec.groups, spec.pad_value, terms

    def __call__(self, x: Array, filters: PackedFilters, epilogue: Epilogue, out: Array | None) -> Any:
        finish = self.finish
        values = finish.given(epilogue)
        targets = finish.targets(out, [x, filters.words], values)
        if self.means is not None:
            values = {**values, "window": self.means(x)}
        tiles, totals, step = filters.derived(self.layout, lambda: self._laid_out(filters))
        self.product.job(x=self.pack(x), tiles=tiles, totals=totals, totals_step=step, **values, **targets)
        return finish.delivered(targets, out)

    def _laid_out(self, filters: PackedFilters) -> tuple[Array, Array, int]:
        """The filters as tiles; for each kind of edge the sums of windows that differ nowhere from a filter,
        if what lies outside counts as the spec says (in comparing, it counts as -1); and the step between
        kinds."""
        spec, kinds, product = self.spec, self.product.kinds, self.product
        tiles = filters.derived(("tiles", spec.groups), lambda: filter_tiles(filters.words, spec.groups))
        if spec.pad_value == -1 or len(kinds[0]) * len(kinds[1]) == 1:
            return tiles, product.totals, 0
        return tiles, edge_totals(filters, kinds, spec.groups, spec.pad_value), product.step


plan = WordConv
