"""Correlation and convolution on CuPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

from fastconv._specs.correlation import Filter, Layer
from fastconv.cuda.arrays import Array
from fastconv.cuda.correlation.blocks import conv2d
from fastconv.cuda.correlation.methods import correlate

PLANNERS: dict[type, Callable[..., Array]] = {Filter: correlate, Layer: conv2d}


@lru_cache(maxsize=256, typed=True)
def plan(spec: Filter | Layer) -> Callable[..., Array]:
    """What computes ``spec``, called with arrays and ``out``."""
    return partial(PLANNERS[type(spec)], spec)
