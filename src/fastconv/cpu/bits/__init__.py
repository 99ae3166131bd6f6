"""Bits on NumPy arrays: the plan of each spec."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from fastconv._specs.bits import (
    Compare,
    Hamming,
    PackBits,
    PackSigns,
    Popcount,
    PopcountSum,
    UnpackBits,
    memory_of,
)
from fastconv.cpu.arrays import Array
from fastconv.cpu.bits.count import plan_sum
from fastconv.cpu.bits.distances import plan_hamming
from fastconv.cpu.bits.each import plan_popcount
from fastconv.cpu.bits.nonzeros import plan_packbits, plan_unpackbits
from fastconv.cpu.bits.signs import plan_compare, plan_signs

PLANNERS: dict[type, Callable[[Any], Callable[..., Array]]] = {
    Popcount: plan_popcount,
    PopcountSum: plan_sum,
    PackBits: plan_packbits,
    UnpackBits: plan_unpackbits,
    PackSigns: plan_signs,
    Compare: plan_compare,
    Hamming: plan_hamming,
}


@lru_cache(maxsize=256, typed=True)
def plan(spec: Any) -> Callable[..., Array]:
    """What computes ``spec``; see :mod:`fastconv._specs.bits` for what to call it with."""
    return PLANNERS[type(spec)](spec)


def pack_signs(x: Array, axis: int, zero: int = 1) -> Array:
    """Words of the signs of ``x`` along ``axis``."""
    return plan(PackSigns(memory_of(x), axis, zero))(x)
