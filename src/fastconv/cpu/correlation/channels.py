"""conv2d of a channel at a time (depthwise), or of a few of them (grouped): vectors run over filters.

The pixels under a few rows of the result are laid out in a panel, 16 channels side by side, so that neither
strides nor dilation nor narrow images leave lanes empty. Where pixels of a channel are neighbours, blocks of
16 x 16 are turned over on their way in and out.
"""

from __future__ import annotations

from math import isqrt, prod

import numba
import numpy as np
from numba import carray

from fastconv._checks import working_dtype
from fastconv._specs.correlation import Layer
from fastconv.cpu.arrays import Array, deliver, flat_image, lies_in_steps, result
from fastconv.cpu.correlation.lanes import LANES, TILE, Across, Along, Sums, multiply_channels
from fastconv.cpu.correlation.packing import Packing
from fastconv.cpu.correlation.panels import (
    PANEL,
    lay_out,
    panel_of,
    turned_size,
    weight_places,
    window_places,
)
from fastconv.cpu.correlation.tiling import EXACT_CHAIN
from fastconv.cpu.kernels import Job, kernel, own, record, share
from fastconv.cpu.simd import peek, poke, transpose_block
from fastconv.cpu.threads import chunks_of_long, threads
from fastconv.cpu.windows import PLANES, WINDOW, window_numbers

PANEL_BYTES = 128 * 1024
"""Bytes of pixels per task: they stay in a small L2 cache, and few rows are laid out twice."""

MOST_PANEL = 4 * 1024 * 1024
"""Bytes of pixels under a single row of the result, above which another way is taken."""

SMALL_DEPTHWISE = 1 << 19
"""Products that one thread has done before another would wake up, see ``threads.SMALL``."""

COPIED = 32 * 1024 * 1024
"""Bytes of an image, or of its sums, that are converted to another dtype at once."""

GROUPED = (2, 4, 8)
"""Channels and filters of a group, so that 16 lanes hold whole groups; more filters fill vectors."""

CHANNELS = record(
    "x weights bias offsets starts panel turned sums out",
    f"{PLANES} image_step {WINDOW} images filters multiplier deep blocks band bands {PANEL} chain panel_size "
    "sums_size to_image to_filter to_pixel",
)
"""Images x by ``filters``, ``multiplier`` of them for each group of ``deep`` channels. A task is a block of
16 filters at a ``band`` of rows of the result of an image. Products of a ``chain`` of taps are added up at a
time. to_*: steps in ``out``."""


def supports(spec: Layer) -> bool:
    """Whether filters have one channel each, or lanes hold whole groups, of real numbers, and a row of the
    result needs few pixels."""
    filters, deep = spec.weight[:2]
    grouped = deep in GROUPED and filters == spec.groups * deep and filters >= LANES
    if not (deep == 1 or grouped) or spec.dtype.kind == "c" or not prod(spec.shape) * prod(spec.weight):
        return False
    work, given = working_dtype(spec.dtype), spec.x_dtype
    converted = max(prod(spec.x) * (given != work), prod(spec.shape) * (spec.dtype != work))
    row = prod(panel_of(spec.window, 1)) * LANES
    return converted * work.itemsize <= COPIED and row * work.itemsize <= MOST_PANEL


