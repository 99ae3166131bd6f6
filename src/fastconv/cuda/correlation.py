"""Correlation and convolution on CuPy arrays."""

from __future__ import annotations

from itertools import product
from typing import Any

import cupy
import numpy as np

from fastconv._checks import working_dtype
from fastconv._geometry import Filter, ImageLayout, Window
from fastconv._shared.rank1 import required_factors
from fastconv._shared.spectra import filter_by_fft
from fastconv.cuda._filter import filter_directly
from fastconv.cuda.arrays import Array, deliver, result

BLOCK_BYTES = 12 * 1024 * 1024
"""Bytes of windows, of filters that had to be copied, and of products in conv2d, each: together, and with
what an allocator adds, less than the 64 MiB that it may take."""

FEWEST_WINDOWS = 16
"""Columns of a matrix product, at least, if a block holds so many: fewer would load filters for little."""


def correlate2d(image: Array, kernel: Array, plan: Filter, out: Array | None) -> Array:
    kernel = cupy.asarray(kernel)
    return _filter(image, kernel.conj() if kernel.dtype.kind == "c" else kernel, plan, out)


def convolve2d(image: Array, kernel: Array, plan: Filter, out: Array | None) -> Array:
    return _filter(image, cupy.asarray(kernel)[..., ::-1, ::-1], plan, out)


def _filter(image: Array, kernel: Array, plan: Filter, out: Array | None) -> Array:
    """Method "auto" is "direct": to look for factors, the host would have to wait for the kernel."""
    image = cupy.asarray(image)
    target = result(out, plan.shape, plan.dtype, image, kernel)
    if target.size == 0 or kernel.size == 0:
        target[...] = 0
        return deliver(target, out)
    taps = cupy.ascontiguousarray(kernel, working_dtype(plan.dtype))
    if plan.method == "separable":
        _filter_twice(image, taps, plan, target)
    elif plan.method == "fft":
        sums = cupy.empty(plan.shape, taps.dtype)
        filter_by_fft(cupy, cupy.fft, image, taps, plan, sums)
        target[...] = sums[..., ::-1, ::-1] if plan.mirrored else sums
    else:
        filter_directly(image, taps, plan, target)
    return deliver(target, out)


def _filter_twice(image: Array, kernel: Array, plan: Filter, results: Array) -> None:
    """``results`` by rows, of all that columns will meet, then by columns. The host looks for the factors."""
    rows, columns = map(cupy.asarray, required_factors(kernel.get(), plan))
    (height, width), (kh, _) = plan.size, kernel.shape[-2:]
    by_rows = plan._replace(size=(height + kh - 1, width), mirrored=False)
    between = cupy.empty(by_rows.shape, plan.dtype if plan.dtype.kind in "iu" else kernel.dtype)
    filter_directly(image, rows, by_rows, between)
    filter_directly(between, columns, plan._replace(before=(0, 0), boundary="fill"), results)


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None,
    geometry: Window,
    groups: int,
    layout: ImageLayout,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    out: Array | None,
) -> Array:
    x, weight = cupy.asarray(x), cupy.asarray(weight)
    target = result(out, shape, dtype, x, weight, *(() if bias is None else (bias,)))
    if not target.size:
        return deliver(target, out)
    n, o, c = layout.sizes(x.shape)[0], weight.shape[0] // groups, weight.shape[1]
    # groups, channels, images: so the windows of a group, in all images, are the columns of one matrix
    images = layout.nchw(x).reshape(n, groups, c, *geometry.size).transpose(1, 2, 0, 3, 4)
    results = layout.nchw(target).reshape(n, groups, o, *geometry.output).transpose(1, 2, 0, 3, 4)
    filters = weight.reshape(groups, o, c * geometry.taps)
    if c:
        _multiply_blocks(images, filters, geometry, results)
    else:
        results[...] = 0
    if bias is not None:
        results += cupy.asarray(bias).astype(dtype).reshape(groups, o, 1, 1, 1)
    return deliver(target, out)


def _multiply_blocks(images: Array, filters: Array, geometry: Window, results: Array) -> None:
    """``results`` (groups, O, N, Ho, Wo) = ``filters`` (groups, O, C * taps) times the windows of ``images``
    (groups, C, N, H, W), block by block."""
    work = working_dtype(results.dtype)
    c, sizes = images.shape[1], (results.shape[0], *results.shape[2:])
    planes, *steps = _steps(c, filters.shape[1], geometry.taps, sizes, BLOCK_BYTES // work.itemsize)
    for corner in product(*(range(0, n, step) for n, step in zip(sizes, steps, strict=True))):
        g, n, i, j = (slice(a, min(a + d, n)) for a, d, n in zip(corner, steps, sizes, strict=True))
        block = results[g, :, n, i, j]
        for first in range(0, c, planes):
            own = slice(first, min(first + planes, c))
            taken = slice(own.start * geometry.taps, own.stop * geometry.taps)
            part = filters[g, :, taken].astype(work, copy=False)
            terms = cupy.matmul(part, _windows(images[g, own, n], geometry, i, j, work)).reshape(block.shape)
            if first:
                terms += block
            block[...] = terms


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
