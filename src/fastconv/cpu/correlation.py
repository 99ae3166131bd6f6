"""Correlation and convolution on NumPy arrays."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from fastconv._arguments import Filter, ImageLayout, Window
from fastconv.cpu._arrays import Array, as_nchw, batch_index, computable, deliver, native, result, stacked
from fastconv.cpu._methods import (
    factor,
    filter_by_fft,
    padded_index,
    real_planes,
    working_dtype,
)
from fastconv.cpu._threads import parallel_kernel, scratch, threads
from fastconv.cpu._vector import correlate_block
from fastconv.cpu.patches import carrier, gather_windows

VECTORS = 4
"""Vectors of 64 bytes per step along a row: their 8 sums and 5 operands fit 16 registers of 64 bytes."""

TILE_COLUMNS = 2048
"""Output columns per tile: a row of float32 takes 8 KiB, so that the rows of a small kernel stay in L1."""

TILE_BYTES = 512 * 1024
"""Bytes of padded image per tile: half of a usual L2 cache."""

SEPARABLE_GAIN = 2.0
"""Taps saved per tap done from which two passes beat one: the second pass reads a strip once more."""

BLOCK_BYTES = 2 * 1024 * 1024
"""Bytes of im2col per matrix product in conv2d: a block stays in the L2 cache."""


def correlate2d(image: Array, kernel: Array, plan: Filter, out: Array | None) -> Array:
    return _filter(image, kernel.conj(), plan, out)


def convolve2d(image: Array, kernel: Array, plan: Filter, out: Array | None) -> Array:
    return _filter(image, kernel[..., ::-1, ::-1], plan, out)


@np.errstate(over="ignore", invalid="ignore")
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
    inputs = [x, weight] if bias is None else [x, weight, bias]
    target = result(out, shape, dtype, *inputs)
    n, c, _, _ = layout.sizes(x.shape)
    o, cg = weight.shape[0] // groups, c // groups
    images = as_nchw(x, layout)
    flat = (
        (n, geometry.positions, groups * o) if layout.channels_last else (n, groups * o, geometry.positions)
    )
    results = target.reshape(flat)
    if not layout.channels_last:
        results = results.transpose(0, 2, 1)  # (N, L, O) either way
    work = np.dtype(np.float32) if dtype == np.float16 else dtype
    filters = weight.reshape(groups, o, cg * geometry.taps)
    for image, y in zip(images, results, strict=True):
        for g in range(groups):
            own = slice(g * o, (g + 1) * o)
            _multiply_windows(image[g * cg : (g + 1) * cg], geometry, filters[g], work, y[:, own])
    if bias is not None and target.size:
        results += bias.astype(dtype)
    return deliver(target, out)


def _multiply_windows(image: Array, geometry: Window, filters: Array, work: np.dtype[Any], y: Array) -> None:
    """y (L, O) = windows of ``image`` (C, H, W) times ``filters`` (O, C * taps), summed in ``work``,
    block by block."""
    depth = filters.shape[1]
    if not depth or not y.size:
        y[...] = 0
        return
    itemsize = max(work.itemsize, image.dtype.itemsize)
    taps, outputs = geometry.taps, len(filters)
    columns_at_least = 16 if filters.dtype == work else max(16, outputs)  # or a copy of filters grows
    planes = max(1, min(image.shape[0], BLOCK_BYTES // (columns_at_least * itemsize * taps)))
    length = max(1, min(len(y), BLOCK_BYTES // (itemsize * max(planes * taps, outputs))))
    bits = image.view(carrier(image))
    for first in range(0, len(y), length):
        block = y[first : first + length]
        sums: Array | None = None
        for plane in range(0, image.shape[0], planes):
            taken = slice(plane * geometry.taps, (plane + planes) * geometry.taps)
            columns = np.empty((filters[:, taken].shape[1], len(block)), bits.dtype)
            gather_windows(bits[plane : plane + planes], geometry, first, columns)
            windows = columns.view(image.dtype).astype(work, copy=False)
            part = windows.T @ filters[:, taken].astype(work, copy=False).T
            sums = part if sums is None else sums + part
        block[...] = sums


def _filter(image: Array, kernel: Array, plan: Filter, out: Array | None) -> Array:
    target = result(out, plan.shape, plan.dtype, image, kernel)
    if target.size == 0 or kernel.size == 0:
        target[...] = 0
        return deliver(target, out)
    work = working_dtype(plan.dtype)
    apart = plan.dtype == np.float16 or plan.method == "fft"  # which may refuse an image of a batch
    sums = np.empty(plan.shape, work) if apart else target
    kernel = kernel.astype(work)
    taps = stacked(kernel, 2)
    factors = _factors(taps, plan)
    if plan.method == "fft":
        filter_by_fft(image, kernel, plan, sums)
    elif factors is not None:
        _filter_directly(image, kernel.shape[:-2], *factors, plan, sums)
        if plan.method == "auto" and not _all_finite(sums):
            _filter_directly(image, kernel.shape[:-2], taps, None, plan, sums)
    else:
        _filter_directly(image, kernel.shape[:-2], taps, None, plan, sums)
    with np.errstate(over="ignore"):
        if plan.mirrored:
            target[...] = sums[..., ::-1, ::-1].copy()
        elif sums is not target:
            target[...] = sums
    return deliver(target, out)


def _factors(taps: Array, plan: Filter) -> tuple[Array, Array] | None:
    """Row and column kernels (K, 1, kw) and (K, kh, 1), if ``plan`` wants them and they exist."""
    kh, kw = taps.shape[1:]
    if plan.method == "auto" and kh * kw < SEPARABLE_GAIN * (kh + kw):
        return None
    if plan.method not in ("auto", "separable"):
        return None
    pairs = [factor(kernel, plan.dtype) for kernel in taps]
    found = [pair for pair in pairs if pair is not None]
    if len(found) == len(pairs):
        columns, rows = zip(*found, strict=True)
        return np.array(rows, taps.dtype)[:, None, :], np.array(columns, taps.dtype)[:, :, None]
    if plan.method == "separable":
        raise ValueError(f"{plan.operation}: method 'separable' needs in2 of rank 1, got a higher rank")
    return None


def _all_finite(x: Array) -> bool:
    if x.dtype.kind in "iu":
        return True
    with np.errstate(all="ignore"):
        return bool(np.isfinite(x.sum()))


def _filter_directly(
    image: Array,
    kernel_batch: tuple[int, ...],
    first: Array,
    second: Array | None,
    plan: Filter,
    sums: Array,
) -> None:
    """Correlate with ``first`` (K, kh, kw) and then, if given, with ``second`` (K, kh', 1)."""
    complexity = 2 if sums.dtype.kind == "c" else 1
    pixels = image.astype(sums.dtype) if complexity == 2 and image.dtype.kind != "c" else image
    pixels = stacked(real_planes(computable(pixels)), 3)
    height, width = plan.size
    kh = (first if second is None else second).shape[1]
    kw = first.shape[2]
    row_index, _ = padded_index(image.shape[-2], height + kh - 1, plan.before[0], plan.boundary)
    column_index, inner = padded_index(image.shape[-1], width + kw - 1, plan.before[1], plan.boundary)
    slack = VECTORS * 64 // first.real.dtype.itemsize
    columns = min(width, TILE_COLUMNS)
    pitch = (columns + kw - 1) * complexity + slack
    fitting = TILE_BYTES // (pitch * first.real.dtype.itemsize) - kh + 1
    down = -(-height // (max(fitting, kh, 8) * threads())) * threads()  # as many tiles for every thread
    rows = -(-height // down)
    scalar = first.real.dtype
    fill = np.array([plan.fillvalue]).astype(sums.dtype)
    _correlate(
        pixels,
        _component_planes(first),
        _component_planes(first[:0] if second is None else second),
        batch_index(image.shape[:-2], plan.batch),
        batch_index(kernel_batch, plan.batch),
        row_index,
        column_index,
        inner,
        real_planes(native(fill)).reshape(-1),
        rows,
        columns,
        pitch,
        *scratch(
            ((rows + kh - 1) * pitch, scalar),
            ((rows + kh - 1) * pitch if second is not None else 0, scalar),
            (complexity * pitch, scalar),
        ),
        stacked(real_planes(sums), 3),
    )


def _component_planes(kernels: Array) -> NDArray[Any]:
    """Kernels (K, kh, kw) as (K, 1, kh, kw), or (K, 2, kh, kw) for real and imaginary parts."""
    parts = [kernels.real, kernels.imag] if kernels.dtype.kind == "c" else [kernels]
    return native(np.stack(parts, axis=1))


@parallel_kernel
def _correlate(
    images, first, second, image_of, kernel_of, rows, columns, inner, fill,
    tile_rows, tile_columns, pitch, strips, passes, lines, out,
):  # fmt: skip
    """Tile by tile: pad a strip of the image into cache, then filter its rows.

    images (I, H, W, s) with s = 1, or 2 for real and imaginary parts; first (K, s, kh, kw), and
    second (K, s, kh', 1), empty for a single pass; image_of, kernel_of (B,); rows, columns: the
    source of each row and column of the padded image, -1 outside; inner: the range of columns copied
    as they are; fill (s,); out (B, Ho, Wo, s). strips, passes, lines are a worker's scratch.
    """
    batch, height, width, s = out.shape
    workers = strips.shape[0]
    kh = first.shape[2] if second.shape[0] == 0 else second.shape[2]
    kw = first.shape[3]
    down, across = -(-height // tile_rows), -(-width // tile_columns)
    tasks = batch * down * across
    for index in numba.prange(workers):
        worker = np.int64(index)
        strip, between = strips[worker], passes[worker]
        line = lines[worker, : s * pitch].reshape(s, pitch)
        for task in range(tasks * worker // workers, tasks * (worker + 1) // workers):
            b, tile = divmod(task, down * across)
            i, j = tile // across * tile_rows, tile % across * tile_columns
            m, n = min(tile_rows, height - i), min(tile_columns, width - j)
            kernel = kernel_of[b]
            image = images[image_of[b]]
            for r in range(m + kh - 1):
                _pad_row(image, rows[i + r], columns, inner, j, n + kw - 1, fill, strip, r * pitch)
            if second.shape[0] == 0:
                for r in range(m):
                    _filter_row(strip, r * pitch, pitch, first[kernel], line, out[b, i + r], j, n)
            else:
                flat = between[: between.size // s * s].reshape(-1, s)
                for r in range(m + kh - 1):
                    _filter_row(strip, r * pitch, pitch, first[kernel], line, flat, r * pitch // s, n)
                for r in range(m):
                    _filter_row(between, r * pitch, pitch, second[kernel], line, out[b, i + r], j, n)


@numba.njit
def _pad_row(image, row, columns, inner, j, n, fill, strip, at):
    """strip[at:] = n padded pixels of a row of ``image`` (H, W, s), from padded column j on."""
    s = image.shape[2]
    if row < 0:
        for k in range(n * s):
            strip[at + k] = fill[k % s]
        return
    source = image[row].reshape(-1)
    lo = min(max(inner[0] - j, 0), n)
    hi = max(min(inner[1] - j, n), lo)
    if hi > lo:
        start = columns[j + lo] * s
        # slices, so that LLVM sees plain indices that never wrap around, and vectorises
        _copy(source[start : start + (hi - lo) * s], strip[at + lo * s : at + hi * s])
    for part in ((0, lo), (hi, n)):
        for k in range(part[0], part[1]):
            column = columns[j + k]
            for c in range(s):
                strip[at + k * s + c] = fill[c] if column < 0 else source[column * s + c]


@numba.njit
def _copy(source, target):
    for k in range(source.size):
        target[k] = source[k]


@numba.njit
def _filter_row(source, start, pitch, kernel, line, target, at, n):
    """target[at : at + n] (pixels of s parts) = the row at ``start`` correlated with kernel (s, kh, kw)."""
    s = kernel.shape[0]
    for part in range(s):
        for k in range(0, n * s, VECTORS * 64 // source.itemsize):
            correlate_block(source, start + k, pitch, s, kernel[part], VECTORS, line[part], k)
    if s == 1:
        _copy(line[0, :n], target[at : at + n].reshape(-1))
    else:
        for k in range(n):
            target[at + k, 0] = line[0, 2 * k] - line[1, 2 * k + 1]
            target[at + k, 1] = line[0, 2 * k + 1] + line[1, 2 * k]
