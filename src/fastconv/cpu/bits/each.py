"""Counting the bits of each element."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

import numba
import numpy as np
from numba import carray

from fastconv._specs.bits import Memory, Popcount, Shape, memory_of
from fastconv.cpu.arrays import Array, contiguous_steps, deliver, result
from fastconv.cpu.bits.lines import (
    Axis,
    line_start,
    lines_of,
    memory_order,
    table,
    turned_blocks,
    varied,
    walk,
    walkable,
)
from fastconv.cpu.bits.turn import SPARE, TILE, turn_tile
from fastconv.cpu.bits.vectors import AHEAD, popcount64, popcount_block
from fastconv.cpu.kernels import Job, kernel, own, record, share
from fastconv.cpu.simd import BLOCK, peek, poke
from fastconv.cpu.threads import SMALL, chunks_of

CHUNK = 4096
"""Elements that are worth a chunk: long enough to hide the loop, short enough to share."""

NEXT = 128
"""Elements by which a row of a tile is asked for early, two tiles ahead: with half of that, turning 12 MB
takes twice as long."""

Counting = Callable[[Array, Array], None]
"""Writes the counts of (x, counts)."""


def plan_popcount(spec: Popcount) -> Callable[..., Array]:
    shape = spec.memory.shape
    count = _counting(spec.memory, contiguous_steps(shape)) if prod(shape) else None

    def run(x: Array, out: Array | None = None) -> Array:
        target = result(out, shape, np.uint8, x)
        if count is not None:
            count(x, target)
        return deliver(target, out)

    return run


def _counting(memory: Memory, places: Shape) -> Counting:
    """Of arrays with such memory; their counts are written to ``places``."""
    different = varied(memory)
    if different is not None:
        count, once = _counting(different[0], places), different[1]

        def and_repeat(x: Array, counts: Array) -> None:
            count(x[once], counts[once])
            counts[...] = counts[once]

        return and_repeat
    order_matters = memory.dtype.kind == "i"  # of bytes: the bits of the others are as many in any order
    readable = memory if order_matters else memory._replace(dtype=memory.dtype.newbyteorder("="))
    return _counting_lines(readable, places) if walkable(readable) else _counting_copies(memory, places)


def _counting_copies(memory: Memory, places: Shape) -> Counting:
    """Of what kernels cannot read."""
    order = memory_order(memory)
    turned = tuple(places[d] for d in order)
    count_of = cache(_counting_lines)  # for each shape of a block

    def run(x: Array, counts: Array) -> None:
        target = counts.transpose(order)
        for index, block in turned_blocks(x, order):
            count_of(memory_of(block), turned)(block, target[index])

    return run


def _counting_lines(memory: Memory, places: Shape) -> Counting:
    """Of what kernels read where it is."""
    way = walk(memory, places)
    *outer, line = way.axes or [Axis(1, 1, 1)]
    origin = way.origin
    across = [axis for axis in outer if axis.place == 1]
    first = 0
    if across:
        outer.remove(across[0])
        if line.step < 0:  # counts of a tile lie in the order of what is read
            origin, first = origin + (line.length - 1) * line.step, (line.length - 1) * line.place
            line = line.reversed()
    count, tile, numbers = (count_turned, {"tile": TILE + SPARE}, _crossing(across[0])) if across else (
        count_lines, {}, {}
    )  # fmt: skip
    elements = prod(memory.shape)
    chunks = chunks_of(-(-elements // CHUNK), serially=elements * memory.dtype.itemsize <= SMALL)
    job = Job(
        count, chunks, {"x": counted(memory.dtype)}, tile, lines=lines_of(outer), length=line.length,
        step=line.step, place=line.place, size=way.size, extent=elements, origin=origin, first=first,
        **numbers, **table(outer),
    )  # fmt: skip
    if way.flipped:
        return lambda x, counts: job(x=x[way.lowest], counts=counts)
    return lambda x, counts: job(x=x, counts=counts)


def _crossing(axis: Axis) -> dict[str, int]:
    return {"rows": axis.length, "row_step": axis.step}


def counted(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The integers as which kernels read elements of ``dtype``."""
    return np.dtype(np.uint8) if dtype == np.bool_ else dtype.newbyteorder("=")


