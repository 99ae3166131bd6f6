"""conv2d in float32 and float64: vectors run over filters, and pixels are read one by one.

The pixels under some rows of the result, or under some images, are laid out in a panel, all channels of a
pixel side by side. There every window is a list of places, so neither strides nor dilation nor small images
leave lanes empty, and a pixel is copied once, not once for each tap.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numba
import numpy as np
from numba import carray

from fastconv._specs.correlation import Layer
from fastconv.cpu.arrays import Array, deliver, flat_image, lies_in_steps, result
from fastconv.cpu.correlation.lanes import LANES
from fastconv.cpu.correlation.packing import Packing
from fastconv.cpu.correlation.panels import (
    PANEL,
    lay_out,
    panel_of,
    turned_size,
    weight_places,
    window_places,
)
from fastconv.cpu.correlation.products import PIXELS_OF_TILE, Pixels, To, Weights, multiply_filters
from fastconv.cpu.kernels import Job, kernel, own, record, share
from fastconv.cpu.simd import WIDE, copy_line, peek, poke, transpose_block
from fastconv.cpu.threads import chunks_of_long, threads
from fastconv.cpu.windows import PLANES, WINDOW, window_numbers

DEPTH = 128
"""Products per sum in registers: the weights of a tile, 32 KiB, stay in L1. And the rounding errors of a long
sum are those of short ones."""

PANEL_BYTES = 256 * 1024
"""Bytes of pixels per task: they stay in L2."""

MOST_PANEL = 2 * 1024 * 1024
"""Bytes of pixels under a single row of the result, above which another way is taken."""

TASK_PIXELS = 256
"""Pixels of the result per task: each weight that is read meets so many."""

MOST_FILTERS = 256
"""Filters per task: the sums of its pixels take 256 KiB."""

MOST_BLOCKS = 4 if WIDE else 2
"""Blocks of 16 filters per tile in float32, of which the sums of 6 pixels fill the registers; half of that
in float64."""

MOST_PACKED = 32 * 1024 * 1024
"""Bytes of packed weights, beside those that were given, above which another way is taken."""

SMALL_WORK = 1 << 20
"""Multiply-adds that one thread has done before another would wake up, see ``threads.SMALL``."""

FILTERS = record(
    "x weights bias offsets starts panel turned sums out",
    f"{PLANES} image_step {WINDOW} images groups filters channels depth blocks wide part together band bands "
    f"{PANEL} panel_size sums_size to_image to_filter to_pixel",
)
"""Images x by ``filters`` of each group, ``blocks`` of 16, of which a tile has ``wide``. A task is a ``part``
of the blocks at a ``band`` of rows of the result of an image, or at so many images ``together``. to_*: steps
in ``out``."""


def supports(spec: Layer) -> bool:
    """Whether weights may be packed, and a row of the result needs few pixels."""
    supported = spec.dtype in (np.float32, np.float64) and spec.x_dtype == spec.weight_dtype == spec.dtype
    if not supported or not prod(spec.shape) * prod(spec.weight):
        return False
    filters = -(-(spec.weight[0] // spec.groups) // LANES) * LANES * spec.groups
    if filters * prod(spec.weight[1:]) * spec.dtype.itemsize > MOST_PACKED:
        return False
    rows, columns = panel_of(spec.window, 1)
    return rows * columns * pitch(spec) * spec.dtype.itemsize <= MOST_PANEL


def pitch(spec: Layer) -> int:
    """Numbers from pixel to pixel of a panel: an odd number of vectors, for pixels that are a power of two
    apart share few places of a cache; of few channels, no more than there are."""
    channels = spec.weight[1]
    return channels if channels < LANES else (-(-channels // LANES) | 1) * LANES


class Filters:
    """The plan of a layer."""

    def __init__(self, spec: Layer) -> None:
        self.spec, window = spec, spec.window
        values = tiling(spec)
        rows, columns = values["panel_rows"], values["panel_columns"]
        last, positions = spec.layout.channels_last, window.positions
        self.no_bias = np.zeros(spec.weight[0], spec.dtype)
        kinds = dict.fromkeys(("x", "weights", "bias", "panel", "turned", "sums", "out"), spec.dtype)
        scratch = {
            "panel": values["panel_size"],
            "turned": 0 if last else turned_size(window, rows),
            "sums": values["sums_size"],
        }
        work = prod(spec.shape) * prod(spec.weight[1:])
        tasks = (
            -(-values["images"] // values["together"])
            * values["bands"] * spec.groups * -(-values["blocks"] // values["part"])
        )  # fmt: skip
        self.packing = Packing(
            spec.dtype, spec.groups, values["filters"], values["depth"], wide=values["wide"], overlap=False
        )
        self.job = Job(
            multiply_by_filters, chunks_of_long(tasks, serially=work <= SMALL_WORK), kinds, scratch,
            offsets=weight_places(window, values["channels"], columns * values["pixel"], values["pixel"]),
            starts=window_places(window, values["together"], values["band"], values["pixel"]),
            turned_size=scratch["turned"], to_image=spec.weight[0] * positions,
            to_filter=1 if last else positions, to_pixel=spec.weight[0] if last else 1, **values,
        )  # fmt: skip

    def takes(self, x: Array) -> bool:
        """Whether kernels can read ``x`` where it lies."""
        return lies_in_steps(x)

    def __call__(self, x: Array, weight: Array, bias: Array | None, out: Array | None) -> Array:
        spec = self.spec
        target = result(out, spec.shape, spec.dtype, x, weight, *(() if bias is None else (bias,)))
        terms = self.no_bias if bias is None else bias.astype(spec.dtype, order="C")
        flat, origin, (image, plane, row, column) = flat_image(x, spec.layout)
        height, width = spec.window.size
        by_planes = not spec.layout.channels_last and column == 1 and (row == width or height == 1)
        self.job(
            x=flat, extent=flat.size, origin=origin, image_step=image, plane_step=plane, row_step=row,
            column_step=column, by_planes=int(by_planes), weights=self.packing(weight), bias=terms,
            out=target,
        )  # fmt: skip
        return deliver(target, out)


plan = Filters


def tiling(spec: Layer) -> dict[str, Any]:
    """All numbers of the record but those of the memory of images and results."""
    window, images, itemsize = spec.window, spec.layout.sizes(spec.x)[0], spec.dtype.itemsize
    (height, width), pixel = window.output, pitch(spec)
    filters, channels = spec.weight[0] // spec.groups, spec.weight[1]
    blocks, most = -(-filters // LANES), max(1, MOST_BLOCKS * 4 // itemsize)
    wide = -(-blocks // -(-blocks // most))
    workers = 1 if prod(spec.shape) * prod(spec.weight[1:]) <= SMALL_WORK else threads()
    part = min(blocks, MOST_FILTERS // LANES // wide * wide)
    if images * spec.groups * -(-height * width // TASK_PIXELS) < workers:
        part = min(part, -(-blocks // (workers * wide)) * wide)

    def numbers(band: int) -> int:
        rows, columns = panel_of(window, band)
        return rows * columns * pixel

    band = min(height, max(1, TASK_PIXELS // width))
    while band > 1 and numbers(band) * itemsize > PANEL_BYTES:
        band = -(-band // 2)
    bands = -(-height // band)
    band = -(-height // bands)
    together = 1
    if bands == 1:
        most_together = min(TASK_PIXELS // window.positions, PANEL_BYTES // (numbers(band) * itemsize))
        together = max(1, min(most_together, -(-images // workers)))
    rows, columns = panel_of(window, band)
    return window_numbers(window) | {
        "images": images, "groups": spec.groups, "filters": filters, "channels": channels,
        "depth": channels * window.taps, "blocks": blocks, "wide": wide, "part": part,
        "together": together, "band": band, "bands": bands,
        "panel_rows": rows, "panel_columns": columns, "pixel": pixel,
        "panel_size": together * numbers(band),
        "sums_size": (together * band * width + LANES) * part * LANES,
    }  # fmt: skip


@kernel(FILTERS, offsets=np.int64, starts=np.int64)
def multiply_by_filters(p, chunk, worker):
    """out = windows of x times packed weights, plus bias."""
    panel, sums = own(p, p.panel, worker, p.panel_size), own(p, p.sums, worker, p.sums_size)
    bias = carray(p.bias, p.groups * p.filters)
    parts, pieces, size = -(-p.blocks // p.part), -(-p.images // p.together), p.panel_size // p.together
    first, last = share(p, chunk, pieces * p.bands * p.groups * parts)
    for task in range(first, last):
        rest, chosen = divmod(task, parts)
        rest, group = divmod(rest, p.groups)
        piece, band = divmod(rest, p.bands)
        image, row = piece * p.together, band * p.band
        count, rows = min(p.together, p.images - image), min(p.band, p.out_rows - row)
        for k in range(count):
            start = p.origin + (image + k) * p.image_step + group * p.channels * p.plane_step
            lay_out(p, worker, panel[k * size : (k + 1) * size], start, p.channels, row, rows)
        pixels, block = rows * p.out_columns, chosen * p.part
        blocks = min(p.part, p.blocks - block)
        filter, line = group * p.filters + block * LANES, blocks * LANES
        own_bias = bias[filter : filter + min(line, p.filters - block * LANES)]
        for q in range(count * pixels):
            copy_line(own_bias, sums[q * line : q * line + own_bias.size])
        for k in range(0, p.depth, DEPTH):
            for b in range(0, blocks, p.wide):
                _add_tiles(p, panel, sums, (group, block, blocks), b, k, count * pixels)
        for k in range(count):
            to = (image + k) * p.to_image + row * p.out_columns * p.to_pixel + filter * p.to_filter
            _deliver(p, sums[k * pixels * line :], line, to, own_bias.size, pixels)


@numba.njit(error_model="numpy")
def _add_tiles(p, panel, sums, where, b, k, pixels):
    """Add the products of weights k and on with so many pixels to the sums of the blocks of a tile, the b-th
    of the blocks ``where`` = (group, first, count)."""
    group, first, count = where
    wide, deep, line = min(p.wide, count - b), min(DEPTH, p.depth - k), count * LANES
    weights = carray(p.weights, p.groups * p.blocks * p.depth * LANES)
    places = carray(p.offsets, p.depth)[k:]
    begins = carray(p.starts, p.together * p.band * p.out_columns + LANES)
    by = Weights(weights, ((group * p.blocks + first + b) * p.depth + k * wide) * LANES)
    step = PIXELS_OF_TILE[panel.itemsize // 8][wide - 1]
    for q in range(0, pixels, step):
        under, to = Pixels(panel, places, begins, q), To(sums, q * line + b * LANES, line)
        if wide == 1:
            multiply_filters(under, by, to, deep, 1)
        elif wide == 2:
            multiply_filters(under, by, to, deep, 2)
        elif wide == 3:
            multiply_filters(under, by, to, deep, 3)
        else:
            multiply_filters(under, by, to, deep, 4)


@numba.njit(error_model="numpy")
def _deliver(p, sums, line, start, count, pixels):
    """The first ``count`` of each ``line`` of sums, one for each of so many pixels, to out[start] and on."""
    out = carray(p.out, p.images * p.to_image)
    if p.to_filter == 1:
        for q in range(pixels):
            at = start + q * p.to_pixel
            copy_line(sums[q * line : q * line + count], out[at : at + count])
    elif count < LANES or pixels < LANES:
        for f in range(count):
            for q in range(pixels):
                poke(out, start + f * p.to_filter + q, peek(sums, q * line + f))
    else:
        for k in range(0, count, LANES):
            f = min(k, count - LANES)
            for j in range(0, pixels, LANES):
                q = min(j, pixels - LANES)
                transpose_block(sums, q * line + f, line, out, start + f * p.to_filter + q, p.to_filter)
