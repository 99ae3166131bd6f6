"""Correlation and convolution on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from fastconv._specs.correlation import Filter, Layer
from fastconv.cpu.arrays import Array
from fastconv.cpu.correlation import blocks, channels, dense, filters, matrix, planes
from fastconv.cpu.correlation.methods import Correlation

LAYERS: tuple[Any, ...] = (planes, channels, matrix, dense, filters, blocks)
"""Ways to a layer, each with ``supports(spec)`` and ``plan(spec)``, in the order in which they are tried. A
plan says whether it ``takes(x)`` an image as it lies in memory; the last one takes any."""


class LayerPlan:
    """The plans of a layer, made when they are wanted: the first that takes an image computes."""

    def __init__(self, spec: Layer) -> None:
        self.spec = spec
        self.ways = [way for way in LAYERS if way.supports(spec)]
        self.plans = [self.ways[0].plan(spec)]

    def __call__(self, x: Array, weight: Array, bias: Array | None, out: Array | None) -> Array:
        for k, way in enumerate(self.ways):
            if k == len(self.plans):
                self.plans.append(way.plan(self.spec))
            if self.plans[k].takes(x):
                break
        computed: Array = self.plans[k](x, weight, bias, out)
        return computed


PLANNERS: dict[type, Callable[[Any], Callable[..., Array]]] = {
    Filter: Correlation,
    Layer: LayerPlan,
}


@lru_cache(maxsize=256, typed=True)
def plan(spec: Filter | Layer) -> Callable[..., Array]:
    """What computes ``spec``, called with arrays and ``out``."""
    return PLANNERS[type(spec)](spec)
