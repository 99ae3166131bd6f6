"""What is the same array expression on every backend; ``xp`` is the namespace: NumPy or CuPy."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from fastconv._checks import float_result

Array = Any


def compared(x: Array, axis: int, tau: Array, flip: Array) -> Array:
    """(x >= tau) xor flip, tau and flip (n,) along ``axis``; False for NaN."""
    along = [-1 if d == axis else 1 for d in range(x.ndim)]
    return ((x >= tau.reshape(along)) != flip.reshape(along)) & (x == x)


def mean_magnitude(xp: ModuleType, weight: Array) -> Array:
    """mean(abs) of each filter (0 without weights), summed in float64; bool counts as signs."""
    terms = prod(weight.shape[1:])
    if weight.dtype == np.bool_ or terms == 0:
        return xp.full(weight.shape[0], float(terms > 0), np.float32)
    magnitudes = xp.abs(weight, dtype=np.float64)
    return (magnitudes.sum(axis=tuple(range(1, weight.ndim))) / terms).astype(np.float32)


def binarize_residual(
    xp: ModuleType, pack_signs: Callable[..., Array], x: Array, terms: int, axis: int | None
) -> list[tuple[Array, Array]]:
    """Scales and words: see :func:`fastconv.binarize_residual`."""
    rest = x.astype(float_result(x.dtype))
    if x.dtype == np.bool_:
        rest = rest * 2 - 1
    others = None if axis is None else tuple(d for d in range(x.ndim) if d != axis)
    found = []
    for _ in range(terms):
        mean = (
            xp.abs(rest).mean(axis=others, dtype=np.float64, keepdims=True)
            if rest.size
            else xp.zeros([n if d == axis else 1 for d, n in enumerate(x.shape)])
        )
        scale = mean.astype(rest.dtype)
        words = pack_signs(rest, x.ndim - 1)
        found.append((scale.reshape(() if axis is None else -1).copy(), words))
        # by the bits, as words go by them: a GPU's arithmetic may take small numbers for 0
        keys = rest.view(f"i{rest.itemsize}")
        negative = (keys < 0) & (keys != np.iinfo(keys.dtype).min)
        rest = rest - xp.where(negative, -scale, scale)
    return found
