"""The numba kernels of :mod:`fastconv.cpu.xnor`.

Both products end in the same epilogue. Arguments that only describe the problem come as short arrays
of integers, unpacked in the first lines.
"""

from __future__ import annotations

import numba
import numpy as np

from fastconv.cpu._threads import parallel_kernel
from fastconv.cpu._vector import LANES, sign_bits, xnor_tile
from fastconv.cpu.bits import pack_pixels

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


@parallel_kernel
def multiply_words(
    words, tiles, pixels, offsets, run, shape, tasks, edges, sums, outside,
    kind, scale, bias, factor, tau, flip, strides, out, signs, scratch,
):  # fmt: skip
    """y = terms - 2 * (bits in which each window differs from each filter), stored by the epilogue.

    words: flat planes; tiles (G, blocks, depth, 8); pixels (L,): where each window starts in its plane;
    offsets, run: see ``xnor_tile``; shape: N, G, words a plane, filters a group, terms; tasks: pixels a
    block, and into how many parts the filters are split; the rest: see ``_add_outside`` and ``_store``.
    """
    n, groups, plane, filters, terms = shape[0], shape[1], shape[2], shape[3], shape[4]
    block, splits = tasks[0], tasks[1]
    positions = pixels.size
    per_image = -(-positions // block)
    total = n * per_image * splits
    units = -(-filters // UNIT)
    workers = scratch.shape[0]
    for index in numba.prange(workers):
        worker = np.int64(index)
        counts = scratch[worker]
        for task in range(total * worker // workers, total * (worker + 1) // workers):
            rest, split = divmod(task, splits)
            image, part = divmod(rest, per_image)
            first = part * block
            m = min(block, positions - first)
            for unit in range(groups * units * split // splits, groups * units * (split + 1) // splits):
                g, f = unit // units, unit % units * UNIT
                origin = (image * groups + g) * plane
                width = min(UNIT, filters - f)
                _count(words, origin, pixels[first : first + m], offsets, run, tiles, g, f, width, counts)
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
    length = scratch.shape[1] // filters
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
                    line[:] = 0
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
    """Add one filter's products to ``line``: output pixels j, j + 1, ... of row i."""
    m = line.size
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
    (N, G, L) may be empty. strides: of image, group, filter and pixel in the flat ``out``; ``signs`` are
    words (N, L, ceil(O / 64)).
    """
    o = g * filters + f
    start = image * strides[0] + g * strides[1] + f * strides[2] + first * strides[3]
    if kind == SIGNS:
        depth = (groups * filters + 63) // 64
        for p in range(m):
            row = (image * positions + first + p) * depth
            for k in range(width):
                bit = (y[p * pixel_step + k * filter_step] >= tau[o + k]) != flip[o + k]
                signs[row + (o + k) // 64] |= np.uint64(bit) << np.uint64((o + k) % 64)
    elif kind == INTEGERS:
        if strides[3] == 1:
            for k in range(width):
                line = out[start + k * strides[2] : start + k * strides[2] + m]
                for p in range(m):
                    line[p] = y[p * pixel_step + k * filter_step]
        else:
            for p in range(m):
                for k in range(width):
                    at = start + p * strides[3] + k * strides[2]
                    out[at] = y[p * pixel_step + k * filter_step]
    else:
        window = (image * groups + g) * positions + first
        for k in range(width):
            for p in range(m):
                value = out.dtype.type(y[p * pixel_step + k * filter_step])
                if scale.size:
                    value *= scale[o + k] * factor[window + p] if factor.size else scale[o + k]
                if bias.size:
                    value += bias[o + k]
                out[start + p * strides[3] + k * strides[2]] = value


@parallel_kernel
def pack_image(x, steps, shape, strict, words):
    """Signs of an image as words (N, G, Hp, Wp, w), whose padding is left as it is.

    x: flat memory of (N, C, H, W) contiguous along W or C; steps: its origin and strides;
    shape: H, W, channels a group, rows above, columns to the left.
    """
    h, w, channels, top, left = shape[0], shape[1], shape[2], shape[3], shape[4]
    n, groups, height, width, depth = words.shape
    flat = words.reshape(-1)
    zero = x.dtype.type(0)
    for index in numba.prange(n * groups * h):
        image, rest = divmod(np.int64(index), groups * h)
        g, i = divmod(rest, h)
        start = steps[0] + image * steps[1] + g * channels * steps[2] + i * steps[3]
        target = (((image * groups + g) * height + top + i) * width + left) * depth
        if steps[4] == 1 and (channels == 1 or steps[2] != 1):
            pack_pixels(x, start, steps[2], channels, 0, w, zero, strict, flat, target, depth)
        else:
            for j in range(w):
                _pack_pixel(x, start + j * steps[4], channels, zero, strict, flat, target + j * depth)


@numba.njit
def _pack_pixel(x, start, channels, zero, strict, words, target):
    """words[target:] = the signs of ``channels`` neighbouring elements."""
    for word in range((channels + 63) // 64):
        first = start + word * 64
        count = min(64, channels - word * 64)
        if count == 64:
            bits = sign_bits(x, first, zero, strict)
        else:
            bits = np.uint64(0)
            for c in range(count):
                v = x[first + c]
                bits |= np.uint64(v > zero or (v == zero and not strict)) << np.uint64(c)
        words[target + word] = bits


@parallel_kernel
def window_means(x, steps, shape, kernel, stride, dilation, before, scratch, out):
    """out (N, G, Ho, Wo) = mean of abs(x) under each window and all channels of the group.

    x: flat memory of (N, C, H, W), steps: its origin and strides; shape: N, C, G, H, W. Sums are kept
    in float64, columns first.
    """
    channels, h, w = shape[1] // shape[2], shape[3], shape[4]
    n, groups, height, width = out.shape
    workers = scratch.shape[0]
    total = n * groups * height
    terms = channels * kernel[0] * kernel[1]
    for index in numba.prange(workers):
        worker = np.int64(index)
        sums = scratch[worker]
        for task in range(total * worker // workers, total * (worker + 1) // workers):
            plane, i = divmod(task, height)
            image, g = divmod(plane, groups)
            sums[:] = 0.0
            for a in range(kernel[0]):
                row = i * stride[0] + a * dilation[0] - before[0]
                if row < 0 or row >= h:
                    continue
                start = steps[0] + image * steps[1] + g * channels * steps[2] + row * steps[3]
                for c in range(channels):
                    _add_magnitudes(x, start + c * steps[2], steps[4], sums)
            _box_line(sums, kernel[1], stride[1], dilation[1], before[1], max(terms, 1), out[image, g, i])


@numba.njit
def _add_magnitudes(x, first, step, sums):
    """sums[k] += abs(x[first + k * step])."""
    if step == 1:
        row = x[first : first + sums.size]
        for k in range(sums.size):
            sums[k] += abs(np.float64(row[k]))
    else:
        for k in range(sums.size):
            sums[k] += abs(np.float64(x[first + k * step]))


@numba.njit
def _box_line(sums, taps, stride, dilation, before, terms, line):
    """line[j] = the sum of ``taps`` of ``sums`` from j * stride - before on, divided by terms."""
    totals = np.zeros(line.size)
    for b in range(taps):
        column = b * dilation - before
        lo = min(max(-(column // stride), 0), line.size)
        hi = max(min((sums.size - 1 - column) // stride + 1, line.size), lo)
        if stride == 1:
            source, target = sums[column + lo : column + hi], totals[lo:hi]
            for k in range(target.size):
                target[k] += source[k]
        else:
            for k in range(lo, hi):
                totals[k] += sums[k * stride + column]
    for k in range(line.size):
        line[k] = totals[k] / terms


@parallel_kernel
def max_pool(images, kernel, stride, dilation, before, out):
    """out (N, Ho, Wo, w) = the OR of the words of images (N, H, W, w) under each window."""
    n, height, width, depth = out.shape
    h, w = images.shape[1], images.shape[2]
    for index in numba.prange(n * height):
        image, i = divmod(np.int64(index), height)
        for j in range(width):
            out[image, i, j] = 0
            for a in range(kernel[0]):
                row = i * stride[0] + a * dilation[0] - before[0]
                for b in range(kernel[1]):
                    column = j * stride[1] + b * dilation[1] - before[1]
                    if 0 <= row < h and 0 <= column < w:
                        for k in range(depth):
                            out[image, i, j, k] |= images[image, row, column, k]
