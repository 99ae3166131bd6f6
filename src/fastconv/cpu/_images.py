"""The numba kernels that read or pool whole images: packing, window means, max-pooling."""

from __future__ import annotations

import numba
import numpy as np

from fastconv.cpu._threads import parallel_kernel
from fastconv.cpu._vector import sign_bits
from fastconv.cpu.bits import pack_pixels


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
    n, groups, height, _ = out.shape
    workers = scratch.shape[0]
    total = n * groups * height
    terms = channels * kernel[0] * kernel[1]
    for index in numba.prange(workers):
        worker = np.int64(index)
        sums = scratch[worker, :w]
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
