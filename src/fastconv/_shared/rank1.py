"""Kernels that are a column times a row, for two passes instead of one."""

from __future__ import annotations

from math import gcd, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv._specs.correlation import Filter

Array = NDArray[Any]

SEPARABLE_ERROR = 2.0
"""How far outer(u, v) may be from each tap, in units of sqrt(T) eps: half of the 4 sqrt(T) eps that a
result may be off; the sums of the two passes need the rest."""


def factors(kernels: Array, dtype: np.dtype[Any]) -> tuple[Array, Array] | None:
    """Rows (..., 1, kw) and columns (..., kh, 1) of ``kernels`` (..., kh, kw), whose dtype sums are kept in,
    if there are any for results in ``dtype``."""
    *batch, kh, kw = kernels.shape
    pairs = [factor(taps, dtype) for taps in kernels.reshape(-1, kh, kw)]
    found = [pair for pair in pairs if pair is not None]
    if len(found) == len(pairs):
        columns, rows = zip(*found, strict=True)
        work = kernels.dtype
        return np.array(rows, work).reshape(*batch, 1, kw), np.array(columns, work).reshape(*batch, kh, 1)
    return None


def required_factors(kernels: Array, spec: Filter) -> tuple[Array, Array]:
    """:func:`factors`, without which method "separable" cannot do."""
    found = factors(kernels, spec.dtype)
    if found is None:
        raise ValueError(f"{spec.operation}: method 'separable' needs in2 of rank 1, got a higher rank")
    return found


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
