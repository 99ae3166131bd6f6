"""Correlation and convolution on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from fastconv._specs.correlation import Filter, Layer
from fastconv.cpu.arrays import Array
from fastconv.cpu.correlation import blocks, channels, dense, matrix, planes
from fastconv.cpu.correlation.methods import Correlation

LAYERS: tuple[Any, ...] = (planes, channels, matrix, dense, blocks)
"""Ways to a layer, each with ``supports(spec)`` and ``plan(spec)``; the first that supports it is taken."""


def plan_layer(spec: Layer) -> Any:
    return next(way.plan(spec) for way in LAYERS if way.supports(spec))


PLANNERS: dict[type, Callable[[Any], Callable[..., Array]]] = {
    Filter: Correlation,
    Layer: plan_layer,
}


@lru_cache(maxsize=256, typed=True)
def plan(spec: Filter | Layer) -> Callable[..., Array]:
    """What computes ``spec``, called with arrays and ``out``."""
    return PLANNERS[type(spec)](spec)
