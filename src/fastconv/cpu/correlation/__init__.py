"""Correlation and convolution on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from fastconv._specs.correlation import Filter, Layer
from fastconv.cpu.arrays import Array
from fastconv.cpu.correlation.blocks import Blocks
from fastconv.cpu.correlation.dense import Dense, multiplies
from fastconv.cpu.correlation.methods import Correlation

PLANNERS: dict[type, Callable[[Any], Callable[..., Array]]] = {
    Filter: Correlation,
    Layer: lambda spec: Dense(spec) if multiplies(spec) else Blocks(spec),
}


@lru_cache(maxsize=256, typed=True)
def plan(spec: Filter | Layer) -> Callable[..., Array]:
    """What computes ``spec``, called with arrays and ``out``."""
    return PLANNERS[type(spec)](spec)
