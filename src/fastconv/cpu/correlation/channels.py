"""conv2d of a channel at a time (depthwise): vectors run over channels.

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
from fastconv._geometry import reach
from fastconv._specs.correlation import Layer
from fastconv.cpu.arrays import Array, deliver, flat_memory, result
from fastconv.cpu.correlation.lanes import LANES, Across, Along, Sums, copy_vector, multiply_channels
from fastconv.cpu.correlation.tiling import EXACT_CHAIN
from fastconv.cpu.kernels import Job, kernel, own, record, share
from fastconv.cpu.simd import transpose_block
from fastconv.cpu.threads import chunks_of_long, threads
from fastconv.cpu.windows import PLANES, WINDOW, window_numbers

PANEL_BYTES = 64 * 1024
"""Bytes of pixels per task: they stay in a small L2 cache, and few rows are laid out twice."""

MOST_PANEL = 4 * 1024 * 1024
"""Bytes of pixels under a single row of the result, above which another way is taken."""

SMALL_DEPTHWISE = 1 << 19
"""Products that one thread has done before another would wake up, see ``threads.SMALL``."""

COPIED = 32 * 1024 * 1024
"""Bytes of an image, or of its sums, that are converted to another dtype at once."""

MANY_PIXELS, FEW_PIXELS = 8, 4
"""Pixels of the result per tile, and where rows have no more: sums that need not wait for each other."""

CHANNELS = record(
    "x weights bias offsets panel turned sums out",
    f"{PLANES} image_step {WINDOW} images filters multiplier blocks band bands panel_rows panel_columns "
    "chain by_planes turned_size sums_size padded to_image to_filter to_row to_pixel",
)
"""Images x by ``filters``, ``multiplier`` of them for each channel. A task is a block of 16 filters at a
``band`` of rows of the result of an image. A ``chain`` of products is added up at a time. Pixels are turned
over if ``by_planes``, that is if a channel's are one run. to_*: steps in ``out``."""


def supports(spec: Layer) -> bool:
    """Whether filters have one channel each, of real numbers, and a row of the result needs few pixels."""
    if spec.weight[1] != 1 or spec.dtype.kind == "c" or not prod(spec.shape) * prod(spec.weight):
        return False
    work, given = working_dtype(spec.dtype), spec.x_dtype
    converted = max(prod(spec.x) * (given != work), prod(spec.shape) * (spec.dtype != work))
    rows, columns = panel_of(spec, 1)
    return converted * work.itemsize <= COPIED and rows * columns * LANES * work.itemsize <= MOST_PANEL


def panel_of(spec: Layer, band: int) -> tuple[int, int]:
    """Rows and columns of pixels under ``band`` rows of the result, and under what tiles compute beyond."""
    window = spec.window
    rows, columns = reach(window.kernel, window.dilation)
    across = window.output[1] + MANY_PIXELS - 1
    return rows + (band - 1) * window.stride[0], columns + (across - 1) * window.stride[1]


