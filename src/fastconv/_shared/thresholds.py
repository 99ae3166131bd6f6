"""Which numbers pass a threshold, said in integers that kernels compare bits with."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, floor, inf
from typing import Any

import numpy as np
from numpy.typing import NDArray


def accepted_keys(dtype: np.dtype[Any], threshold: Any, strict: bool) -> tuple[int, int] | None:
    """Least and greatest key of the values of ``dtype`` that NumPy finds >= threshold (> if strict). The
    greatest is that of the greatest value; if the least exceeds it, there are none. None for arrays of
    thresholds.

    An integer, or a bool's byte, is its own key. Keys of floats are in the order of the floats: the key of
    one whose sign bit is 0 is its bits, that of its negative is minus that.
    """
    plain = type(threshold) in (int, float)
    return (_remembered if plain else _accepted)(dtype, threshold, strict)


def _accepted(dtype: np.dtype[Any], threshold: Any, strict: bool) -> tuple[int, int] | None:
    if np.ndim(threshold) > 0:
        return None
    if dtype == np.bool_:
        minus, plus = (np.greater if strict else np.greater_equal)(np.array([-1, 1], np.int8), threshold)
        return 0 if minus else 1, 255 if plus else 0
    if dtype.kind == "f":
        return int(least_keys(dtype, threshold, strict)), infinity_key(dtype)
    number = threshold.item() if isinstance(threshold, (np.ndarray, np.generic)) else threshold
    limits = np.iinfo(dtype)
    if isinstance(number, float):
        if abs(number) == inf:
            number = limits.max + 1 if number > 0 else limits.min - 1
        elif dtype.itemsize == 8 and abs(number) >= 2**53:
            return _least_rounded(number, strict, limits), limits.max
        else:
            number = floor(number) if strict else ceil(number)
    return max(number + strict, limits.min), limits.max


def _least_rounded(threshold: float, strict: bool, limits: Any) -> int:
    """The least integer that passes once it is rounded to float64, as NumPy rounds integers of 64 bits to
    compare them with floats; one more than the greatest if none does."""
    low, high = limits.min, limits.max + 1
    while low < high:
        middle = (low + high) // 2
        if float(middle) > threshold or (float(middle) == threshold and not strict):
            high = middle
        else:
            low = middle + 1
    return int(low)


def least_keys(dtype: np.dtype[Any], thresholds: Any, strict: bool) -> NDArray[np.int64]:
    """Of each threshold, the least key of a float of ``dtype`` that passes it."""
    exact = np.asarray(thresholds, np.result_type(dtype, thresholds))
    nearest = exact.astype(dtype)
    nearest = np.where(nearest < exact, np.nextafter(nearest, dtype.type(inf)), nearest)
    bits = nearest.view(f"i{dtype.itemsize}").astype(np.int64)
    keys = np.where(bits >= 0, bits, -(2 ** (8 * dtype.itemsize - 1)) - bits)
    passed: NDArray[np.int64] = keys + (strict & (nearest == exact))
    return passed


def infinity_key(dtype: np.dtype[Any]) -> int:
    return int(np.array(inf, dtype).view(f"i{dtype.itemsize}"))


_remembered = lru_cache(maxsize=256, typed=True)(_accepted)


def on_integers(tau: Any, flip: Any) -> tuple[Any, Any]:
    """``tau`` in int32, and ``flip``, for int32 numbers: an integer reaches a number if it reaches the next
    integer. What none reaches, NaN among it, is what all reach, turned over."""
    lowest, highest = -(2**31), 2**31 - 1
    next_integer = np.ceil(tau.astype(np.float64))
    within = next_integer <= highest
    least = np.fmax(np.fmin(next_integer, highest), lowest)
    least = least * within + lowest * ~within  # of CuPy's arrays, too, which numpy.where does not take
    return least.astype(np.int32), flip ^ ~within
