"""Binary convolution of narrow images with few channels: by pixels, with rows and columns in each other's
place, for their rows do not fill vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv._epilogue import Epilogue
from fastconv._geometry import turned
from fastconv._specs.xnor import BinaryConv
from fastconv.cpu.arrays import Array, deliver, result
from fastconv.cpu.exchange import exchange
from fastconv.cpu.xnor import pixels
from fastconv.cpu.xnor.problem import UNIT
from fastconv.packed import PackedFilters

COPYING = 2
"""How many times fewer vectors have to be enough: results are copied with rows and columns exchanged."""


def supports(spec: BinaryConv) -> bool:
    """Whether columns fill vectors and rows do not. A residual lies as the result does, which is not as sums
    then come."""
    height, width = spec.geometry.output
    fewer = COPYING * width * -(-height // UNIT) <= height * -(-width // UNIT)
    return fewer and "add" not in spec.outcome.steps and pixels.supports(spec)


class TurnedConv:
    """The plan of a binary convolution by columns of pixels."""

    def __init__(self, spec: BinaryConv) -> None:
        by_pixel = spec.target.channels_last and spec.target.rank > 2
        last = spec.dtype is None or (spec.source.channels_last and spec.source.rank > 2)
        self.rows_of_x = -3 if last else -2
        self.rows_of_first = -3 if by_pixel or not spec.outcome.numbers else -2
        self.conv = pixels.plan(
            spec._replace(
                geometry=turned(spec.geometry),
                shape=exchanged(spec.shape, -3 if by_pixel else -2),
                logical=exchanged(spec.logical, -3),
            )
        )

    def __call__(self, x: Array, filters: PackedFilters, epilogue: Epilogue, out: Array | None) -> Any:
        columns = x.swapaxes(self.rows_of_x, self.rows_of_x + 1)
        given = self.conv(columns, columns_first(filters), epilogue, None)
        first, *signs = given if isinstance(given, tuple) else (given,)
        rows = self.rows_of_first
        target = result(out, exchanged(first.shape, rows), first.dtype, x, filters.words)
        if rows == -2:
            exchange(first, target)
        else:
            target[...] = first.swapaxes(-3, -2)
        done = [deliver(target, out), *(np.array(words.swapaxes(-3, -2), order="C") for words in signs)]
        return done[0] if len(done) == 1 else tuple(done)


plan = TurnedConv


def columns_first(filters: PackedFilters) -> PackedFilters:
    """The filters with rows and columns exchanged, which they keep."""

    def make() -> PackedFilters:
        words = np.ascontiguousarray(filters.words.swapaxes(1, 2))
        return PackedFilters(words, filters.channels, filters.alpha)

    made: PackedFilters = filters.derived("columns first", make)
    return made


def exchanged(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """``shape`` with two neighbours in each other's place, of which ``axis`` is the first."""
    sizes = list(shape)
    sizes[axis], sizes[axis + 1] = sizes[axis + 1], sizes[axis]
    return tuple(sizes)
