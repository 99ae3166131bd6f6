"""Which numbers pass a threshold, said in integers that kernels compare bits with."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, floor, inf
from typing import Any

import numpy as np
from numpy.typing import NDArray


def accepted_keys(dtype: np.dtype[Any], threshold: Any, strict: bool) -> tuple[int, int] | None:
    """Least and greatest key of the values of ``dtype`` that NumPy finds >= threshold (> if strict). The
    greatest is that of the greatest value; if the least exceeds it, there are none. None if there is no such
    range of keys, as for arrays of thresholds.

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
        elif dtype.itemsize == 8 and abs(number) >= 2**53:  # where NumPy's comparison rounds
            return None
        else:
            number = floor(number) if strict else ceil(number)
    return max(number + strict, limits.min), limits.max


def least_keys(dtype: np.dtype[Any], thresholds: Any, strict: bool) -> NDArray[np.int64]:
    """Of each threshold, the least key of a float of ``dtype`` that passes it."""
    exact = np.asarray(thresholds, np.result_type(dtype, thresholds))
    with np.errstate(over="ignore"):
        nearest = exact.astype(dtype)
        nearest = np.where(nearest < exact, np.nextafter(nearest, dtype.type(inf)), nearest)
    bits = nearest.view(f"i{dtype.itemsize}").astype(np.int64)
    keys = np.where(bits >= 0, bits, -(2 ** (8 * dtype.itemsize - 1)) - bits)
    passed: NDArray[np.int64] = keys + (strict & (nearest == exact))
    return passed


def infinity_key(dtype: np.dtype[Any]) -> int:
    return int(np.array(inf, dtype).view(f"i{dtype.itemsize}"))


_remembered = lru_cache(maxsize=256, typed=True)(_accepted)