class Channels:
    """The plan of a layer."""

    def __init__(self, spec: Layer) -> None:
        self.spec, window = spec, spec.window
        self.work = work = working_dtype(spec.dtype)
        images, filters = spec.layout.sizes(spec.x)[0], spec.weight[0]
        (height, width), taps, last = window.output, window.taps, spec.layout.channels_last
        small = images * filters * window.positions * taps <= SMALL_DEPTHWISE
        blocks = -(-filters // LANES)
        band = band_of(spec, images * blocks, 1 if small else threads())
        bands = -(-height // band)
        rows, columns = panel_of(spec, band)
        self.padded = max(filters, LANES)
        pixel, filter = (filters, 1) if last else (1, window.positions)
        scratch = {
            "panel": rows * columns * LANES,
            "turned": 0 if last else max(LANES, min(rows, window.size[0]) * window.size[1]) * LANES,
            "sums": (band * width + MANY_PIXELS) * LANES,
        }
        self.job = Job(
            multiply_by_channels,
            chunks_of_long(images * blocks * bands, serially=small),
            dict.fromkeys(("x", "weights", "bias", "panel", "turned", "sums", "out"), work),
            scratch,
            **window_numbers(window),
            images=images, filters=filters, multiplier=filters // spec.groups, blocks=blocks, band=band,
            bands=bands, panel_rows=rows, panel_columns=columns, chain=max(EXACT_CHAIN, 6 * isqrt(taps)),
            turned_size=scratch["turned"], sums_size=scratch["sums"], padded=self.padded,
            offsets=offsets(spec, columns * LANES, LANES), to_image=filters * window.positions,
            to_filter=filter, to_row=width * pixel, to_pixel=pixel,
        )  # fmt: skip

    def __call__(self, x: Array, weight: Array, bias: Array | None, out: Array | None) -> Array:
        spec, work = self.spec, self.work
        target = result(out, spec.shape, spec.dtype, x, weight, *(() if bias is None else (bias,)))
        sums = target if work == spec.dtype else np.empty(spec.shape, work)
        flat, origin, steps = flat_memory(x.astype(work, copy=False))
        image, plane, row, column = spec.layout.sizes(steps)
        weights, terms = np.zeros((spec.window.taps, self.padded), work), np.zeros(self.padded, work)
        weights[:, : len(weight)] = weight.reshape(len(weight), -1).T
        if bias is not None:
            terms[: len(bias)] = bias
        height, width = spec.window.size
        by_planes = not spec.layout.channels_last and column == 1 and (row == width or height == 1)
        self.job(
            x=flat, extent=flat.size, origin=origin, image_step=image, plane_step=plane, row_step=row,
            column_step=column, weights=weights, bias=terms, out=sums, by_planes=int(by_planes),
        )  # fmt: skip
        if sums is not target:
            with np.errstate(over="ignore"):
                target[...] = sums
        return deliver(target, out)


plan = Channels


def band_of(spec: Layer, tasks: int, workers: int) -> int:
    """Rows of the result per task, of which there are so many if all rows are one."""
    height, stride = spec.window.output[0], spec.window.stride[0]
    row_bytes = panel_of(spec, 1)[1] * LANES * working_dtype(spec.dtype).itemsize
    band = min(height, max(1, (PANEL_BYTES // row_bytes - panel_of(spec, 0)[0]) // stride))
    if tasks * -(-height // band) < 2 * workers:
        band = max(1, height * tasks // (2 * workers))
    return band


def offsets(spec: Layer, row: int, pixel: int) -> Array:
    """Where in a panel the pixels of each tap begin, for steps from ``row`` to row and ``pixel`` to pixel."""
    window = spec.window
    down, across = (np.arange(k) * d for k, d in zip(window.kernel, window.dilation, strict=True))
    return (down[:, None] * row + across * pixel).reshape(-1).astype(np.int64)


@kernel(CHANNELS, offsets=np.int64)
def multiply_by_channels(p, chunk, worker):
    """out = windows of x times weights (taps, filters), plus bias, of each channel by itself."""
    panel = own(p, p.panel, worker, p.panel_rows * p.panel_columns * LANES)
    sums, out = own(p, p.sums, worker, p.sums_size), carray(p.out, p.images * p.to_image)
    taps = p.kernel_rows * p.kernel_columns
    places, across = carray(p.offsets, taps), p.stride_columns * LANES
    first, last = share(p, chunk, p.images * p.blocks * p.bands)
    for task in range(first, last):
        rest, band = divmod(task, p.bands)
        image, block = divmod(rest, p.blocks)
        filter, row = max(0, min(block * LANES, p.filters - LANES)), band * p.band
        count, rows = min(LANES, p.filters), min(p.band, p.out_rows - row)
        _fill(p, worker, panel, p.origin + image * p.image_step, filter, row, rows)
        start = image * p.to_image + filter * p.to_filter + row * p.to_row
        overlap = taps <= p.chain and (p.out_columns >= MANY_PIXELS or p.out_columns == FEW_PIXELS)
        at_once = overlap and p.to_filter == 1 and count == LANES
        for i in range(rows):
            under = Along(panel, places, i * p.stride_rows * p.panel_columns * LANES, across)
            if at_once:
                _sum_overlapping(p, under, filter, Sums(out, start + i * p.to_row, p.to_pixel))
            elif overlap:
                _sum_overlapping(p, under, filter, Sums(sums, i * p.out_columns * LANES, np.int64(LANES)))
            else:
                _sum_row(p, under, filter, Sums(sums, i * p.out_columns * LANES, np.int64(LANES)))
        if not at_once:
            _deliver(p, sums, out, start, count, rows * p.out_columns)


@numba.njit(error_model="numpy")
def _fill(p, worker, panel, start, filter, row, rows):
    """Lay out the pixels under ``rows`` rows of the result from ``row`` on, of the channels that 16 filters
    look at, and zeros around them. Lanes of filters that there are not are nobody's."""
    x, wide, zero = carray(p.x, p.extent), p.panel_columns, panel.dtype.type(0)
    lo = min(p.left, wide)
    hi = max(lo, min(wide, p.width + p.left))
    above = row * p.stride_rows - p.top
    height = (p.kernel_rows - 1) * p.dilation_rows + (rows - 1) * p.stride_rows + 1
    first, last = max(above, 0), min(above + height, p.height)
    one_each, size = p.multiplier == 1 and p.filters >= LANES, (last - first) * p.width
    turned = own(p, p.turned, worker, p.turned_size)
    turn = p.by_planes != 0 and one_each and size >= LANES
    if turn:
        begin = start + filter * p.plane_step + first * p.width
        for k in range(0, size, LANES):
            i = min(k, size - LANES)
            transpose_block(x, begin + i, p.plane_step, turned, i * LANES, np.int64(LANES))
    for r in range(height):
        y = above + r
        line = panel[r * wide * LANES : (r + 1) * wide * LANES]
        if y < 0 or y >= p.height:
            line[:] = zero
            continue
        line[: lo * LANES] = zero
        line[hi * LANES :] = zero
        at = start + y * p.row_step + (lo - p.left) * p.column_step
        for c in range(hi - lo):
            if turn:
                copy_vector(turned, ((y - first) * p.width + c) * LANES, line, (lo + c) * LANES)
            elif one_each and p.plane_step == 1:
                copy_vector(x, at + filter + c * p.column_step, line, (lo + c) * LANES)
            else:
                for lane in range(min(LANES, p.filters)):
                    plane = (filter + lane) // p.multiplier * p.plane_step
                    line[(lo + c) * LANES + lane] = x[at + plane + c * p.column_step]


@numba.njit(error_model="numpy")
def _sum_overlapping(p, under, filter, to):
    """A row of the result of 16 filters, tile by tile, the last of which begins where it fits."""
    weights, bias = carray(p.weights, p.kernel_rows * p.kernel_columns * p.padded), carray(p.bias, p.padded)
    by, before = Across(weights, filter, p.padded), Sums(bias, filter, np.int64(0))
    tile = MANY_PIXELS if p.out_columns > FEW_PIXELS else FEW_PIXELS
    for first in range(0, p.out_columns, tile):
        j = min(first, p.out_columns - tile)
        pixels = Along(under.panel, under.offsets, under.start + j * under.step, under.step)
        place = Sums(to.sums, to.start + j * to.step, to.step)
        _multiply_tile(pixels, by, before, place, under.offsets.size, tile)


@numba.njit(error_model="numpy")
def _sum_row(p, under, filter, to):
    """A row of the result of 16 filters, a chain after the other; tiles reach beyond its end."""
    taps, tile = under.offsets.size, MANY_PIXELS if p.out_columns > FEW_PIXELS else FEW_PIXELS
    weights, bias = carray(p.weights, taps * p.padded), carray(p.bias, p.padded)
    for first in range(0, taps, p.chain):
        depth, places = min(p.chain, taps - first), under.offsets[first:]
        by = Across(weights, first * p.padded + filter, p.padded)
        for j in range(0, p.out_columns, tile):
            pixels = Along(under.panel, places, under.start + j * under.step, under.step)
            place = Sums(to.sums, to.start + j * to.step, to.step)
            before = place if first > 0 else Sums(bias, filter, np.int64(0))
            _multiply_tile(pixels, by, before, place, depth, tile)


@numba.njit(error_model="numpy", inline="always")
def _multiply_tile(pixels, by, before, place, depth, tile):
    """``tile`` pixels of 16 filters."""
    if tile == MANY_PIXELS:
        multiply_channels(pixels, by, before, place, depth, MANY_PIXELS)
    else:
        multiply_channels(pixels, by, before, place, depth, FEW_PIXELS)


@numba.njit(error_model="numpy")
def _deliver(p, sums, out, start, count, pixels):
    """Sums (``pixels``, 16) of ``count`` filters to out[start] and on."""
    if p.to_filter != 1 and count == LANES and pixels >= LANES:
        for k in range(0, pixels, LANES):
            i = min(k, pixels - LANES)
            transpose_block(sums, i * LANES, np.int64(LANES), out, start + i, p.to_filter)
    elif count == LANES and p.to_filter == 1:
        for q in range(pixels):
            copy_vector(sums, q * LANES, out, start + q * p.to_pixel)
    else:
        for k in range(count):
            for q in range(pixels):
                out[start + k * p.to_filter + q * p.to_pixel] = sums[q * LANES + k]
