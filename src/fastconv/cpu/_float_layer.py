"""conv2d in float32 and float64: windows times filters in registers, without a matrix of windows.

Binary layers are multiplied elsewhere: by words in ``_binary``, by pixels in ``_planes``.

Pixels of the result are numbered along rows as long as padded ones. Numbered so, what one tap of a kernel
sees in all windows is the image, moved: the taps of a kernel row share one strip of pixels. Where windows are
more than one column apart, every tap has a strip of its own.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastconv._geometry import Window
from fastconv.cpu._threads import parallel_kernel, scratch, threads
from fastconv.cpu.arrays import Array, flat_memory, native
from fastconv.cpu.patches import take
from fastconv.cpu.simd import WIDE, _address, _i64, _literal, _load, _multiply_add, _splat, _store

VECTOR_BYTES = 64

FILTERS, VECTORS = (8, 3) if WIDE else (4, 1)
"""Filters and vectors of pixels per tile. 24 sums, 3 vectors of pixels and 1 weight fit 32 registers of 64
bytes, and reach 84 % of the peak of multiply-adds on one thread (6 x 4: 79 %, 4 x 6: 72 %); 8, 2 and 1 fit
the 16 registers of 32 bytes."""

FEWER = max(1, VECTORS - 1)
"""Vectors of a tile of what is left, if it is more than one: two of one would load each weight twice."""

DEPTH = 256
"""Products per sum in registers: their pixels and the weights of a tile stay in L1. And the rounding errors
of a long sum are those of short ones."""

STRIP = 16
"""Vectors of pixels per task: with 256 products each, strips take half of a small L2 cache."""

MOST_FILTERS = 256
"""Filters per task: the sums of its pixels take 256 KiB."""

SMALL_WORK = 1 << 20
"""Multiply-adds that one thread has done before another would wake up, see ``_threads.SMALL``."""


def multiplies(images: Array, geometry: Window, weight: Array, dtype: np.dtype[Any]) -> bool:
    """Whether :func:`multiply_windows` takes these operands."""
    supported = dtype in (np.float32, np.float64) and images.dtype == weight.dtype == dtype
    in_place = images.flags.aligned and images.dtype.isnative
    steps_fit = all(step % images.dtype.itemsize == 0 for step in images.strides)
    return supported and in_place and steps_fit and weight.size > 0 and geometry.taps <= DEPTH


def multiply_windows(
    images: Array,
    geometry: Window,
    groups: int,
    weight: Array,
    bias: Array,
    y: Array,
    steps: tuple[int, int, int],
) -> None:
    """y (flat; ``steps`` from image to image, filter to filter, pixel to pixel) = windows of ``images``
    (N, C, H, W) times ``weight`` (O, C / groups, kh, kw), plus ``bias`` (O,)."""
    x, origin, strides = flat_memory(images)
    (height, width), (rows, columns) = geometry.output, geometry.kernel
    lanes = VECTOR_BYTES // x.itemsize
    reach = (columns - 1) * geometry.dilation[1]
    strips = 1 if geometry.stride[1] == 1 and reach <= STRIP * lanes else columns
    reach = reach if strips == 1 else 0
    vectors = -(-(height * (width + reach) - reach) // lanes)
    filters, channels = len(weight) // groups, weight.shape[1]
    serially = weight.size * geometry.positions * len(images) <= SMALL_WORK
    workers = 1 if serially else threads()
    pieces = -(-vectors // STRIP)
    if pieces >= workers:
        pieces = -(-pieces // workers) * workers  # so that threads end together
    parts = -(-filters // MOST_FILTERS)
    if len(images) * groups * pieces < workers:
        parts = max(parts, workers)
    part = -(-filters // (parts * FILTERS)) * FILTERS
    block = max(1, min(channels, DEPTH // geometry.taps))
    pitch = -(-vectors // pieces) * lanes
    (top, _), (left, _) = geometry.padding
    _multiply(
        x,
        (origin, *strides),
        np.array(
            [geometry.size, geometry.kernel, geometry.stride, geometry.dilation, (top, left), geometry.output]
        ),
        (len(images), groups, filters, channels),
        (strips, reach, block, part, pieces, vectors),
        native(weight).reshape(-1),
        native(bias),
        *scratch(
            (block * rows * strips * (pitch + reach), x.dtype),
            (block * geometry.taps, np.int64),
            (part * pitch, x.dtype),
            serially=serially,
        ),
        y,
        steps,
        serially=serially,
    )


@parallel_kernel
def _multiply(x, layout, geometry, counts, tiling, weights, bias, panels, places, totals, y, steps):
    """x flat memory; layout: origin and strides of images (N, C, H, W); geometry: (rows, columns) of size,
    kernel, stride, dilation, padding before and output; counts: images, groups, and filters and channels of
    a group; tiling: strips for each kernel row, pixels by which they are longer than their windows, channels
    per block, filters per part, pieces of the image and its vectors. weights (O * C * kh * kw,); bias (O,);
    y flat, with ``steps`` of image, filter and pixel. panels, places, totals: a worker's scratch."""
    images, groups, filters, channels = counts
    strips, reach, block, part, pieces, vectors = tiling
    lanes = VECTOR_BYTES // x.itemsize
    taps = geometry[1, 0] * geometry[1, 1]
    pitch = -(-vectors // pieces) * lanes
    parts = -(-filters // part)
    workers = panels.shape[0]
    tasks = images * groups * parts * pieces
    for index in numba.prange(workers):
        worker = np.int64(index)
        panel, offsets, sums = panels[worker], places[worker], totals[worker]
        _place(geometry, strips, pitch + reach, offsets[: block * taps])
        for task in range(tasks * worker // workers, tasks * (worker + 1) // workers):
            rest, piece = divmod(task, pieces)
            rest, chosen = divmod(rest, parts)
            image, group = divmod(rest, groups)
            pixel = vectors * piece // pieces * lanes
            width = vectors * (piece + 1) // pieces * lanes - pixel
            filter, count = group * filters + chosen * part, min(part, filters - chosen * part)
            sums[: part * pitch] = 0
            for c in range(0, channels, block):
                deep = min(block, channels - c)
                plane = layout[0] + image * layout[1] + (group * channels + c) * layout[2]
                _fill(
                    x, plane, layout[2:], geometry, strips, reach, pixel, width + reach,
                    deep, pitch + reach, panel,
                )  # fmt: skip
                for f in range(0, count, FILTERS):
                    weight = (filter + f) * channels * taps + c * taps
                    _add_tiles(
                        panel, offsets, deep * taps, weights, weight, channels * taps, count - f,
                        sums, f * pitch, pitch, width,
                    )  # fmt: skip
            first = image * steps[0] + filter * steps[1]
            own = bias[filter : filter + count]
            _deliver(sums, pitch, own, reach, geometry[5], pixel, width, y, first, steps)


@numba.njit
def _place(geometry, strips, pitch, offsets):
    """offsets[k] = where in a panel the pixels of the k-th weight of a filter begin."""
    columns, dilation = geometry[1, 1], geometry[3, 1]
    for k in range(offsets.size):
        row, b = divmod(k, columns)
        offsets[k] = row * pitch + b * dilation if strips == 1 else k * pitch


@numba.njit
def _fill(x, plane, strides, geometry, strips, reach, pixel, length, channels, pitch, panel):
    """panel (channels, kh, strips, pitch) = pixels under windows ``pixel`` ... pixel + length of planes that
    begin at x[plane], and zeros outside of them. ``strides``: from plane to plane, row to row, and pixel to
    pixel."""
    size, kernel, stride, dilation, before, output = geometry
    step = stride[1] * strides[2]
    done = 0
    while done < length:
        i, j = divmod(pixel + done, output[1] + reach)
        n = min(output[1] + reach - j, length - done)
        for strip in range(kernel[0] * strips):
            a, b = divmod(strip, strips)
            row = i * stride[0] + a * dilation[0] - before[0]
            column = j * stride[1] + b * dilation[1] - before[1]
            inside = min(max(0, -(column // stride[1])), n)
            outside = max(inside, min(n, (size[1] - 1 - column) // stride[1] + 1))
            if row < 0 or row >= size[0]:
                inside = outside = n
            begin = plane + row * strides[1] + (column + inside * stride[1]) * strides[2]
            for c in range(channels):
                at = (c * kernel[0] * strips + strip) * pitch + done
                for k in range(at, at + inside):
                    panel[k] = 0
                take(x, begin + c * strides[0], step, panel[at + inside : at + outside])
                for k in range(at + outside, at + n):
                    panel[k] = 0
        done += n


@numba.njit
def _add_tiles(panel, offsets, depth, weights, weight, step, left, sums, at, pitch, width):
    """Add the products of ``width`` pixels and up to FILTERS filters to their sums."""
    lanes = VECTOR_BYTES // panel.itemsize
    pixel = 0
    while pixel + VECTORS * lanes <= width:
        multiply_tile(
            panel, pixel, offsets, depth, weights, weight, step, left, sums, at + pixel, pitch,
            FILTERS, VECTORS,
        )  # fmt: skip
        pixel += VECTORS * lanes
    if pixel + FEWER * lanes == width:
        multiply_tile(
            panel, pixel, offsets, depth, weights, weight, step, left, sums, at + pixel, pitch,
            FILTERS, FEWER,
        )  # fmt: skip
    elif pixel < width:
        multiply_tile(
            panel, pixel, offsets, depth, weights, weight, step, left, sums, at + pixel, pitch, FILTERS, 1
        )


@numba.njit
def _deliver(sums, pitch, bias, reach, output, pixel, length, y, first, steps):
    """Sums (filters, pitch) of windows ``pixel`` ... pixel + length, plus bias, to y[first] and on."""
    done = 0
    while done < length:
        i, j = divmod(pixel + done, output[1] + reach)
        n = min(output[1] - j, length - done) if i < output[0] else 0
        for f in range(bias.size if n > 0 else 0):
            given = sums[f * pitch + done : f * pitch + done + n]
            begin = first + f * steps[1] + (i * output[1] + j) * steps[2]
            if steps[2] == 1:
                target = y[begin : begin + n]
                for k in range(n):
                    target[k] = given[k] + bias[f]
            else:
                for k in range(n):
                    y[begin + k * steps[2]] = given[k] + bias[f]
        done += output[1] + reach - j


@intrinsic(prefer_literal=True)
def multiply_tile(
    typing: Any,
    panel: Any,
    pixel: Any,
    offsets: Any,
    depth: Any,
    weights: Any,
    first: Any,
    step: Any,
    left: Any,
    sums: Any,
    at: Any,
    pitch: Any,
    filters: Any,
    vectors: Any,
) -> Any:
    """sums[at + f * pitch + p] += the sum over k < ``depth`` of
    panel[pixel + offsets[k] + p] * weights[first + f * step + k],
    for f < ``filters`` and p < ``vectors`` * (64 bytes of elements), both known when compiling. From
    f = ``left`` on, weights are those of the last filter before."""
    rows, columns = _literal(filters, "filters"), _literal(vectors, "vectors")
    lanes = 8 * VECTOR_BYTES // panel.dtype.bitwidth

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pixels, start, places, number, factors, begin, length, available, results, target, line, _, _ = args
        zero = ir.Constant(ir.VectorType(context.get_value_type(panel.dtype), lanes), None)
        last = builder.sub(available, _i64(1))
        filters_at, counters = [], []
        for f in range(rows):
            row = builder.select(builder.icmp_signed("<", _i64(f), last), _i64(f), last)
            at_row = builder.add(begin, builder.mul(row, length))
            filters_at.append(_address(context, builder, weights, factors, at_row))
            counters.append([cgutils.alloca_once_value(builder, zero) for _ in range(columns)])
            for counter in counters[-1]:
                builder.store(zero, counter)
        with cgutils.for_range(builder, number, intp=_i64) as loop:
            offset = builder.load(_address(context, builder, offsets, places, loop.index))
            place = builder.add(start, offset)
            loaded = [
                _load(context, builder, panel, pixels, builder.add(place, _i64(v * lanes)), lanes)
                for v in range(columns)
            ]
            for weight, own in zip(filters_at, counters, strict=True):
                factor = _splat(builder, builder.load(builder.gep(weight, [loop.index])), lanes)
                for vector, counter in zip(loaded, own, strict=True):
                    builder.store(_multiply_add(builder, vector, factor, builder.load(counter)), counter)
        for f, own in enumerate(counters):
            for v, counter in enumerate(own):
                place = builder.add(target, builder.add(builder.mul(_i64(f), line), _i64(v * lanes)))
                total = builder.fadd(
                    _load(context, builder, sums, results, place, lanes), builder.load(counter)
                )
                _store(context, builder, sums, results, place, total)
        return context.get_dummy_value()

    index = types.intp
    arguments = (panel, index, offsets, index, weights, *[index] * 3, sums, index, index, filters, vectors)
    return types.void(*arguments), generate
