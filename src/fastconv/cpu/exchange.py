"""Rows and columns exchanged, where rows are a few numbers."""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numba
import numpy as np
from numba import carray

from fastconv.cpu.arrays import Array, readable
from fastconv.cpu.kernels import Job, kernel, record, share
from fastconv.cpu.simd import interleave, peek, poke
from fastconv.cpu.threads import SMALL, chunks_of

FEW_COLUMNS = 8
"""Columns up to which they are interleaved as vectors; rows of more are long enough for NumPy's loops."""

VECTOR_BYTES = 64
"""Bytes of a column that are taken at once."""

PIECE = 1024
"""Rows per task."""

EXCHANGE = record("columns target", "planes height width pieces")


def exchange(columns: Array, target: Array) -> None:
    """``target`` (..., H, W) = ``columns`` (..., W, H), with rows and columns in each other's place."""
    *planes, height, width = target.shape
    known = 1 < width <= FEW_COLUMNS and target.itemsize <= 8 and readable(columns) and readable(target)
    if not known or not target.size:
        target[...] = columns.swapaxes(-2, -1)
        return
    bits = f"u{target.itemsize}"
    plan(prod(planes), height, width, bits)(columns=columns.view(bits), target=target.view(bits))


@lru_cache(maxsize=256)
def plan(planes: int, height: int, width: int, bits: str) -> Job:
    """What exchanges rows and columns of so many planes, of unsigned integers ``bits``."""
    pieces = -(-height // PIECE)
    small = planes * height * width * np.dtype(bits).itemsize <= SMALL
    return Job(
        exchange_pieces, chunks_of(planes * pieces, serially=small), {"columns": bits, "target": bits},
        planes=planes, height=height, width=width, pieces=pieces,
    )  # fmt: skip


@kernel(EXCHANGE)
def exchange_pieces(p, chunk, worker):
    """target (P, H, W) = columns (P, W, H)."""
    size = p.height * p.width
    columns, target = carray(p.columns, p.planes * size), carray(p.target, p.planes * size)
    first, last = share(p, chunk, p.planes * p.pieces)
    for task in range(first, last):
        plane, piece = divmod(task, p.pieces)
        row, end = p.height * piece // p.pieces, p.height * (piece + 1) // p.pieces
        _exchange(columns, plane * size, p.height, (row, end), target, p.width)


@numba.njit(error_model="numpy")
def _exchange(columns, plane, height, rows, target, width):
    """Some rows of a plane of so many."""
    lanes = VECTOR_BYTES // columns.itemsize
    row, end = rows
    while row + lanes <= end:
        start, to = plane + row, plane + row * width
        if width == 2:
            interleave(columns, start, height, 2, target, to)
        elif width == 3:
            interleave(columns, start, height, 3, target, to)
        elif width == 4:
            interleave(columns, start, height, 4, target, to)
        elif width == 5:
            interleave(columns, start, height, 5, target, to)
        elif width == 6:
            interleave(columns, start, height, 6, target, to)
        elif width == 7:
            interleave(columns, start, height, 7, target, to)
        else:
            interleave(columns, start, height, 8, target, to)
        row += lanes
    for i in range(row, end):
        for j in range(width):
            poke(target, plane + i * width + j, peek(columns, plane + j * height + i))