class Channels:
    """The plan of a layer."""

    def __init__(self, spec: Layer) -> None:
        self.spec, window = spec, spec.window
        self.work = work = working_dtype(spec.dtype)
        images, filters, deep = spec.layout.sizes(spec.x)[0], spec.weight[0], spec.weight[1]
        positions, depth, last = window.positions, deep * window.taps, spec.layout.channels_last
        small = images * filters * positions * depth <= SMALL_DEPTHWISE
        blocks = -(-filters // LANES)
        band = band_of(spec, images * blocks, 1 if small else threads())
        bands = -(-window.output[0] // band)
        rows, columns = panel_of(window, band)
        self.packing = Packing(work, 1, filters, depth, overlap=True)
        scratch = {
            "panel": rows * columns * LANES,
            "turned": 0 if last else turned_size(window, rows),
            "sums": (band * window.output[1] + TILE) * LANES,
        }
        self.job = Job(
            multiply_by_channels,
            chunks_of_long(images * blocks * bands, serially=small),
            dict.fromkeys(("x", "weights", "bias", "panel", "turned", "sums", "out"), work),
            scratch,
            **window_numbers(window),
            images=images, filters=filters, multiplier=filters // spec.groups, deep=deep, blocks=blocks,
            band=band, bands=bands, panel_rows=rows, panel_columns=columns, pixel=LANES,
            turned_size=scratch["turned"], chain=max(EXACT_CHAIN, 6 * isqrt(depth)) // deep,
            offsets=weight_places(window, 1, columns * LANES, LANES),
            starts=window_places(window, 1, band, LANES), panel_size=scratch["panel"],
            sums_size=scratch["sums"], to_image=filters * positions, to_filter=1 if last else positions,
            to_pixel=filters if last else 1,
        )  # fmt: skip

    def takes(self, x: Array) -> bool:
        """Whether ``x`` can be read where it lies, or is small enough to be copied."""
        return lies_in_steps(x) or x.nbytes <= COPIED

    def __call__(self, x: Array, weight: Array, bias: Array | None, out: Array | None) -> Array:
        spec, work = self.spec, self.work
        target = result(out, spec.shape, spec.dtype, x, weight, *(() if bias is None else (bias,)))
        sums = target if work == spec.dtype else np.empty(spec.shape, work)
        flat, origin, (image, plane, row, column) = flat_image(x.astype(work, copy=False), spec.layout)
        terms = np.zeros(max(len(weight), LANES), work)
        if bias is not None:
            terms[: len(bias)] = bias
        height, width = spec.window.size
        by_planes = not spec.layout.channels_last and column == 1 and (row == width or height == 1)
        self.job(
            x=flat, extent=flat.size, origin=origin, image_step=image, plane_step=plane, row_step=row,
            column_step=column, weights=self.packing(weight), bias=terms, out=sums, by_planes=int(by_planes),
        )  # fmt: skip
        if sums is not target:
            with np.errstate(over="ignore"):
                target[...] = sums
        return deliver(target, out)


plan = Channels


def band_of(spec: Layer, tasks: int, workers: int) -> int:
    """Rows of the result per task, of which there are so many if all rows are one."""
    height, stride = spec.window.output[0], spec.window.stride[0]
    rows, columns = panel_of(spec.window, 1)
    row_bytes = columns * LANES * working_dtype(spec.dtype).itemsize
    band = min(height, max(1, (PANEL_BYTES // row_bytes - rows) // stride))
    if tasks * -(-height // band) < 2 * workers:
        band = max(1, height * tasks // (2 * workers))
    return band


@kernel(CHANNELS, offsets=np.int64, starts=np.int64)
def multiply_by_channels(p, chunk, worker):
    """out = windows of x times packed weights, plus bias, lane by lane."""
    panel, sums = own(p, p.panel, worker, p.panel_size), own(p, p.sums, worker, p.sums_size)
    out = carray(p.out, p.images * p.to_image)
    first, last = share(p, chunk, p.images * p.blocks * p.bands)
    for task in range(first, last):
        rest, band = divmod(task, p.bands)
        image, block = divmod(rest, p.blocks)
        filter, row = max(0, min(block * LANES, p.filters - LANES)), band * p.band
        count, rows = min(LANES, p.filters), min(p.band, p.out_rows - row)
        start = p.origin + image * p.image_step
        if p.multiplier == p.deep and p.filters >= LANES:
            lay_out(p, worker, panel, start + filter * p.plane_step, LANES, row, rows)
        else:
            _lay_out_each(p, panel, start, filter, row, rows)
        pixels = rows * p.out_columns
        to = image * p.to_image + filter * p.to_filter + row * p.out_columns * p.to_pixel
        if p.to_filter == 1 and count == LANES and pixels >= TILE:
            # the last tile begins where it fits
            _sum_tiles(p, panel, (block, filter), Sums(out, to, p.to_pixel), pixels, pixels - TILE)
        else:
            _sum_tiles(p, panel, (block, filter), Sums(sums, np.int64(0), np.int64(LANES)), pixels, pixels)
            _deliver(p, sums, out, to, count, pixels)


@numba.njit(error_model="numpy")
def _lay_out_each(p, panel, start, filter, row, rows):
    """:func:`lay_out` of one channel for each filter, where several look at the same, or there are few."""
    x = carray(p.x, p.extent)
    panel[:] = panel.dtype.type(0)
    above = row * p.stride_rows - p.top
    first, last = max(above, 0), min(above + p.panel_rows, p.height)
    columns = max(0, min(p.width, p.panel_columns - p.left))
    for lane in range(min(LANES, p.filters)):
        plane = start + (filter + lane) // p.multiplier * p.plane_step
        for y in range(first, last):
            at, to = plane + y * p.row_step, ((y - above) * p.panel_columns + p.left) * LANES + lane
            for c in range(columns):
                poke(panel, to + c * LANES, peek(x, at + c * p.column_step))


@numba.njit(error_model="numpy")
def _sum_tiles(p, panel, where, to, pixels, last):
    """Sums ``to`` of so many pixels and 16 filters, ``where`` = (block, first filter), tile by tile, none of
    which begins after the ``last`` pixel; of each tile a chain after the other."""
    block, filter = where
    taps = p.kernel_rows * p.kernel_columns
    weights, bias = carray(p.weights, p.blocks * p.deep * taps * LANES), carray(p.bias, max(p.filters, LANES))
    places, starts = carray(p.offsets, taps), carray(p.starts, p.band * p.out_columns + LANES)
    for some in range(0, pixels, TILE):
        q = min(some, last)
        place = Sums(to.sums, to.start + q * to.step, to.step)
        for tap in range(0, taps, p.chain):
            under = Along(panel, places, tap, starts, q)
            by = Across(weights, (block * p.deep * taps + tap) * LANES, taps * LANES)
            before = place if tap > 0 else Sums(bias, filter, np.int64(0))
            _multiply_tile(p, under, by, before, place, min(p.chain, taps - tap))


@numba.njit(error_model="numpy", inline="always")
def _multiply_tile(p, under, by, before, place, taps):
    """A tile of pixels and 16 filters, by the size of their groups."""
    if p.deep == 1:
        multiply_channels(under, by, before, place, taps, 1)
    elif p.deep == 2:
        multiply_channels(under, by, before, place, taps, 2)
    elif p.deep == 4:
        multiply_channels(under, by, before, place, taps, 4)
    else:
        multiply_channels(under, by, before, place, taps, 8)


@numba.njit(error_model="numpy")
def _deliver(p, sums, out, start, count, pixels):
    """Sums (``pixels``, 16) of ``count`` filters to out[start] and on."""
    if p.to_filter != 1 and count == LANES and pixels >= LANES:
        for k in range(0, pixels, LANES):
            i = min(k, pixels - LANES)
            transpose_block(sums, i * LANES, np.int64(LANES), out, start + i, p.to_filter)
    else:
        for k in range(count):
            for q in range(pixels):
                poke(out, start + k * p.to_filter + q * p.to_pixel, peek(sums, q * LANES + k))
