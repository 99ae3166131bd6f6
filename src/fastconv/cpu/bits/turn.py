"""Bytes turned over: columns become rows, where what is read and what is written lie in different orders."""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastconv.cpu.simd import BLOCK, PIXELS, _i32, _i64, _load, _store, _turned, interleave, peek, poke
from fastconv.cpu.vectors import load_row, store_some

TILE = BLOCK * BLOCK
"""Bytes of a tile: up to 64 rows of up to 64 columns."""

PANELS = PIXELS * BLOCK
"""Bytes of what becomes of 16 columns of a tile."""

SPARE = PANELS + PIXELS
"""Bytes that scratch for a tile has beside it: for a panel, and for reading beyond the last row."""

FEW = 4
"""Rows up to which bytes are moved one by one: turning takes as long for one row as for 64."""


@numba.njit(error_model="numpy")
def turn_tile(scratch, pitch, rows, columns, out, at, step):
    """out[at + j * step + i] = scratch[i * pitch + j] for i < ``rows``, j < ``columns``, up to 64 of both.
    ``scratch`` has TILE + SPARE bytes."""
    if rows == step and columns == BLOCK and rows in (2, 3, 4):
        if rows == 2:
            interleave(scratch, 0, pitch, 2, out, at)
        elif rows == 3:
            interleave(scratch, 0, pitch, 3, out, at)
        else:
            interleave(scratch, 0, pitch, 4, out, at)
        return
    if rows <= FEW:
        for i in range(rows):
            for j in range(columns):
                poke(out, at + j * step + i, peek(scratch, i * pitch + j))
        return
    for first in range(0, columns, PIXELS):
        count = min(PIXELS, columns - first)
        if rows == BLOCK and count == PIXELS:
            turn_panel(scratch, first, pitch, out, at + first * step, step)
            continue
        turn_panel(scratch, first, pitch, scratch, TILE + PIXELS, BLOCK)
        for j in range(count):
            row = load_row(scratch, TILE + PIXELS + j * BLOCK)
            store_some(out, at + (first + j) * step, row, rows)


@intrinsic
def turn_panel(typing: Any, x: Any, start: Any, pitch: Any, out: Any, target: Any, step: Any) -> Any:
    """out[target + j * step + i] = x[start + i * pitch + j] for i < 64, j < 16, both uint8."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, begin, line, result, at, spacing = args

        def part(i: int) -> Any:
            where = builder.add(begin, builder.mul(line, _i64(i)))
            return _load(context, builder, x, source, where, PIXELS)

        rows = [_side_by_side(builder, [part(i + PIXELS * lane) for lane in range(4)]) for i in range(PIXELS)]
        for j, row in enumerate(_turned(builder, rows)):
            _store(context, builder, out, result, builder.add(at, builder.mul(spacing, _i64(j))), row)
        return context.get_dummy_value()

    index = types.intp
    return types.void(x, index, index, out, index, index), generate


def _side_by_side(builder: Any, vectors: list[Any]) -> Any:
    """One vector of several, whose number is a power of two."""
    while len(vectors) > 1:
        count = 2 * vectors[0].type.count
        mask = ir.Constant(ir.VectorType(_i32, count), [_i32(k) for k in range(count)])
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [builder.shuffle_vector(a, b, mask) for a, b in pairs]
    return vectors[0]
