"""conv2d in float32 and float64 with few filters, whose windows are neighbours: vectors run over pixels.

Pixels of the result are numbered along rows as long as padded ones. Numbered so, what one tap of a kernel
sees in all windows is the image, moved: the taps of a kernel row share one strip of pixels. So do all rows of
a kernel where rows of the image are short. Where taps are far apart, every one has a strip of its own.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numba
import numpy as np
from numba import carray
from numpy.typing import NDArray

from fastconv._geometry import Window, turned
from fastconv._specs.correlation import Layer
from fastconv.cpu.arrays import Array, deliver, flat_image, lies_in_steps, native, result
from fastconv.cpu.correlation.products import (
    FEWER,
    FILTERS,
    VECTOR_BYTES,
    VECTORS,
    By,
    To,
    Under,
    multiply_tile,
)
from fastconv.cpu.kernels import Job, kernel, own, record, share
from fastconv.cpu.threads import chunks_of_long, threads
from fastconv.cpu.windows import PLANES, WINDOW, take, window_numbers

DEPTH = 256
"""Products per sum in registers: their pixels and the weights of a tile stay in L1. And the rounding errors
of a long sum are those of short ones."""

MOST_PANEL = 2 * 1024 * 1024
"""Bytes of a worker's pixels, above which windows are copied by blocks: a cache would not hold them."""

STRIP = 16
"""Vectors of pixels per task: with 256 products each, strips take half of a small L2 cache."""

MOST_FILTERS = 256
"""Filters per task: the sums of its pixels take 256 KiB."""

SMALL_WORK = 1 << 20
"""Multiply-adds that one thread has done before another would wake up, see ``threads.SMALL``."""

LINE_COST = 12
"""Pixels that could be copied in the time that it takes to begin with another row of them."""

FEW_FILTERS, FEW_FILTERS_LAST = 24, 8
"""Filters of a group up to which vectors run over pixels, if channels come first, and if they come last: more
of them fill vectors themselves. 64 channels on 56 x 56 pixels, 3 x 3 taps: 8 filters take 1.6 and 1.1 times
as long as vectors of filters, 16 filters 1 and 0.8 times; 3 channels on 224 x 224: 3.2 and 1.2, 1.8 and
0.8."""

LONG_ROW = 24
"""Pixels of a row of the result from which on vectors of pixels are full enough."""

DENSE = record(
    "x weights bias offsets panel totals out",
    f"{PLANES} image_step {WINDOW} images groups filters channels "
    "rows strips wide reach block part pieces vectors pitch to_image to_filter to_row to_pixel",
)
"""Images x by filters, in groups of ``filters`` and ``channels``. A kernel has so many ``rows`` of ``strips``
of pixels, longer by ``reach`` than their windows; a row of the image is ``wide`` in them. A task is a
``part`` of the filters at one of the ``pieces`` of an image of so many ``vectors``, at most ``pitch`` pixels,
with ``block`` channels at a time. to_*: steps in ``out``."""


def supports(spec: Layer) -> bool:
    """Whether there are few filters, and rows or columns of pixels fill vectors."""
    supported = spec.dtype in (np.float32, np.float64) and spec.x_dtype == spec.weight_dtype == spec.dtype
    if not supported or not prod(spec.shape) * prod(spec.weight):
        return False
    many = spec.weight[0] // spec.groups > (FEW_FILTERS_LAST if spec.layout.channels_last else FEW_FILTERS)
    if many or spec.window.stride != (1, 1) or max(spec.window.output) < LONG_ROW:
        return False
    numbers = tiling(spec, sliding(spec))
    return panel_size(numbers) * spec.dtype.itemsize <= MOST_PANEL


def sliding(spec: Layer) -> Window:
    """The window of a layer, turned if its images are narrow: few long rows are laid out in less time than
    many short ones, though their pixels are strided."""
    (height, width), window = spec.window.output, spec.window
    turning = width * (LINE_COST + height) < height * (LINE_COST + width / 8)
    return turned(window) if turning else window


