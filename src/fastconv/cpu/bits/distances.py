"""Distances between rows of words, in whatever way two sets of rows are paired: what is found out once."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import numpy as np

from fastconv._specs.bits import Hamming, Memory, Shape
from fastconv.cpu.arrays import Array, contiguous_steps, deliver, result
from fastconv.cpu.bits.each import CHUNK
from fastconv.cpu.bits.pairs import BARE, ROWWISE, TURNED, count_pairs
from fastconv.cpu.bits.row_vectors import ROWS
from fastconv.cpu.kernels import Job
from fastconv.cpu.threads import CHUNKS_EACH, SMALL, chunks_of, threads

SPAN = 8192
"""Words that a thread compares with one row after another before it goes on: 64 KiB, which stay in L2."""

PASSING = 2048
"""The same of words that are compared once: 16 KiB, which are still in L1 when they are."""

COPIED = 32768
"""The same of long rows that are copied to be compared: 256 KiB, so that each copy serves many times."""

NARROW = 8
"""Words of a row from which on it fills vectors by itself."""

REUSE = 4
"""Rows that must meet the same others before it pays to turn those, so that vectors run across rows."""

Distances = Callable[[Array, Array, Array], None]
"""Fills the third array with the distances of the other two."""


def plan_hamming(spec: Hamming) -> Callable[..., Array]:
    batch, fill = spec.batch, None
    if spec.a.shape[-1] and prod(batch):
        fill = _distances_once(spec)

    def run(a: Array, b: Array, out: Array | None = None) -> Array:
        distances = result(out, batch, spec.dtype, a, b)
        if fill is None:
            distances[...] = 0
        else:
            fill(a, b, distances)
        return deliver(distances, out)

    return run


class _Axis(NamedTuple):
    """``length`` pairs of rows, so many bytes apart in a and in b, and so many distances."""

    length: int
    step_a: int
    step_b: int
    place: int

    def swapped(self) -> _Axis:
        return self._replace(step_a=self.step_b, step_b=self.step_a)


class _Side(NamedTuple):
    """One set of rows: the index of its lowest word; the bytes from there to the first row; the steps of each
    dimension to the next row, 0 where the rows are the same, and from word to word; whether the bytes of a
    word are swapped, and whether vectors can load rows."""

    lowest: tuple[slice, ...]
    origin: int
    steps: Shape
    word: int
    swapped: bool
    loadable: bool

    @property
    def flipped(self) -> bool:
        return any(part.step == -1 for part in self.lowest)


def _side(memory: Memory, dimensions: int) -> _Side:
    reach = [(n - 1) * stride for n, stride in zip(memory.shape, memory.strides, strict=True)]
    lowest = tuple(slice(None, None, -1 if r < 0 else 1) for r in reach)
    steps = [0 if n == 1 else s for n, s in zip(memory.shape[:-1], memory.strides, strict=False)]
    word = 8 if memory.shape[-1] == 1 else memory.strides[-1]
    native, whole = memory.dtype.isnative, memory.aligned and not any(step % 8 for step in steps)
    return _Side(
        lowest, -sum(r for r in reach if r < 0), (*(0,) * (dimensions - len(steps)), *steps), word,
        not native, native and whole and word == 8,
    )  # fmt: skip


def _axes(batch: Shape, steps_a: Shape, steps_b: Shape) -> list[_Axis]:
    """The dimensions of pairs, from slow to fast, as few as will do."""
    given = map(_Axis, batch, steps_a, steps_b, contiguous_steps(batch))
    ordered: list[_Axis] = []
    for axis in given:
        if axis.length > 1:
            at = len(ordered)
            while at and _faster(ordered[at - 1], axis):
                at -= 1
            ordered.insert(at, axis)
    found: list[_Axis] = []
    for axis in ordered:
        if found and found[-1][1:] == tuple(axis.length * step for step in axis[1:]):
            axis = axis._replace(length=found.pop().length * axis.length)
        found.append(axis)
    return found or [_Axis(1, 0, 0, 1)]


def _faster(one: _Axis, other: _Axis) -> bool:
    """Whether the next row of a and of b is nearer along ``one``; of a set that is the same along either of
    them, only the other set has a say."""
    moved = [(abs(i), abs(j)) for i, j in zip(one[1:3], other[1:3], strict=True) if i and j]
    return bool(moved) and all(i < j for i, j in moved)


def _distances_once(spec: Hamming) -> Distances:
    """Where neither a nor b changes along a dimension, distances are found once and repeated."""
    batch, dtype = spec.batch, spec.dtype
    steps = [_side(memory, len(batch)).steps for memory in (spec.a, spec.b)]
    once = tuple(n if any(pair) else 1 for n, *pair in zip(batch, *steps, strict=True))
    if once == batch:
        return _distances(spec.a, spec.b, batch, dtype)
    a, b = (
        memory._replace(
            shape=(*map(min, memory.shape[:-1], once[len(once) + 1 - len(memory.shape) :]), width)
        )
        for memory in (spec.a, spec.b)
        for width in memory.shape[-1:]
    )
    fill = _distances(a, b, once, dtype)

    def run(a: Array, b: Array, distances: Array) -> None:
        found = np.empty(once, dtype)
        fill(a, b, found)
        distances[...] = found

    return run


def _distances(a: Memory, b: Memory, batch: Shape, dtype: np.dtype[np.integer]) -> Distances:
    width, pairs = a.shape[-1], prod(batch)
    one, other = _side(a, len(batch)), _side(b, len(batch))
    *outer, line = _axes(batch, one.steps, other.steps)
    swapped = line.step_b == 0
    if swapped:  # let the row that stays be that of ``a``
        one, other, line, outer = other, one, line.swapped(), [axis.swapped() for axis in outer]
    m, lines, kept = line.length, pairs // line.length, line.step_a == 0
    reused = kept and bool(outer) and outer[-1].step_b == 0 and outer[-1].length >= REUSE
    in_place = one.loadable and other.loadable
    bare = width == 1 and in_place and line.step_b == 8 and line.step_a in (0, 8) and line.place == 1
    rowwise = 2 * ROWS * width > SPAN if reused else width >= NARROW
    copied = not (bare or (rowwise and in_place))
    near = COPIED if rowwise and reused else SPAN if reused else PASSING
    span = max(1 if rowwise else ROWS, (near if copied else SPAN) // width)
    spans = -(-m // span)
    chunks = chunks_of(-(-pairs * width // CHUNK), serially=8 * pairs * width <= SMALL)
    wanted = min(chunks, threads()) if reused else chunks  # each group turns its rows anew
    groups = 1 if spans >= wanted else min(lines, wanted)
    pieces = 1 if pairs * CHUNKS_EACH >= chunks else max(1, min(chunks, width // CHUNK))
    kind = np.dtype(np.int64) if pieces > 1 else dtype
    room = width * span + 2 * ROWS if copied else 0
    job = Job(
        count_pairs, min(chunks, pieces * spans * groups), {"found": f"u{kind.itemsize}"},
        {"tile_a": room, "tile_b": room},
        way=BARE if bare else ROWWISE if rowwise else TURNED,
        outer=np.array(outer, np.int64).reshape(-1, 4), dimensions=len(outer), lines=lines, m=m,
        step_a=line.step_a, step_b=line.step_b, place=line.place, word_a=one.word, word_b=other.word,
        swapped_a=one.swapped, swapped_b=other.swapped, copied_a=not one.loadable,
        copied_b=not other.loadable, origin_a=one.origin, origin_b=other.origin,
        width=width, span=span, groups=groups, pieces=pieces,
    )  # fmt: skip

    def run(a: Array, b: Array, distances: Array) -> None:
        if swapped:
            a, b = b, a
        found = distances if pieces == 1 else np.empty((pieces, pairs), np.int64)
        job(a=a[one.lowest] if one.flipped else a, b=b[other.lowest] if other.flipped else b, found=found)
        if pieces > 1:
            distances[...] = found.sum(axis=0).reshape(batch)

    return run
