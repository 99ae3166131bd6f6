"""What correlation needs to know of a kernel and a boundary before it starts."""

from __future__ import annotations

from math import gcd, sqrt
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from fastconv._arguments import Filter
from fastconv.cpu._arrays import Array, batch_index, stacked
from fastconv.cpu._threads import threads

SEPARABLE_ERROR = 2.0
"""How far outer(u, v) may be from each tap, in units of sqrt(T) eps: half of the 4 sqrt(T) eps that a
result may be off; the sums of the two passes need the rest."""

SECOND_PASS = 40
"""Products that a second pass over a strip costs as much as."""

FACTORING = 2**22
"""Products that the search for factors costs as much as."""

FFT_ERROR = 8.0
"""Bound on the error of an FFT product in units of eps * log2(size) * |x| * |w|, generously."""


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type sums are kept in. Integers wrap around, so a signed type of enough bits serves all."""
    if dtype.kind in "iu":
        return np.dtype(np.int64 if dtype.itemsize == 8 else np.int32)
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def padded_index(n: int, length: int, before: int, boundary: str) -> NDArray[np.int64]:
    """The source of each of ``length`` padded positions, -1 for the fill value."""
    position = np.arange(length, dtype=np.int64) - before
    if n == 0 or boundary == "fill":
        return np.where((position >= 0) & (position < n), position, -1)
    if boundary == "wrap":
        return position % n
    folded = position % (2 * n)
    return np.where(folded < n, folded, 2 * n - 1 - folded)


def worth_factoring(outputs: int, kernel: tuple[int, int]) -> bool:
    """Whether "auto" looks for factors of a kernel (kh, kw), for so many results.

    The whole cost model of "auto": a product costs the same in every pass, a second pass over the image as
    much as 40 products more, and the search as 4 million. FFT is no candidate, see
    docs/correlation.md.
    """
    kh, kw = kernel
    return outputs * (kh * kw - kh - kw - SECOND_PASS) >= FACTORING


def factor(kernel: Array, dtype: np.dtype[Any]) -> tuple[Array, Array] | None:
    """A column u and a row v with kernel = outer(u, v), each tap to the rounding of a result in ``dtype``,
    if there are any."""
    if kernel.dtype.kind in "iu":
        return _factor_integers(kernel)
    sizes = np.abs(kernel)
    p, q = divmod(int(sizes.argmax()), kernel.shape[1])
    pivot = kernel[p, q]
    if pivot == 0:
        return kernel[:, q], kernel[p]
    wide = np.complex128 if kernel.dtype.kind == "c" else np.float64
    with np.errstate(all="ignore"):
        u, v = kernel[:, q], kernel[p] / pivot
        error = np.abs(np.multiply.outer(u, v, dtype=wide) - kernel)
        close = error <= SEPARABLE_ERROR * sqrt(kernel.size) * np.finfo(dtype).eps * sizes
    return (u, v) if close.all() else None


def _factor_integers(kernel: Array) -> tuple[Array, Array] | None:
    rows, columns = np.nonzero(kernel)
    if not rows.size:
        return kernel[:, 0], kernel[0]
    exact = kernel.astype(object)
    p, q = rows[0], columns[0]
    v = exact[p] // gcd(*exact[p])
    u = exact[:, q] // v[q]
    if (np.outer(u, v) != exact).any():
        return None
    modulus = 2 ** (8 * kernel.itemsize)  # of the lowest number, gcd and factors may be one too large
    column, row = (np.array(f % modulus, f"u{kernel.itemsize}").view(kernel.dtype) for f in (u, v))
    return column, row


def filter_by_fft(image: Array, kernel: Array, plan: Filter, sums: Array) -> None:
    """``sums`` = the correlation by products of spectra in double precision.

    Integers come out exact, or the sizes that make that impossible are refused.
    """
    kh, kw = kernel.shape[-2:]
    height, width = plan.size
    rows = padded_index(image.shape[-2], height + kh - 1, plan.before[0], plan.boundary)
    columns = padded_index(image.shape[-1], width + kw - 1, plan.before[1], plan.boundary)
    images = stacked(image, 2)
    kernels = stacked(kernel, 2)
    wide = np.complex128 if sums.dtype.kind == "c" else np.float64
    size = [scipy.fft.next_fast_len(n, wide is np.float64) for n in (rows.size, columns.size)]
    forward, backward = (
        (scipy.fft.fft2, scipy.fft.ifft2) if wide is np.complex128 else (scipy.fft.rfft2, scipy.fft.irfft2)
    )
    workers = {"workers": threads()}
    targets = stacked(sums, 2)
    pairs = zip(
        batch_index(image.shape[:-2], plan.batch), batch_index(kernel.shape[:-2], plan.batch), strict=True
    )
    for target, (i, k) in zip(targets, pairs, strict=True):
        padded = np.full((rows.size, columns.size), plan.fillvalue, wide)
        inside = np.ix_(rows >= 0, columns >= 0)
        if images.size:
            padded[inside] = images[i][np.ix_(rows[rows >= 0], columns[columns >= 0])]
        taps = kernels[k].astype(wide)
        if sums.dtype.kind in "iu":
            _require_exact(plan.operation, padded, taps, size)
        with np.errstate(all="ignore"):
            spectrum = forward(padded, size, **workers) * forward(taps.conj(), size, **workers).conj()
            values = backward(spectrum, size, **workers)[:height, :width]
        if sums.dtype.kind in "iu":
            values = np.rint(values).astype(np.int64)
        with np.errstate(over="ignore"):
            target[...] = values


def _require_exact(operation: str, padded: Array, taps: Array, size: list[int]) -> None:
    scale = np.linalg.norm(padded) * np.linalg.norm(taps)
    error = FFT_ERROR * np.finfo(np.float64).eps * np.log2(max(size[0] * size[1], 2)) * scale
    if error >= 0.25:
        raise ValueError(
            f"{operation}: method 'fft' cannot give exact integers for values this large; "
            "use method='direct', or convert to float"
        )
