"""Correlation and convolution on NumPy arrays."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import scipy.fft

from fastconv._checks import working_dtype
from fastconv._geometry import Filter, ImageLayout, Window
from fastconv._shared.rank1 import factors, required_factors
from fastconv._shared.spectra import filter_by_fft
from fastconv.cpu._filter import filter_directly
from fastconv.cpu._float_layer import multiplies, multiply_windows
from fastconv.cpu._threads import threads
from fastconv.cpu.arrays import Array, deliver, result, stacked
from fastconv.cpu.patches import carrier, gather_windows

BLOCK_BYTES = 8 * 1024 * 1024
"""Bytes of im2col per matrix product, for what :func:`multiplies` refuses: the product, not the gathering,
wants large blocks. 256 x 56 x 56 by 256 filters of 3 x 3, one thread, with 0.5, 2, 8 and 16 MiB: 73, 66, 51
and 48 ms in float16, 175, 129, 123 and 120 in complex64."""


SECOND_PASS = 40
"""Products that a second pass over a strip costs as much as."""

FACTORING = 2**22
"""Products that the search for factors costs as much as."""


def correlate2d(image: Array, kernel: Array, plan: Filter, out: Array | None) -> Array:
    return _filter(image, kernel.conj() if kernel.dtype.kind == "c" else kernel, plan, out)


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
    images = layout.nchw(x)
    pixels, filters = geometry.positions, groups * o
    if target.size and multiplies(images, geometry, weight, dtype):
        steps = (pixels * filters, 1, filters) if layout.channels_last else (pixels * filters, pixels, 1)
        terms = np.zeros(filters, dtype) if bias is None else bias.astype(dtype)
        multiply_windows(images, geometry, groups, weight, terms, target.reshape(-1), steps)
        return deliver(target, out)
    if layout.channels_last:
        results = target.reshape(n, pixels, filters).transpose(0, 2, 1)
    else:
        results = target.reshape(n, filters, pixels)
    work = np.dtype(np.float32) if dtype == np.float16 else dtype
    matrices = weight.reshape(groups, o, cg * geometry.taps)
    for image, y in zip(images, results, strict=True):
        for g in range(groups):
            own = slice(g * o, (g + 1) * o)
            _multiply_blocks(image[g * cg : (g + 1) * cg], geometry, matrices[g], work, y[own])
            if bias is not None:
                y[own] += bias[own, None].astype(dtype)
    return deliver(target, out)


def _multiply_blocks(image: Array, geometry: Window, filters: Array, work: np.dtype[Any], y: Array) -> None:
    """y (O, L) = ``filters`` (O, C * taps) times windows of ``image`` (C, H, W), summed in ``work``,
    block by block."""
    depth = filters.shape[1]
    if not depth or not y.size:
        y[...] = 0
        return
    itemsize = max(work.itemsize, image.dtype.itemsize)
    taps, outputs = geometry.taps, len(filters)
    columns_at_least = 16 if filters.dtype == work else max(16, outputs)  # or a copy of filters grows
    planes = max(1, min(image.shape[0], BLOCK_BYTES // (columns_at_least * itemsize * taps)))
    length = max(1, min(y.shape[1], BLOCK_BYTES // (itemsize * max(planes * taps, outputs))))
    for first in range(0, y.shape[1], length):
        block = y[:, first : first + length]
        for plane in range(0, image.shape[0], planes):
            taken = slice(plane * taps, (plane + planes) * taps)
            part = filters[:, taken].astype(work, copy=False)
            windows = _windows(image[plane : plane + planes], geometry, first, block.shape[1])
            windows = windows.astype(work, copy=False)
            if plane == 0 and y.dtype == work:
                np.matmul(part, windows, out=block)
            elif plane == 0:
                block[...] = part @ windows
            else:
                block += part @ windows


def _windows(image: Array, geometry: Window, first: int, count: int) -> Array:
    """Windows first ... first + count of ``image`` (C, H, W) as columns (C * taps, count)."""
    bits = image.view(carrier(image))
    columns = np.empty((len(image) * geometry.taps, count), bits.dtype)
    gather_windows(bits, geometry, first, columns)
    return columns.view(image.dtype)


def _filter(image: Array, kernel: Array, plan: Filter, out: Array | None) -> Array:
    target = result(out, plan.shape, plan.dtype, image, kernel)
    if target.size == 0 or kernel.size == 0:
        target[...] = 0
        return deliver(target, out)
    work = working_dtype(plan.dtype)
    apart = plan.dtype == np.float16 or plan.method == "fft"  # which may refuse an image of a batch
    sums = np.empty(plan.shape, work) if apart else target
    if plan.method == "fft":
        filter_by_fft(np, scipy.fft, image, kernel.astype(work), plan, sums, workers=threads())
    else:
        filter_directly(image, kernel, _factors(kernel, plan, work), plan, work, sums)
    if plan.mirrored:
        sums = sums[..., ::-1, ::-1].copy()
    if sums is not target:
        with np.errstate(over="ignore"):
            target[...] = sums
    return deliver(target, out)


def _factors(kernel: Array, plan: Filter, work: np.dtype[Any]) -> tuple[Array, Array] | None:
    """Row and column kernels (K, 1, kw) and (K, kh, 1), if ``plan`` wants them and they exist."""
    if plan.method == "direct" or (
        plan.method == "auto" and not worth_factoring(prod(plan.shape), kernel.shape[-2:])
    ):
        return None
    kernels = stacked(kernel, 2).astype(work)
    return factors(kernels, plan.dtype) if plan.method == "auto" else required_factors(kernels, plan)


def worth_factoring(outputs: int, kernel: tuple[int, int]) -> bool:
    """Whether "auto" looks for factors of a kernel (kh, kw), for so many results.

    The whole cost model of "auto": a product costs the same in every pass, a second pass over the image as
    much as 40 products more, and the search as 4 million. FFT is no candidate, see
    docs/correlation.md.
    """
    kh, kw = kernel
    return outputs * (kh * kw - kh - kw - SECOND_PASS) >= FACTORING
