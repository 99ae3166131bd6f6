"""The numba kernels of binary products: words against words, and signs read from an image.

Both products end in the same epilogue. Arguments that only describe the problem come as short arrays
of integers, unpacked in the first lines.
"""

from __future__ import annotations

import numba
import numpy as np

from fastconv.cpu._threads import parallel_kernel
from fastconv.cpu._vector import LANES, xnor_tile

INTEGERS, SCALED, SIGNS = 0, 1, 2
"""What an epilogue stores: y; scale * y + bias; the bits of y >= tau."""

TILE_PIXELS = 6
"""Pixels per tile: 6 x 4 vectors of counters, 4 of filters and 1 pixel fit 32 registers of 64 bytes."""

TILE_VECTORS = 4
"""Vectors of 8 filters per tile."""

UNIT = 64
"""Filters a task does at a time: their words stay in L1 for up to 288 words each, and one word of signs."""

PIXEL_BLOCK = 48
"""Pixels a task does at a time, whose counts against a unit of filters take 12 KiB."""


LINE = 1024
"""Pixels of a row whose sums one worker keeps when lanes run over pixels: 4 KiB a filter."""


@parallel_kernel
def multiply_words(
    words, tiles, rows, columns, offsets, run, shape, tasks, edges, sums, outside,
    kind, scale, bias, factor, tau, flip, strides, out, signs, starts, scratch,
):  # fmt: skip
    """y = terms - 2 * (bits in which each window differs from each filter), stored by the epilogue.

    words: flat planes; tiles (G, blocks, depth, 8); rows (Ho,) and columns (Wo,): their sum is where a
    window starts in its plane; offsets, run: see ``xnor_tile``;
    shape: N, G, words a plane, filters a group, terms; tasks: pixels a block, and into how many parts the
    filters are split; starts, scratch: a worker's own; the rest: see ``_add_outside`` and ``_store``.
    """
    n, groups, plane, filters, terms = shape[0], shape[1], shape[2], shape[3], shape[4]
    block, splits = tasks[0], tasks[1]
    positions = rows.size * columns.size
    per_image = -(-positions // block)
    total = n * per_image * splits
    units = -(-filters // UNIT)
    workers = scratch.shape[0]
    for index in numba.prange(workers):
        worker = np.int64(index)
        counts, pixels = scratch[worker], starts[worker]
        for task in range(total * worker // workers, total * (worker + 1) // workers):
            rest, split = divmod(task, splits)
            image, part = divmod(rest, per_image)
            first = part * block
            m = min(block, positions - first)
            for p in range(m):
                i, j = divmod(first + p, columns.size)
                pixels[p] = rows[i] + columns[j]
            for unit in range(groups * units * split // splits, groups * units * (split + 1) // splits):
                g, f = unit // units, unit % units * UNIT
                origin = (image * groups + g) * plane
                width = min(UNIT, filters - f)
                _count(words, origin, pixels[:m], offsets, run, tiles, g, f, width, counts)
                for k in range(m * UNIT):
                    counts[k] = terms - 2 * counts[k]
                if sums.size:
                    _add_outside(counts, first, m, g * filters + f, width, edges, sums, outside)
                _store(
                    counts, UNIT, 1, m, width, image, g, groups, f, filters, first, positions,
                    kind, scale, bias, factor, tau, flip, strides, out, signs,
                )  # fmt: skip


@numba.njit
def _count(words, origin, pixels, offsets, run, tiles, g, f, width, counts):
    """counts[p * UNIT + k] = bits in which window p differs from filter f + k of group g."""
    size = tiles.shape[2] * LANES
    begin = (g * tiles.shape[1] + f // LANES) * size
    flat = tiles.reshape(-1)
    vectors = -(-width // LANES)
    v = 0
    while v < vectors:
        at = begin + v * size
        wide = v + TILE_VECTORS <= vectors
        p = 0
        while p < pixels.size:
            row = p * UNIT + v * LANES
            if p + TILE_PIXELS <= pixels.size:
                tile = (
                    origin + pixels[p], origin + pixels[p + 1], origin + pixels[p + 2],
                    origin + pixels[p + 3], origin + pixels[p + 4], origin + pixels[p + 5],
                )  # fmt: skip
                if wide:
                    xnor_tile(words, tile, offsets, run, flat, at, size, 4, counts, row, UNIT)
                else:
                    xnor_tile(words, tile, offsets, run, flat, at, size, 1, counts, row, UNIT)
                p += TILE_PIXELS
            else:
                single = (origin + pixels[p],)
                if wide:
                    xnor_tile(words, single, offsets, run, flat, at, size, 4, counts, row, UNIT)
                else:
                    xnor_tile(words, single, offsets, run, flat, at, size, 1, counts, row, UNIT)
                p += 1
        v += TILE_VECTORS if wide else 1


@numba.njit
def _add_outside(y, first, m, filter_, width, edges, sums, outside):
    """Padding was counted as -1: add ``outside`` times the filters' signs on the taps out of bounds.

    edges: H, W, Wo, kh, kw, strides, dilations, top, left; sums (kh + 1, kw + 1, O): see ``_tap_sums``.
    """
    kh, kw = edges[3], edges[4]
    for p in range(m):
        i, j = divmod(first + p, edges[2])
        a0, a1 = _taps_inside(i * edges[5] - edges[9], edges[7], edges[0], kh)
        b0, b1 = _taps_inside(j * edges[6] - edges[10], edges[8], edges[1], kw)
        if a0 > 0 or b0 > 0 or a1 < kh or b1 < kw:
            for k in range(width):
                o = filter_ + k
                inside = sums[a1, b1, o] - sums[a0, b1, o] - sums[a1, b0, o] + sums[a0, b0, o]
                y[p * UNIT + k] += outside * (sums[kh, kw, o] - inside)


@numba.njit
def _taps_inside(start, dilation, size, taps):
    """The range of taps t for which start + t * dilation lies in [0, size)."""
    first = min(max(-(start // dilation), 0), taps)
    return first, max(min((size - 1 - start) // dilation + 1, taps), first)


@parallel_kernel
def multiply_planes(
    x, steps, strict, weights, shape, kernel, stride, dilation, before, pad_value,
    kind, scale, bias, factor, tau, flip, strides, out, signs, scratch,
):  # fmt: skip
    """y = sum of sign(x) * weight over each window, lanes running along the rows of the output.

    x: flat memory of (N, C, H, W), steps: its origin and strides; weights (O, C / G, kh, kw) of +-1
    int8; shape: N, G, H, W, Ho, Wo.
    """
    n, groups, h, w, height, width = shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]
    filters = weights.shape[0] // groups
    workers = scratch.shape[0]
    length = min(LINE, width)
    across = -(-width // length)
    total = n * height * across
    for index in numba.prange(workers):
        worker = np.int64(index)
        for task in range(total * worker // workers, total * (worker + 1) // workers):
            image, rest = divmod(task, height * across)
            i, j = rest // across, rest % across * length
            m = min(length, width - j)
            for g in range(groups):
                for f in range(filters):
                    line = scratch[worker, f * length : f * length + m]
                    _sum_line(
                        x, steps, strict, weights[g * filters + f], image, g, i, j,
                        h, w, kernel, stride, dilation, before, pad_value, line,
                    )  # fmt: skip
                _store(
                    scratch[worker], 1, length, m, filters, image, g, groups, 0, filters, i * width + j,
                    height * width, kind, scale, bias, factor, tau, flip, strides, out, signs,
                )  # fmt: skip


@numba.njit
def _sum_line(
    x, steps, strict, weights, image, g, i, j, h, w, kernel, stride, dilation, before, pad_value, line
):
    """Sum one filter's products into ``line``: output pixels j, j + 1, ... of row i."""
    m = line.size
    for k in range(m):
        line[k] = 0
    for c in range(weights.shape[0]):
        plane = steps[0] + image * steps[1] + (g * weights.shape[0] + c) * steps[2]
        for a in range(kernel[0]):
            row = i * stride[0] + a * dilation[0] - before[0]
            for b in range(kernel[1]):
                weight = np.int32(weights[c, a, b])
                column = j * stride[1] + b * dilation[1] - before[1]
                lo = min(max(-(column // stride[1]), 0), m)
                hi = max(min((w - 1 - column) // stride[1] + 1, m), lo)
                if row < 0 or row >= h:
                    lo = hi = m
                if pad_value != 0:
                    for k in range(lo):
                        line[k] += pad_value * weight
                    for k in range(hi, m):
                        line[k] += pad_value * weight
                if hi > lo:
                    first = plane + row * steps[3] + (column + lo * stride[1]) * steps[4]
                    step = stride[1] * steps[4]
                    _add_signs(x, first, step, strict, weight, line[lo:hi])


@numba.njit
def _add_signs(x, first, step, strict, weight, line):
    """line[k] += weight * sign(x[first + k * step])."""
    if step == 1:
        row = x[first : first + line.size]
        if strict:
            for k in range(line.size):
                line[k] += weight if row[k] > 0 else -weight
        else:
            for k in range(line.size):
                line[k] += weight if row[k] >= 0 else -weight
    else:
        for k in range(line.size):
            v = x[first + k * step]
            line[k] += weight if v > 0 or (v == 0 and not strict) else -weight


@numba.njit
def _store(
    y, pixel_step, filter_step, m, width, image, g, groups, f, filters, first, positions,
    kind, scale, bias, factor, tau, flip, strides, out, signs,
):  # fmt: skip
    """The epilogue: what becomes of y for m pixels from ``first`` on and ``width`` filters from f on.

    y[p * pixel_step + k * filter_step] is the sum of pixel p and filter k. scale, bias (O,) and factor
    (N, G, L), which may be empty, serve SCALED; tau, flip (O,) and the words ``signs`` (N, L,
    ceil(O / 64)) serve SIGNS. strides: of image, group, filter and pixel in the flat ``out``.
    """
    o = g * filters + f
    if kind == SIGNS:
        depth = (groups * filters + 63) // 64
        for p in range(m):
            row = (image * positions + first + p) * depth
            for k in range(width):
                bit = (y[p * pixel_step + k * filter_step] >= tau[o + k]) != flip[o + k]
                signs[row + (o + k) // 64] |= np.uint64(bit) << np.uint64((o + k) % 64)
        return
    start = image * strides[0] + g * strides[1] + f * strides[2] + first * strides[3]
    window = (image * groups + g) * positions + first
    if strides[3] == 1:
        for k in range(width):
            line = out[start + k * strides[2] : start + k * strides[2] + m]
            _copy_line(y, k * filter_step, pixel_step, line)
            if kind == SCALED and factor.size:
                part = factor[window : window + m]
                for p in range(m):
                    line[p] = line[p] * (scale[o + k] * part[p]) + bias[o + k]
            elif kind == SCALED:
                for p in range(m):
                    line[p] = line[p] * scale[o + k] + bias[o + k]
    else:
        for p in range(m):
            line = out[start + p * strides[3] : start + p * strides[3] + width]
            _copy_line(y, p * pixel_step, filter_step, line)
            if kind == SCALED:
                each = factor[window + p] if factor.size else scale.dtype.type(1)
                for k in range(width):
                    line[k] = line[k] * (scale[o + k] * each) + bias[o + k]


@numba.njit
def _copy_line(source, begin, step, line):
    """line[k] = source[begin + k * step]; by a slice where that is contiguous, so that LLVM vectorises."""
    if step == 1:
        part = source[begin : begin + line.size]
        for k in range(line.size):
            line[k] = part[k]
    else:
        for k in range(line.size):
            line[k] = source[begin + k * step]