NUMBERS = "size extent origin first lines length step place dimensions"
"""Integers x: flat memory of ``size`` of them, ``lines`` of ``length`` whose neighbours are ``step`` apart,
and their counts, ``extent`` of them, ``place``; from ``origin`` and from ``first`` on. ``outer`` are the
dimensions over lines, see :func:`fastconv.cpu.bits.lines.line_start`."""


@kernel(record("x counts outer", NUMBERS), counts=np.uint8, outer=np.int64)
def count_lines(p, chunk, worker):
    """counts = the ones of each of the integers x, which lie in the order of their counts: see NUMBERS."""
    n, step, place = p.length, p.step, p.place
    x, counts = carray(p.x, p.size), carray(p.counts, p.extent)
    blocks, ahead = -(-n // BLOCK), AHEAD // x.itemsize
    task, last = share(p, chunk, p.lines * blocks)
    while task < last:
        line, block = divmod(task, blocks)
        at, to = line_start(p, line)
        at, to = at + p.origin, to + p.first
        i, end = block * BLOCK, min(n, (block + last - task) * BLOCK)
        task += -(-(end - i) // BLOCK)
        if step == 1 and place == 1:
            while i + BLOCK <= end:
                popcount_block(x, at + i, counts, to + i, ahead)
                i += BLOCK
            if i < end and n >= BLOCK:  # some of it once more
                i = end
                popcount_block(x, at + end - BLOCK, counts, to + end - BLOCK, ahead)
        count_run(x, at + i * step, step, counts, to + i * place, place, end - i)


@kernel(
    record("x counts outer tile", f"{NUMBERS} rows row_step"),
    counts=np.uint8, outer=np.int64, tile=np.uint8,
)  # fmt: skip
def count_turned(p, chunk, worker):
    """The same of x in another order than their counts: those of neighbours in ``rows`` of x, which are
    ``row_step`` apart, lie side by side. tile: scratch of TILE + SPARE."""
    x, counts = carray(p.x, p.size), carray(p.counts, p.extent)
    tile = own(p, p.tile, worker, TILE + SPARE)
    columns, down = -(-p.length // BLOCK), -(-p.rows // BLOCK)
    width, height = min(BLOCK, p.length), min(BLOCK, p.rows)
    together = p.step == 1 and p.row_step == width  # rows follow one another
    start, stop = share(p, chunk, p.lines * down * columns)
    for task in range(start, stop):
        rest, column = divmod(task, columns)
        line, row = divmod(rest, down)
        at, to = line_start(p, line)
        j = min(column * BLOCK, p.length - width)  # the last tile is whole, too
        i = min(row * BLOCK, p.rows - height)
        at += p.origin + j * p.step + i * p.row_step
        to += p.first + j * p.place + i
        if together:
            count_run(x, at, 1, tile, 0, 1, height * width)
        elif p.step == 1 and width == BLOCK:
            for k in range(height):
                popcount_block(x, at + k * p.row_step, tile, k * BLOCK, NEXT)
        else:
            for k in range(height):
                count_run(x, at + k * p.row_step, p.step, tile, k * width, 1, width)
        turn_tile(tile, width, height, width, counts, to, p.place)


@numba.njit(error_model="numpy")
def count_run(x, at, step, counts, to, place, n):
    """counts[to + k * place] = the ones of x[at + k * step], for k < n."""
    k = 0
    if step == 1 and place == 1:
        while k + BLOCK <= n:
            popcount_block(x, at + k, counts, to + k, NEXT)
            k += BLOCK
    while k < n:
        poke(counts, to + k * place, np.uint8(popcount64(magnitude(peek(x, at + k * step)))))
        k += 1


@numba.njit(error_model="numpy")
def magnitude(v: Any) -> Any:
    """abs(v) as uint64, also of the most negative integer."""
    return np.uint64(v) if v >= 0 else np.uint64(-np.int64(v))
