"""Arrays as lines of neighbours: memory is walked in its own order, whatever the axes are called."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import carray

from fastconv._specs.bits import Memory, Shape
from fastconv.cpu.arrays import Array, blocks, native

COPIED = 1 << 17
"""Elements copied at a time from arrays that kernels cannot read: a block stays in L2 until it is used."""

Index = tuple[slice, ...]


class Axis(NamedTuple):
    """``length`` elements, ``step`` elements apart in what is read, ``place`` in what is written."""

    length: int
    step: int
    place: int

    def reversed(self) -> Axis:
        return Axis(self.length, -self.step, -self.place)


class Walk(NamedTuple):
    """The ``axes`` of an array in the order of its memory, from slow to fast, as few as will do.

    What is read are ``size`` elements from the ``lowest`` on, an index; the first is at ``origin``.
    """

    axes: list[Axis]
    lowest: Index
    size: int
    origin: int

    @property
    def flipped(self) -> bool:
        return any(part.step == -1 for part in self.lowest)


def steps_of(memory: Memory) -> Shape:
    """Strides in elements."""
    return tuple(stride // memory.dtype.itemsize for stride in memory.strides)


def walkable(memory: Memory) -> bool:
    """Whether kernels can read arrays with such memory where they are."""
    size = memory.dtype.itemsize
    whole = memory.aligned and not any(stride % size for stride in memory.strides)
    return whole and memory.dtype.isnative


def walk(memory: Memory, places: Shape, apart: int | None = None) -> Walk:
    """How to walk over arrays with such memory, whose elements are written to ``places``; all axes but the
    one that is ``apart``."""
    steps, lengths = steps_of(memory), memory.shape
    given = [Axis(*axis) for d, axis in enumerate(zip(lengths, steps, places, strict=True)) if d != apart]
    lowest = tuple(slice(None, None, -1 if step < 0 else 1) for step in steps)
    reach = [(n - 1) * step for n, step in zip(lengths, steps, strict=True)]
    return Walk(_merged(given), lowest, sum(map(abs, reach)) + 1, -sum(r for r in reach if r < 0))


def _merged(axes: list[Axis]) -> list[Axis]:
    found: list[Axis] = []
    for axis in sorted(axes, key=lambda axis: -abs(axis.step)):
        n, step, place = axis
        if n == 1:
            continue
        if found and found[-1][1:] == (n * step, n * place):
            axis = Axis(found.pop().length * n, step, place)
        found.append(axis)
    return found


def table(axes: list[Axis]) -> dict[str, Any]:
    """The fields that :func:`line_start` reads, of the axes over lines."""
    return {"outer": np.array(axes, np.int64).reshape(-1, 3), "dimensions": len(axes)}


def lines_of(axes: list[Axis]) -> int:
    """How many lines there are with such axes over them."""
    return prod(axis.length for axis in axes)


@numba.njit(error_model="numpy")
def line_start(p, line):
    """Where a line begins, in what is read and in what is written, from the first element of both."""
    outer = carray(p.outer, (p.dimensions, 3))
    at, place, rest = np.int64(0), np.int64(0), line
    for d in range(p.dimensions - 1, -1, -1):
        rest, k = divmod(rest, outer[d, 0])
        at += k * outer[d, 1]
        place += k * outer[d, 2]
    return at, place


def varied(memory: Memory) -> tuple[Memory, Index] | None:
    """The memory of arrays without the repeats in them, and where those are; None if nothing is repeated."""
    repeats = [stride == 0 and n > 1 for n, stride in zip(memory.shape, memory.strides, strict=True)]
    if not any(repeats):
        return None
    shape = tuple(1 if again else n for again, n in zip(repeats, memory.shape, strict=True))
    return memory._replace(shape=shape), tuple(slice(0, 1) if again else slice(None) for again in repeats)


def memory_order(memory: Memory) -> list[int]:
    """The axes from slow to fast; those along which an array repeats itself stay where they are."""
    own = [d for d, stride in enumerate(memory.strides) if stride]
    slow_first = iter(sorted(own, key=lambda d: -abs(memory.strides[d])))
    return [next(slow_first) if stride else d for d, stride in enumerate(memory.strides)]


def turned_blocks(x: Array, order: list[int], axis: int | None = None) -> Iterator[tuple[Index, Array]]:
    """Native copies of parts of ``x``, each a run of memory, with the axes in ``order``; and their indices in
    ``x`` with its axes in that order. Parts are cut by multiples of 64 along ``axis`` of that."""
    turned = x.transpose(order)
    for index in blocks(turned.shape, COPIED, axis):
        yield index, native(np.asarray(turned[index]))
