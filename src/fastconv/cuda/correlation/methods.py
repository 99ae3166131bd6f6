"""correlate2d and convolve2d: by direct sums, by rows and columns, or by products of spectra."""

from __future__ import annotations

import cupy
import numpy as np

from fastconv._checks import working_dtype
from fastconv._shared.rank1 import Factors, required_factors
from fastconv._shared.spectra import filter_by_fft
from fastconv._specs.correlation import Filter, order
from fastconv.cuda.arrays import Array, deliver, result
from fastconv.cuda.correlation.tiles import filter_directly


def correlate(spec: Filter, image: Array, kernel: Array, out: Array | None) -> Array:
    """correlate2d and convolve2d. Method "auto" is "direct": to look for factors, the host would have to wait
    for the kernel."""
    image, kernel = cupy.asarray(image), cupy.asarray(kernel)
    target = result(out, spec.shape, spec.dtype, image, kernel)
    image = image.transpose(order(image.ndim, spec.image_axes))
    kernel = kernel.transpose(order(kernel.ndim, spec.kernel_axes))
    if spec.operation == "convolve2d":
        kernel = kernel[..., ::-1, ::-1]
    elif kernel.dtype.kind == "c":
        kernel = kernel.conj()
    planes = target.transpose(order(target.ndim, spec.axes))
    if target.size == 0 or kernel.size == 0:
        target[...] = 0
    elif planes.flags.c_contiguous:
        _fill(spec, image, kernel, planes)
    else:
        copied = cupy.empty(planes.shape, spec.dtype)
        _fill(spec, image, kernel, copied)
        planes[...] = copied
    return deliver(target, out)


def _fill(spec: Filter, image: Array, kernel: Array, results: Array) -> None:
    """``results`` of all methods, rows and columns last."""
    taps = cupy.ascontiguousarray(kernel, working_dtype(spec.dtype))
    if spec.method == "separable":
        _filter_twice(image, taps, spec, results)
    elif spec.method == "fft":
        sums = cupy.empty(results.shape, taps.dtype)
        filter_by_fft(cupy, cupy.fft, image, taps, spec, sums)
        results[...] = sums[..., ::-1, ::-1] if spec.mirrored else sums
    else:
        filter_directly(image, taps, spec, results)


def _filter_twice(image: Array, kernel: Array, spec: Filter, results: Array) -> None:
    """``results`` by rows, of all that columns will meet, then by columns; directly after all if some are in
    doubt. The host looks for the factors."""
    found = required_factors(kernel.get().reshape(-1, *kernel.shape[-2:]), spec)
    rows, columns = (
        cupy.asarray(x).reshape(*kernel.shape[:-2], *x.shape[1:]) for x in (found.rows, found.columns)
    )
    (height, width), (kh, _) = spec.size, kernel.shape[-2:]
    by_rows = spec._replace(size=(height + kh - 1, width), mirrored=False)
    between = cupy.empty(
        (*spec.batch, *by_rows.size), spec.dtype if spec.dtype.kind in "iu" else kernel.dtype
    )
    filter_directly(image, rows, by_rows, between)
    filter_directly(between, columns, spec._replace(before=(0, 0), boundary="fill"), results)
    if results.dtype.kind in "fc" and _in_doubt(found, image, spec, results).any():
        filter_directly(image, kernel, spec, results)


def _in_doubt(found: Factors, image: Array, spec: Filter, results: Array) -> Array:
    """Which ``results`` of two passes are not finite, or less than what is beyond doubt."""
    least = found.least(image, np.asarray(spec.fillvalue), np.float64)
    least = cupy.asarray(least.reshape(*spec.kernel[:-2], 1, 1, 2))
    size = cupy.maximum(cupy.abs(results.real), cupy.abs(results.imag))
    return ~cupy.isfinite(results) | ((size < least[..., 0]) & ((size > 0) | (least[..., 1] > 0)))