class Dense:
    """The plan of a layer."""

    def __init__(self, spec: Layer) -> None:
        self.spec, window = spec, sliding(spec)
        self.turned = window is not spec.window
        values = tiling(spec, window)
        kinds = dict.fromkeys(("x", "weights", "bias", "panel", "totals", "out"), spec.dtype)
        scratch = {"panel": panel_size(values), "totals": values["part"] * values["pitch"]}
        work = prod(spec.weight) * spec.window.positions * values["images"]
        tasks = values["images"] * spec.groups * -(-values["filters"] // values["part"]) * values["pieces"]
        self.no_bias = np.zeros(spec.weight[0], spec.dtype)
        places = offsets(window, values)
        chunks = chunks_of_long(tasks, serially=work <= SMALL_WORK)
        self.job = Job(multiply, chunks, kinds, scratch, offsets=places, **values)

    def takes(self, x: Array) -> bool:
        """Whether kernels can read ``x`` where it lies."""
        return lies_in_steps(x)

    def __call__(self, x: Array, weight: Array, bias: Array | None, out: Array | None) -> Array:
        spec = self.spec
        target = result(out, spec.shape, spec.dtype, x, weight, *(() if bias is None else (bias,)))
        terms = self.no_bias if bias is None else bias.astype(spec.dtype, order="C")
        flat, origin, (image, plane, row, column) = flat_image(x, spec.layout)
        if self.turned:
            row, column, weight = column, row, weight.swapaxes(-2, -1)
        self.job(
            x=flat, extent=flat.size, origin=origin, image_step=image, plane_step=plane, row_step=row,
            column_step=column, weights=native(weight), bias=terms, out=target,
        )  # fmt: skip
        return deliver(target, out)


plan = Dense


def panel_size(numbers: dict[str, Any]) -> int:
    """Pixels of a worker's panel."""
    length = numbers["pitch"] + numbers["reach"]
    return int(numbers["block"] * numbers["rows"] * numbers["strips"] * length)


def tiling(spec: Layer, window: Window) -> dict[str, Any]:
    """All numbers of the record but those of the image's memory, for the layer's ``window`` or its turned
    one."""
    images = spec.layout.sizes(spec.x)[0]
    (height, width), columns, dtype = window.output, window.kernel[1], spec.dtype
    lanes = VECTOR_BYTES // dtype.itemsize
    between = (columns - 1) * window.dilation[1]
    strips = 1 if between <= STRIP * lanes else columns
    between = between if strips == 1 else 0
    wide = width + between
    vectors = -(-(height * wide - between) // lanes)
    all_filters, channels, *_ = spec.weight
    filters, pixels = all_filters // spec.groups, window.positions
    workers = 1 if prod(spec.weight) * pixels * images <= SMALL_WORK else threads()
    pieces = -(-vectors // STRIP)
    if pieces >= workers:
        pieces = -(-pieces // workers) * workers  # so that threads end together
    pitch = -(-vectors // pieces) * lanes
    down = window.dilation[0] * wide
    rows = 1 if strips == 1 and down < pitch else window.kernel[0]
    reach = between + (down * (window.kernel[0] - 1) if rows == 1 else 0)
    parts = -(-filters // MOST_FILTERS)
    if images * spec.groups * pieces < workers:
        parts = max(parts, workers)
    pixel, filter = (all_filters, 1) if spec.layout.channels_last else (1, pixels)
    row = spec.window.output[1] * pixel
    if window is not spec.window:
        row, pixel = pixel, row
    return window_numbers(window) | {
        "images": images, "groups": spec.groups, "filters": filters, "channels": channels,
        "rows": rows, "strips": strips, "wide": wide, "reach": reach,
        "block": max(1, min(channels, DEPTH // window.taps)),
        "part": -(-filters // (parts * FILTERS)) * FILTERS,
        "pieces": pieces, "vectors": vectors, "pitch": pitch,
        "to_image": pixels * all_filters, "to_filter": filter, "to_row": row, "to_pixel": pixel,
    }  # fmt: skip


def offsets(window: Window, numbers: dict[str, Any]) -> NDArray[np.int64]:
    """Where in a panel the pixels of the weights of a filter begin, of a block of channels."""
    k = np.arange(numbers["block"] * window.taps)
    row, b = np.divmod(k, window.kernel[1])
    length = numbers["pitch"] + numbers["reach"]
    channel, a = np.divmod(row, window.kernel[0])
    down = numbers["wide"] * window.dilation[0] if numbers["rows"] == 1 else length
    places = channel * numbers["rows"] * length + a * down + b * window.dilation[1]
    found: NDArray[np.int64] = (k * length if numbers["strips"] > 1 else places).astype(np.int64)
    return found


@kernel(DENSE, offsets=np.int64)
def multiply(p, chunk, worker):
    """x: flat memory; weights (O * C * kh * kw,); bias (O,); offsets: see there; out flat. panel (channels,
    rows, strips, pitch + reach) and totals: a worker's scratch."""
    lanes, taps = VECTOR_BYTES // carray(p.x, 1).itemsize, p.kernel_rows * p.kernel_columns
    length = p.pitch + p.reach
    panel = own(p, p.panel, worker, p.block * p.rows * p.strips * length)
    totals = own(p, p.totals, worker, p.part * p.pitch)
    parts = -(-p.filters // p.part)
    first, last = share(p, chunk, p.images * p.groups * parts * p.pieces)
    for task in range(first, last):
        rest, piece = divmod(task, p.pieces)
        rest, chosen = divmod(rest, parts)
        image, group = divmod(rest, p.groups)
        pixel = p.vectors * piece // p.pieces * lanes
        width = p.vectors * (piece + 1) // p.pieces * lanes - pixel
        filter, count = group * p.filters + chosen * p.part, min(p.part, p.filters - chosen * p.part)
        totals[:] = 0
        for c in range(0, p.channels, p.block):
            deep = min(p.block, p.channels - c)
            plane = p.origin + image * p.image_step + (group * p.channels + c) * p.plane_step
            _fill(p, plane, pixel, width + p.reach, deep, panel)
            for f in range(0, count, FILTERS):
                start = ((filter + f) * p.channels + c) * taps
                _add_tiles(p, panel, start, count - f, To(totals, f * p.pitch, p.pitch), deep * taps, width)
        _deliver(p, totals, image * p.to_image + filter * p.to_filter, filter, count, pixel, width)


@numba.njit(error_model="numpy")
def _fill(p, plane, pixel, length, channels, panel):
    """Pixels under windows ``pixel`` ... pixel + length of ``channels`` planes from x[plane] on, and zeros
    outside of them."""
    x, wide, pitch = carray(p.x, p.extent), p.wide, p.pitch + p.reach
    rows = p.rows * p.strips
    done = 0
    while done < length:
        i, j = divmod(pixel + done, wide)
        n = min(wide - j, length - done)
        for strip in range(rows):
            a, b = divmod(strip, p.strips)
            row, column = i + a * p.dilation_rows - p.top, j + b * p.dilation_columns - p.left
            inside = min(max(0, -column), n)
            outside = max(inside, min(n, p.width - column))
            if row < 0 or row >= p.height:
                inside = outside = n
            begin = plane + row * p.row_step + (column + inside) * p.column_step
            for c in range(channels):
                at = (c * rows + strip) * pitch + done
                for k in range(at, at + inside):
                    panel[k] = 0
                take(x, begin + c * p.plane_step, p.column_step, panel[at + inside : at + outside])
                for k in range(at + outside, at + n):
                    panel[k] = 0
        done += n


@numba.njit(error_model="numpy")
def _add_tiles(p, panel, start, left, to, depth, width):
    """Add the products of ``width`` pixels and up to FILTERS of the ``left`` filters, whose weights begin at
    ``start``, to their sums."""
    taps, lanes = p.kernel_rows * p.kernel_columns, VECTOR_BYTES // panel.itemsize
    weights = carray(p.weights, p.groups * p.filters * p.channels * taps)
    places = carray(p.offsets, p.block * taps)
    for k in range(0, depth, DEPTH):
        deep = min(DEPTH, depth - k)
        by = By(weights, start + k, p.channels * taps, left)
        for pixel in range(0, width, VECTORS * lanes):
            under, sums = Under(panel, places[k:], pixel), To(to.sums, to.start + pixel, to.pitch)
            if pixel + VECTORS * lanes <= width:
                multiply_tile(under, by, sums, deep, FILTERS, VECTORS)
            elif pixel + FEWER * lanes == width:
                multiply_tile(under, by, sums, deep, FILTERS, FEWER)
            else:
                multiply_tile(under, by, sums, deep, FILTERS, 1)


@numba.njit(error_model="numpy")
def _deliver(p, totals, first, filter, count, pixel, length):
    """Totals of windows ``pixel`` ... pixel + length and ``count`` filters from ``filter`` on, plus bias, to
    out[first] and on."""
    out = carray(p.out, p.images * p.to_image)
    bias = carray(p.bias, p.groups * p.filters)
    wide = p.wide
    done = 0
    while done < length:
        i, j = divmod(pixel + done, wide)
        n = min(p.out_columns - j, length - done) if i < p.out_rows else 0
        for f in range(count if n > 0 else 0):
            given, term = totals[f * p.pitch + done : f * p.pitch + done + n], bias[filter + f]
            begin = first + f * p.to_filter + i * p.to_row + j * p.to_pixel
            if p.to_pixel == 1:
                target = out[begin : begin + n]
                for k in range(n):
                    target[k] = given[k] + term
            else:
                for k in range(n):
                    out[begin + k * p.to_pixel] = given[k] + term
        done += wide - j
