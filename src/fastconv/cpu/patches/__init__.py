"""Patches on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from fastconv._specs.patches import Col2im, Im2col
from fastconv.cpu.arrays import Array
from fastconv.cpu.patches.col2im import Scattering
from fastconv.cpu.patches.im2col import Gathering

PLANNERS: dict[type, Callable[[Any], Callable[..., Array]]] = {Im2col: Gathering, Col2im: Scattering}


@lru_cache(maxsize=256, typed=True)
def plan(spec: Im2col | Col2im) -> Callable[..., Array]:
    """What computes ``spec``, called with an array and ``out``."""
    return PLANNERS[type(spec)](spec)
