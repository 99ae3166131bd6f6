"""The numba kernels that read or pool whole images: packing, window means, max-pooling."""

from __future__ import annotations

import numba
import numpy as np

from fastconv.cpu._bit_vectors import bound_of, channel_bits, in_range, range_bits
from fastconv.cpu._threads import parallel_kernel
from fastconv.cpu.simd import BLOCK, PIXELS

ORIGIN, IMAGE_STEP, CHANNEL_STEP, ROW_STEP, PIXEL_STEP, ROWS, COLUMNS, CHANNELS, ABOVE, LEFT = range(10)
"""Places in the ``image`` of :func:`pack_image`: origin and strides of x; rows and columns of an image, and
channels of a group; padding before the image."""


@parallel_kernel
def pack_image(x, low, span, image, words, scratch):
    """Bits of images as words (N, G, Hp, Wp, w), whose padding is left as it is.

    x: flat memory of keys (N, C, H, W) contiguous along W or C; low, span: see ``in_range``, numbers or, for
    each channel of one group, arrays of a multiple of 64; image: see ``ORIGIN``; scratch: a worker's own.
    """
    groups, depth = words.shape[1], words.shape[4]
    h, w, channels = image[ROWS], image[COLUMNS], image[CHANNELS]
    flat = words.reshape(-1)
    # Rows of neighbours: the whole plane, if its rows follow one another.
    rows, length = (1, h * w) if image[ROW_STEP] == w * image[PIXEL_STEP] or h == 1 else (h, w)
    by_plane = image[PIXEL_STEP] == 1 and (channels == 1 or image[CHANNEL_STEP] != 1)
    blocks = -(-length // BLOCK)
    workers = scratch.shape[0]
    tasks = words.shape[0] * groups * rows * blocks
    for index in numba.prange(workers):
        worker = np.int64(index)
        for task in range(tasks * worker // workers, tasks * (worker + 1) // workers):
            rest, block = divmod(task, blocks)
            plane, row = divmod(rest, rows)
            n, g = divmod(plane, groups)
            first = max(0, min(block * BLOCK, length - BLOCK))  # the last block is whole, too
            m = min(BLOCK, length - first)
            start = image[ORIGIN] + n * image[IMAGE_STEP] + g * channels * image[CHANNEL_STEP]
            start += row * image[ROW_STEP] + first * image[PIXEL_STEP]
            for word in range(depth):
                c = word * 64
                at, count = start + c * image[CHANNEL_STEP], min(64, channels - c)
                if by_plane:
                    _pack_planes(x, at, image[CHANNEL_STEP], count, m, low, span, c, scratch[worker])
                else:
                    _pack_pixels(x, at, image[PIXEL_STEP], count, m, low, span, c, scratch[worker])
                _place(scratch[worker], m, row * length + first, plane, image, words.shape, word, flat)


@numba.njit
def _pack_planes(x, start, plane, channels, m, low, span, first, words):
    """words[p] = the bits of x[start + c * plane + p], c < ``channels`` from ``first`` on, for p < m."""
    if m == BLOCK:
        channel_bits(x, start, plane, channels, low, span, first, 4, words, 0)
    elif m >= PIXELS:
        for p in range(0, m, PIXELS):
            k = min(p, m - PIXELS)
            channel_bits(x, start + k, plane, channels, low, span, first, 1, words, k)
    else:
        for p in range(m):
            words[p] = _pack_word(x, start + p, plane, channels, low, span, first)


@numba.njit
def _pack_pixels(x, start, step, channels, m, low, span, first, words):
    """words[p] = the bits of x[start + p * step + c], c < ``channels`` from ``first`` on, for p < m."""
    tail = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - channels)
    for p in range(m):
        at = start + p * step
        if at + 64 <= x.size:
            words[p] = range_bits(x, at, low, span, first) & tail
        else:
            words[p] = _pack_word(x, at, 1, channels, low, span, first)


@numba.njit
def _pack_word(x, start, step, channels, low, span, first):
    word = np.uint64(0)
    for c in range(channels):
        bit = in_range(x[start + c * step], bound_of(low, first + c), bound_of(span, first + c))
        word |= np.uint64(bit) << np.uint64(c)
    return word


@numba.njit
def _place(packed, m, first, plane, image, shape, word, words):
    """Write the words of m pixels from ``first`` on to their places in a padded plane."""
    _, _, height, width, depth = shape
    i, j = divmod(first, image[COLUMNS])
    at = ((plane * height + image[ABOVE] + i) * width + image[LEFT] + j) * depth + word
    for p in range(m):
        words[at] = packed[p]
        at += depth
        j += 1
        if j == image[COLUMNS]:
            j = 0
            at += (width - image[COLUMNS]) * depth


@parallel_kernel
def window_means(x, steps, shape, kernel, stride, dilation, before, columns, scratch, out):
    """out (N, G, Ho, Wo) = mean of abs(x) under each window and all channels of the group.

    x: flat memory of (N, C, H, W), steps: its origin and strides; shape: N, C, G, H, W; columns, scratch: a
    worker's own, float64, so that sums do not overflow: columns of windows first, then those side by side.
    """
    channels, h, w = shape[1] // shape[2], shape[3], shape[4]
    n, groups, height, width = out.shape
    workers = scratch.shape[0]
    total = n * groups * height
    terms = channels * kernel[0] * kernel[1]
    for index in numba.prange(workers):
        worker = np.int64(index)
        sums, totals = columns[worker, :w], scratch[worker, :width]
        for task in range(total * worker // workers, total * (worker + 1) // workers):
            plane, i = divmod(task, height)
            image, g = divmod(plane, groups)
            sums[:] = 0
            for a in range(kernel[0]):
                row = i * stride[0] + a * dilation[0] - before[0]
                if row < 0 or row >= h:
                    continue
                start = steps[0] + image * steps[1] + g * channels * steps[2] + row * steps[3]
                for c in range(channels):
                    _add_magnitudes(x, start + c * steps[2], steps[4], sums)
            totals[:] = 0
            for b in range(kernel[1]):
                _add_columns(sums, b * dilation[1] - before[1], stride[1], totals)
            line, share = out[image, g, i], totals.dtype.type(1 / max(terms, 1))
            for k in range(line.size):
                line[k] = totals[k] * share


@numba.njit
def _add_magnitudes(x, first, step, sums):
    """sums[k] += abs(x[first + k * step])."""
    if step == 1:
        row = x[first : first + sums.size]
        for k in range(sums.size):
            sums[k] += abs(sums.dtype.type(row[k]))
    else:
        for k in range(sums.size):
            sums[k] += abs(sums.dtype.type(x[first + k * step]))


@numba.njit
def _add_columns(sums, column, stride, totals):
    """totals[j] += sums[column + j * stride], where there is such a column."""
    lo = min(max(-(column // stride), 0), totals.size)
    hi = max(min((sums.size - 1 - column) // stride + 1, totals.size), lo)
    if stride == 1:
        source, target = sums[column + lo : column + hi], totals[lo:hi]
        for k in range(target.size):
            target[k] += source[k]
    else:
        for k in range(lo, hi):
            totals[k] += sums[k * stride + column]


@parallel_kernel
def max_pool(images, kernel, stride, dilation, before, scratch, out):
    """out (N, Ho, Wo, w) = the OR of the words of images (N, H, W, w) under each window; scratch: a worker's
    own."""
    n, height, _, depth = out.shape
    h, w = images.shape[1], images.shape[2]
    workers = scratch.shape[0]
    total = n * height
    for index in numba.prange(workers):
        worker = np.int64(index)
        line = scratch[worker, : w * depth]
        for task in range(total * worker // workers, total * (worker + 1) // workers):
            image, i = divmod(task, height)
            line[:] = 0
            for a in range(kernel[0]):
                row = i * stride[0] + a * dilation[0] - before[0]
                if 0 <= row < h:
                    source = images[image, row].reshape(-1)
                    for k in range(line.size):
                        line[k] |= source[k]
            target = out[image, i].reshape(-1)
            target[:] = 0
            for b in range(kernel[1]):
                _join_columns(line, b * dilation[1] - before[1], stride[1], depth, target)


@numba.njit
def _join_columns(line, column, stride, depth, target):
    """target[j * depth + k] |= line[(column + j * stride) * depth + k], where there is such a column."""
    columns, width = line.size // depth, target.size // depth
    for j in range(max(-(column // stride), 0), min((columns - 1 - column) // stride + 1, width)):
        at, to = (column + j * stride) * depth, j * depth
        for k in range(depth):
            target[to + k] |= line[at + k]
