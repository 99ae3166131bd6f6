"""Packing arrays of any layout: which kernel reads them where they are, and what has to be copied."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from math import prod
from typing import Any

import numpy as np

from fastconv._specs.bits import Memory, Shape, memory_of
from fastconv.cpu.arrays import Array, contiguous_steps, key_type
from fastconv.cpu.bits.lines import (
    Axis,
    Index,
    Walk,
    lines_of,
    memory_order,
    steps_of,
    table,
    turned_blocks,
    varied,
    walk,
    walkable,
)
from fastconv.cpu.bits.pack import RUN, chunks_of_words, image_job, pack_rows
from fastconv.cpu.kernels import Job
from fastconv.cpu.threads import SMALL

SMALL_PACKED = 1 << 20
"""Bytes in long rows up to which one thread packs them sooner than two: 1 MiB of bool takes it 17 us, and two
threads 24 us."""

Pack = Callable[..., None]
"""Packs ``x`` by the bounds ``low`` and ``span`` as ``words``, which have its axes; all by name."""


def packed_shape(shape: Shape, axis: int) -> Shape:
    """That of words along ``axis``, which stays where it is."""
    return (*shape[:axis], -(-shape[axis] // 64), *shape[axis + 1 :])


def packed_last(shape: Shape, axis: int) -> tuple[Shape, Callable[[Array], Array], Shape]:
    """The shape of words whose axis becomes the last one, what moves it back, and their places with the axis
    where it was."""
    last = (*shape[:axis], *shape[axis + 1 :], -(-shape[axis] // 64))
    *others, place = contiguous_steps(last)
    back = *range(axis), len(last) - 1, *range(axis, len(last) - 1)
    return last, lambda words: words.transpose(back), (*others[:axis], place, *others[axis:])


def packing(memory: Memory, axis: int, places: Shape, differ: bool = False) -> Pack:
    """What packs arrays with such memory along ``axis``, with bounds that ``differ`` between indices or not:
    where they are, in the order of their memory, or else copied block by block.

    ``places`` are the steps in ``words``: of ``axis`` from word to word, of the others as in ``x``.
    """
    shape = memory.shape
    if 0 in shape:
        return lambda x, low, span, words: None
    once = varied(memory._replace(strides=(*memory.strides[:axis], 1, *memory.strides[axis + 1 :])))
    if once is not None:
        return _packing_once(memory._replace(shape=once[0].shape), axis, places, differ, once[1])
    if memory.strides[axis] == 0 and shape[axis] > 1 and not differ:
        return _packing_one(memory, axis, places)
    if not walkable(memory):
        return _packing_copies(memory, axis, places, differ)
    way = walk(memory, places, apart=axis)
    step = 1 if shape[axis] == 1 else steps_of(memory)[axis]
    beside = bool(way.axes) and abs(way.axes[-1].step) == 1
    if step == 1 and not differ and not (beside and shape[axis] == 1):
        return _from_lowest(_rows_job(memory, axis, places, way), way)
    if not (beside or step == 1):
        return _packing_copies(memory, axis, places, differ)
    if len(way.axes) > 3:
        return _packing_parts(memory, axis, places, differ)
    return _from_lowest(_planes_job(memory, axis, places, way, differ), way)


def _from_lowest(job: Job, way: Walk) -> Pack:
    if not way.flipped:
        return job
    return lambda x, low, span, words: job(x=x[way.lowest], low=low, span=span, words=words)


def _packing_once(memory: Memory, axis: int, places: Shape, differ: bool, once: Index) -> Pack:
    """What packs arrays that repeat themselves along other axes, once."""
    pack = packing(memory, axis, places, differ)

    def run(x: Array, low: Array, span: Array, words: Array) -> None:
        pack(x=x[once], low=low, span=span, words=words[once])
        words[...] = words[once]

    return run


def _packing_one(memory: Memory, axis: int, places: Shape) -> Pack:
    """What packs arrays that repeat one element along ``axis``: as that, of which all its words are made."""
    n, before = memory.shape[axis], (slice(None),) * axis
    pack = packing(memory._replace(shape=(*memory.shape[:axis], 1, *memory.shape[axis + 1 :])), axis, places)
    first, last = ((*before, place) for place in (slice(0, 1), slice(n // 64, None)))

    def run(x: Array, low: Array, span: Array, words: Array) -> None:
        pack(x=x[first], low=low, span=span, words=words[first])
        words[...] = np.uint64(0) - words[first]
        words[last] &= np.uint64(2 ** (n % 64) - 1)

    return run


def _packing_parts(memory: Memory, axis: int, places: Shape, differ: bool) -> Pack:
    """What packs arrays of too many axes, one after the other along the slowest of them."""
    slow = next(d for d in memory_order(memory) if d != axis and memory.shape[d] > 1)
    part = memory._replace(shape=(*memory.shape[:slow], 1, *memory.shape[slow + 1 :]))
    pack = packing(part, axis, places, differ)

    def run(x: Array, low: Array, span: Array, words: Array) -> None:
        for k in range(memory.shape[slow]):
            index = (*(slice(None),) * slow, slice(k, k + 1))
            pack(x=x[index], low=low, span=span, words=words[index])

    return run


def _packing_copies(memory: Memory, axis: int, places: Shape, differ: bool) -> Pack:
    """What packs arrays that kernels cannot read."""
    order = memory_order(memory)
    pack_blocks = packing_blocks(order, axis, places, differ)

    def run(x: Array, low: Array, span: Array, words: Array) -> None:
        pack_blocks(turned_blocks(x, order, order.index(axis)), low, span, words)

    return run


def packing_blocks(order: list[int], axis: int, places: Shape, differ: bool) -> Callable[..., None]:
    """What packs blocks (index, block) of an array, contiguous ones, by the bounds low and span as words; the
    blocks have its axes in the given order, and begin at multiples of 64 along ``axis``."""
    turned, along = tuple(places[d] for d in order), order.index(axis)

    @cache  # for each shape of a block
    def pack_of(shape: Shape, dtype: np.dtype[Any]) -> Pack:
        return packing(memory_of(np.empty(shape, dtype)), along, turned, differ)

    def run(parts: Iterable[tuple[Index, Array]], low: Array, span: Array, words: Array) -> None:
        target = words.transpose(order)
        for index, block in parts:
            here = index[along]
            bounds = (low[here], span[here]) if differ else (low, span)
            taken = (*index[:along], slice(here.start // 64, None), *index[along + 1 :])
            pack = pack_of(block.shape, block.dtype)
            pack(x=block, low=bounds[0], span=bounds[1], words=target[taken])

    return run


def _rows_job(memory: Memory, axis: int, places: Shape, way: Walk) -> Job:
    """Rows of keys that are packed along themselves."""
    n, place = memory.shape[axis], places[axis]
    *outer, row = [*way.axes] or [Axis(1, 0, 0)]
    if n % 64 == 0 and row.step == n and row.place == n // 64 * place:  # whole words follow one another
        n, row = n * row.length, Axis(1, 0, 0)
    nbytes = prod(memory.shape) * memory.dtype.itemsize
    small = nbytes <= (SMALL_PACKED if n >= RUN * 64 else SMALL)
    lines = lines_of(outer)
    return Job(
        pack_rows, chunks_of_words(lines * row.length * -(-n // 64), small), _keys_of(memory.dtype),
        lines=lines, rows=row.length, row_step=row.step, row_place=row.place, length=n, word_place=place,
        size=way.size, origin=way.origin, **table(outer),
    )  # fmt: skip


def _planes_job(memory: Memory, axis: int, places: Shape, way: Walk, differ: bool) -> Job:
    """Planes of keys, packed across; or pixels with bounds of their own for each channel."""
    n, origin, first = memory.shape[axis], way.origin, 0
    *outer, pixel = [*way.axes] or [Axis(1, 0, 0)]
    if pixel.step == -1:
        pixel = pixel.reversed()
        origin, first = origin - pixel.length + 1, (pixel.length - 1) * -pixel.place
    image, row = [*(Axis(1, 0, 0),) * (2 - len(outer)), *outer]
    return image_job(
        key_type(memory.dtype).newbyteorder("="), prod(memory.shape) * memory.dtype.itemsize <= SMALL,
        size=way.size, differ=differ, images=image.length, groups=1, channels=n, rows=row.length,
        columns=pixel.length, origin=origin, image_step=image.step, channel_step=steps_of(memory)[axis],
        row_step=row.step, pixel_step=pixel.step, first=first, image_place=image.place, row_place=row.place,
        pixel_place=pixel.place, word_place=places[axis],
    )  # fmt: skip


def _keys_of(dtype: np.dtype[Any]) -> dict[str, np.dtype[Any]]:
    return dict.fromkeys(("x", "low", "span"), key_type(dtype).newbyteorder("="))
