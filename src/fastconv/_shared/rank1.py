"""Kernels that are a column times a row, for two passes instead of one."""

from __future__ import annotations

from functools import lru_cache
from math import isfinite, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastconv._specs.correlation import Filter

Array = NDArray[Any]

TAP_ERROR = 2.0
"""How far outer(u, v) may be from each tap, in units of sqrt(T) eps: half of the 4 sqrt(T) eps that a
result may be off; the sums of the two passes need the rest."""

FAR_ERROR = 0.5
"""What all taps that are farther off may add to the error of a result, in the same units."""

LEAST = 2.0**-8
"""Taps may be farther off if that can matter in no result but those less than this, of the largest that there
can be. float32 needs 2**-90 for the taps of a Gaussian that are below its normal numbers, float16 2**-13."""

MOST_AT_ONCE = 2**15
"""Taps that are looked at together: a dozen arrays of as many doubles stay in the L2 cache."""

MOST_REMEMBERED = 2**22
"""Bytes of kernels whose factors are remembered."""


class Factors(NamedTuple):
    """``kernels`` (N, kh, kw) = ``columns`` (N, kh, 1) times ``rows`` (N, 1, kw), columns of at most 2 in
    magnitude: what two passes lose below the normal numbers then is what one loses, no more.

    ``doubt`` (N, 2): a result less than doubt[n, 0] times the largest pixel is to be summed directly, as taps
    that are farther off might matter in it; a result of 0 if doubt[n, 1] times that pixel is more than 0.
    """

    rows: Array
    columns: Array
    doubt: Array

    @np.errstate(all="ignore")
    def least(self, image: Any, fill: Any, dtype: Any) -> Array:
        """What results (N, 2) of an ``image``, surrounded by ``fill``, have to reach, or those of 0, to be
        beyond doubt; in ``dtype``."""
        least = self.doubt
        if least.any():
            low, high = _extent(image, fill)
            least = least * (sqrt(2) * max(-low, high))
            if low < 0:  # 0 may be a difference
                least[:, 1] = least[:, 0]
        return least.astype(dtype)


def _extent(image: Any, fill: Any) -> tuple[float, float]:
    """The lowest and highest number, if they are finite, of an image of NumPy's or CuPy's and around it."""
    ends = [0.0]
    for numbers in (
        (image.real, image.imag, fill.real, fill.imag) if image.dtype.kind == "c" else (image, fill)
    ):
        low, high = float(numbers.min()), float(numbers.max())
        if not isfinite(low) or not isfinite(high):
            finite = numbers[np.isfinite(numbers)]
            low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        ends += [low, high]
    return min(ends), max(ends)


def factors(kernels: Array, dtype: np.dtype[Any]) -> Factors | None:
    """Of ``kernels`` (N, kh, kw), whose dtype sums are kept in, for results in ``dtype``; None if one of them
    has none. Those of a few kernels looked at before are remembered, by all bytes of the kernels."""
    if len(kernels) > 1 and _found(kernels[:1], dtype) is None:  # in no time, of most banks
        return None
    if kernels.nbytes > MOST_REMEMBERED:
        return _of_all(kernels, dtype)
    return _remembered(kernels.tobytes(), kernels.shape, kernels.dtype, dtype)


def required_factors(kernels: Array, spec: Filter) -> Factors:
    """:func:`factors`, without which method "separable" cannot do."""
    found = factors(kernels, spec.dtype)
    if found is None:
        raise ValueError(f"{spec.operation}: method 'separable' needs in2 of rank 1, got a higher rank")
    return found


@lru_cache(maxsize=16)
def _remembered(
    memory: bytes, shape: tuple[int, ...], work: np.dtype[Any], dtype: np.dtype[Any]
) -> Factors | None:
    return _of_all(np.frombuffer(memory, work).reshape(shape), dtype)


def _of_all(kernels: Array, dtype: np.dtype[Any]) -> Factors | None:
    """Some kernels at once, ever more of them, until one has no factors."""
    parts, start, count = [], 0, 1
    most = max(1, MOST_AT_ONCE // (kernels.shape[1] * kernels.shape[2]))
    while start < len(kernels):
        found = _found(kernels[start : start + count], dtype)
        if found is None:
            return None
        parts.append(found)
        start, count = start + count, min(8 * count, most)
    return Factors(*map(np.concatenate, zip(*parts, strict=True)))


def _found(kernels: Array, dtype: np.dtype[Any]) -> Factors | None:
    return _integer_factors(kernels) if kernels.dtype.kind in "iu" else _float_factors(kernels, dtype)


@np.errstate(all="ignore")
def _float_factors(kernels: Array, dtype: np.dtype[Any]) -> Factors | None:
    """By row and column of the largest tap of each; all in double precision, of kernels scaled down to less
    than 2 by powers of two."""
    n, kh, kw = kernels.shape
    work, each = kernels.dtype, np.arange(n)
    exact = kernels.astype(np.complex128 if work.kind == "c" else np.float64)
    if not np.isfinite(exact).all():
        return None
    components = exact.view(np.float64).reshape(n, -1)
    power = np.maximum(np.frexp(np.abs(components).max(axis=1))[1] - 1, 0)[:, None, None]
    taps = exact * np.ldexp(1.0, -power)
    sizes = np.abs(taps)
    p, q = np.divmod(sizes.reshape(n, -1).argmax(axis=1), kw)
    pivots = taps[each, p, q]
    u = taps[each, :, q].astype(work)[:, :, None]
    v = (taps[each, p] / np.where(pivots == 0, 1, pivots)[:, None])[:, None] * np.ldexp(1.0, power)
    v = v.astype(work)
    products = u.astype(exact.dtype) * (v.astype(exact.dtype) * np.ldexp(1.0, -power))
    error = np.abs(products - taps)
    # what double precision itself loses below its normal numbers
    error += np.finfo(np.float64).smallest_subnormal * ((exact != 0) | ((u != 0) & (v != 0)))
    unit = sqrt(kh * kw) * np.finfo(dtype).eps
    far = error > TAP_ERROR * unit * sizes
    doubt = np.where(far, error, 0).sum(axis=(1, 2)) / (FAR_ERROR * unit)
    if not (doubt <= LEAST * sizes.sum(axis=(1, 2))).all():
        return None
    one_sign = (
        np.zeros(n, np.bool_) if work.kind == "c" else ((taps >= 0).all((1, 2)) | (taps <= 0).all((1, 2)))
    )
    # of a tap less than twice its product, little is lost where the product vanishes
    small = (sizes <= 2 * np.abs(products)).all((1, 2), where=far)
    of_zeros = np.where(one_sign & small, 0, doubt)
    return Factors(v, u, np.stack((doubt, of_zeros), axis=1) * np.ldexp(1.0, power[:, 0]))


@np.errstate(all="ignore")
def _integer_factors(kernels: Array) -> Factors | None:
    """By row and column of the first tap of each that is not 0. Sums of integers wrap around, and so may the
    products of factors."""
    n, _, kw = kernels.shape
    each = np.arange(n)
    p, q = np.divmod((kernels != 0).reshape(n, -1).argmax(axis=1), kw)
    divisor = np.gcd.reduce(kernels[each, p], axis=1)
    v = kernels[each, p] // np.where(divisor == 0, 1, divisor)[:, None]
    pivots = v[each, q]
    u = kernels[each, :, q] // np.where(pivots == 0, 1, pivots)[:, None]
    u, v = u[:, :, None], v[:, None]
    return Factors(v, u, np.zeros((n, 2))) if (u * v == kernels).all() else None
