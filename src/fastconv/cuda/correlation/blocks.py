"""conv2d: windows as columns of a matrix (im2col), and matrix products, block by block."""

from __future__ import annotations

from itertools import product
from typing import Any

import cupy
import numpy as np

from fastconv._checks import working_dtype
from fastconv._geometry import Window
from fastconv._specs.correlation import Layer
from fastconv.cuda.arrays import Array, deliver, result

BLOCK_BYTES = 12 * 1024 * 1024
"""Bytes of windows, of filters that had to be copied, and of products in conv2d, each: together, and with
what an allocator adds, less than the 64 MiB that it may take."""

FEWEST_WINDOWS = 16
"""Columns of a matrix product, at least, if a block holds so many: fewer would load filters for little."""


def conv2d(spec: Layer, x: Array, weight: Array, bias: Array | None, out: Array | None) -> Array:
    x, weight = cupy.asarray(x), cupy.asarray(weight)
    target = result(out, spec.shape, spec.dtype, x, weight, *(() if bias is None else (bias,)))
    if not target.size:
        return deliver(target, out)
    layout, geometry, groups = spec.layout, spec.window, spec.groups
    n, o, c = layout.sizes(spec.x)[0], spec.weight[0] // groups, spec.weight[1]
    # groups, channels, images: so the windows of a group, in all images, are the columns of one matrix
    images = layout.nchw(x).reshape(n, groups, c, *geometry.size).transpose(1, 2, 0, 3, 4)
    results = layout.nchw(target).reshape(n, groups, o, *geometry.output).transpose(1, 2, 0, 3, 4)
    filters = weight.reshape(groups, o, c * geometry.taps)
    if c:
        _multiply_blocks(images, filters, geometry, results)
    else:
        results[...] = 0
    if bias is not None:
        results += cupy.asarray(bias).astype(spec.dtype).reshape(groups, o, 1, 1, 1)
    return deliver(target, out)


def _multiply_blocks(images: Array, filters: Array, geometry: Window, results: Array) -> None:
    """``results`` (groups, O, N, Ho, Wo) = ``filters`` (groups, O, C * taps) times the windows of ``images``
    (groups, C, N, H, W), block by block."""
    work = working_dtype(results.dtype)
    c, sizes = images.shape[1], (results.shape[0], *results.shape[2:])
    planes, *steps = _steps(c, filters.shape[1], geometry.taps, sizes, BLOCK_BYTES // work.itemsize)
    for corner in product(*(range(0, n, step) for n, step in zip(sizes, steps, strict=True))):
        g, n, i, j = (slice(a, min(a + d, n)) for a, d, n in zip(corner, steps, sizes, strict=True))
        block = sums = results[g, :, n, i, j]
        for first in range(0, c, planes):
            own = slice(first, min(first + planes, c))
            taken = slice(own.start * geometry.taps, own.stop * geometry.taps)
            part = filters[g, :, taken].astype(work, copy=False)
            terms = cupy.matmul(part, _windows(images[g, own, n], geometry, i, j, work)).reshape(block.shape)
            sums = terms if first == 0 else sums + terms
        block[...] = sums


def _steps(channels: int, filters: int, taps: int, sizes: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Channels of a product, then groups, images, rows and columns of a block: such that neither windows nor
    filters nor results have more than ``most`` elements, if that is possible."""
    planes = max(1, min(channels, most // (taps * max(filters, FEWEST_WINDOWS))))
    groups, *others = sizes
    left = most // max(planes * taps, filters)
    steps: list[int] = []
    for n in (*reversed(others), min(groups, most // (planes * taps * filters))):
        steps.insert(0, max(1, min(n, left)))
        left //= steps[0]
    return planes, *steps


def _windows(images: Array, geometry: Window, rows: slice, columns: slice, work: np.dtype[Any]) -> Array:
    """Some ``rows`` and ``columns`` of windows of ``images`` (groups, C, N, H, W), as columns of matrices
    (groups, C * taps, windows)."""
    groups, c, n, *size = images.shape
    shape = rows.stop - rows.start, columns.stop - columns.start
    windows = cupy.zeros((groups, c, *geometry.kernel, n, *shape), work)
    for tap in np.ndindex(geometry.kernel):
        offsets = (
            a * d - before for a, d, (before, _) in zip(tap, geometry.dilation, geometry.padding, strict=True)
        )
        (to_rows, from_rows), (to_columns, from_columns) = (
            _met(windows_, offset, stride, length)
            for windows_, offset, stride, length in zip(
                (rows, columns), offsets, geometry.stride, size, strict=True
            )
        )
        windows[:, :, tap[0], tap[1], :, to_rows, to_columns] = images[..., from_rows, from_columns]
    return windows.reshape(groups, c * geometry.taps, -1)


def _met(windows: slice, offset: int, stride: int, n: int) -> tuple[slice, slice]:
    """Which of the ``windows`` along an axis have a tap inside n pixels, and those pixels: window i meets
    pixel i * stride + offset."""
    first = max(windows.start, -(offset // stride))
    last = max(first, min(windows.stop, (n - 1 - offset) // stride + 1))
    to = slice(first - windows.start, last - windows.start)
    start = first * stride + offset
    return to, slice(start, start + (last - first) * stride, stride)
