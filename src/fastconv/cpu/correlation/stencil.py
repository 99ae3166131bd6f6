"""The explicit-SIMD building block of correlation: sums of a few output rows, kept in registers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastconv.cpu.simd import WIDE, _i32, _i64, _multiply_add, _prefetch, _splat

VECTOR_BYTES, REGISTERS = (64, 32) if WIDE else (32, 16)

MOST_ROWS = 8 if WIDE else 6
"""Output rows in flight. Each pixel loaded serves them all, and half of the loads straddle two cache
lines: 6 to 8 rows reach 70 % of the peak of multiply-adds, 3 rows 55 % (15 x 15 taps, 2 Intel cores)."""

MOST_VECTORS = 6
"""Vectors of a row in flight, for few rows: enough that sums need not wait for each other."""

PREFETCH_ROWS = 6
"""Rows that are asked for ahead: strips run down the image, which no hardware foresees. 1024 x 1024, 7 x 7
taps: 0.36 ms, without 0.57; 2 to 16 rows are alike."""


def vectors(rows: int, parts: int) -> int:
    """How many vectors of ``rows`` rows fit into the registers, with the pixels and one tap; ``parts``
    sums each, 2 for complex numbers."""
    return min(MOST_VECTORS, (REGISTERS - 1) // (parts * rows + 1))


def shapes(parts: int) -> list[tuple[int, int]]:
    """(rows, vectors) for which :func:`correlate_strip` has code: the widest for every number of rows and
    for one row more, as chunks of a kernel differ by one; and single vectors for what is left."""
    rows = range(1, MOST_ROWS // parts + 1)
    found = {(r, vectors(more, parts)) for r in rows for more in (r, r + 1)}
    return sorted(found | {(r, 1) for r in rows})


class Source(NamedTuple):
    """Pixels in memory: the address of the first, and numbers from row to row and from column to column."""

    address: int | np.int64
    pitch: int
    step: int | np.int64


class Piece(NamedTuple):
    """``rows`` x ``width`` taps of a kernel: tap (a, b) is taps[first + b * pitch + a] of a flat array."""

    taps: Any
    first: int
    pitch: int
    rows: int
    width: int


class Place(NamedTuple):
    """Where results go: (i, j) to results[start + i * pitch + j] of a flat array."""

    results: Any
    start: int | np.int64
    pitch: int


@intrinsic
def correlate_strip(
    typing: Any,
    source: Any,
    piece: Any,
    place: Any,
    columns: Any,
    height: Any,
    kept: Any,
    add: Any,
    stream: Any,
) -> Any:
    """Correlate a strip of ``columns`` vectors with a ``piece`` of a kernel: result (i, j) of ``place`` for
    i < height, j < kept = (+= if ``add``) sum over a < piece.rows, b < piece.width of
    tap (a, b) * number (i + a, j + b * source.step) of ``source``, whose dtype is that of the taps.

    (piece.rows, columns) is one of :func:`shapes`; a strip of one vector keeps ``kept`` results of each row,
    a wider one all. Sums of the ``piece.rows`` output rows that a pixel belongs to are in flight at once, so
    that it is loaded once.

    With ``stream``, wider strips, whose rows must begin at multiples of a vector, are stored past the caches,
    and not yet ordered before what follows: see :func:`fence`.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        strip = _Strip(context, builder, (piece.types[0], place.types[0]), args)
        unknown = builder.append_basic_block("no.such.shape")
        done = builder.append_basic_block("done")
        code = builder.add(builder.mul(strip.rows, _i64(64)), args[3])
        switch = builder.switch(code, unknown)
        for shape in shapes(strip.parts):
            block = builder.append_basic_block(f"strip.{shape[0]}.{shape[1]}")
            switch.add_case(_i64(64 * shape[0] + shape[1]), block)
            builder.position_at_end(block)
            strip.generate(*shape)
            builder.branch(done)
        builder.position_at_end(unknown)
        builder.unreachable()
        builder.position_at_end(done)
        return context.get_dummy_value()

    index, flag = types.intp, types.boolean
    return types.void(source, piece, place, index, index, index, flag, flag), generate


@contextmanager
def _side_by_side(builder: Any, starts: tuple[Any, Any], steps: tuple[Any, Any], end: Any) -> Iterator[Any]:
    """A loop with two pointers that move on by so many reals, until the first is at ``end``. It does not ask
    before its first turn: one that does moves all sums twice. A count beside the pointers would take an
    eighth longer with 3 x 3 taps."""
    before, body, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
    builder.branch(body)
    builder.position_at_end(body)
    pointers = [builder.phi(start.type) for start in starts]
    for pointer, start in zip(pointers, starts, strict=True):
        pointer.add_incoming(start, before)
    yield pointers
    following = [builder.gep(pointer, [step]) for pointer, step in zip(pointers, steps, strict=True)]
    for pointer, value in zip(pointers, following, strict=True):
        pointer.add_incoming(value, builder.block)
    builder.cbranch(builder.icmp_unsigned("!=", following[0], end), body, after)
    builder.position_at_end(after)


class _Strip:
    """The code of :func:`correlate_strip` for one shape after another."""

    def __init__(self, context: Any, builder: Any, arrays: Any, args: Any) -> None:
        source, piece, place, _, self.height, self.kept, self.add, self.stream = args
        address, self.pitch, self.step = cgutils.unpack_tuple(builder, source)
        weights, first, self.tap_pitch, self.rows, self.width = cgutils.unpack_tuple(builder, piece)
        results, target, self.out_pitch = cgutils.unpack_tuple(builder, place)
        taps, out = arrays
        self.context, self.builder = context, builder
        self.parts = 2 if isinstance(taps.dtype, types.Complex) else 1
        real = taps.dtype.underlying_float if self.parts == 2 else taps.dtype
        self.is_float = isinstance(real, types.Float)
        self.element = context.get_value_type(real)
        self.bytes = real.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.bytes
        self.vector = ir.VectorType(self.element, self.lanes)
        stored = out.dtype.underlying_float if self.parts == 2 else out.dtype
        self.stored = ir.VectorType(context.get_value_type(stored), self.lanes)
        self.x = builder.inttoptr(address, self.element.as_pointer())
        self.w = self._data(taps, weights, self.element, first)
        self.y = self._data(out, results, self.stored.element, target)

    def _data(self, kind: Any, array: Any, element: Any, index: Any) -> Any:
        """Pointer to pixel ``index`` of an array, as reals."""
        data = self.context.make_array(kind)(self.context, self.builder, array).data
        return self._at(self.builder.bitcast(data, element.as_pointer()), index)

    def _at(self, pointer: Any, pixels: Any, reals: int = 0) -> Any:
        index = self.builder.mul(pixels, _i64(self.parts)) if self.parts == 2 else pixels
        return self.builder.gep(pointer, [self.builder.add(index, _i64(reals))])

    def generate(self, rows: int, columns: int) -> None:
        """Row by row of pixels: add it to the output rows in flight, store the first, move the others up."""
        builder = self.builder
        zero = ir.Constant(self.vector, None)
        sums = [
            [[cgutils.alloca_once_value(builder, zero) for _ in range(self.parts)] for _ in range(columns)]
            for _ in range(rows)
        ]
        for total in (total for row in sums for vector in row for total in vector):
            builder.store(zero, total)
        lines = builder.add(self.height, _i64(rows - 1))
        parts = _i64(self.parts)
        steps = builder.mul(self.step, parts), builder.mul(self.tap_pitch, parts)
        length = builder.mul(steps[0], self.width)
        with cgutils.for_range(builder, lines, intp=_i64) as line:
            row = self._at(self.x, builder.mul(line.index, self.pitch))
            ahead = self._at(row, builder.mul(self.pitch, _i64(PREFETCH_ROWS)))
            for q in range(columns + 1):
                _prefetch(builder, builder.gep(ahead, [_i64(q * self.lanes)]))
            with _side_by_side(builder, (row, self.w), steps, builder.gep(row, [length])) as (cell, tap):
                self._add_products(cell, tap, sums)
            done = builder.sub(line.index, _i64(rows - 1))
            with builder.if_then(builder.icmp_signed(">=", done, _i64(0))):
                place = self._at(self.y, builder.mul(done, self.out_pitch))
                places = [builder.gep(place, [_i64(q * self.lanes)]) for q in range(columns)]
                self._store([self._complex_sum(vector) for vector in sums[0]], places)
            for i, vectors_of_row in enumerate(sums):
                for q, vector in enumerate(vectors_of_row):
                    for part, total in enumerate(vector):
                        above = builder.load(sums[i + 1][q][part]) if i + 1 < rows else zero
                        builder.store(above, total)

    def _add_products(self, cell: Any, tap: Any, sums: Any) -> None:
        """Add the pixels at ``cell`` times the taps at ``tap`` to the sums."""
        builder = self.builder
        pixels = [self._load(builder.gep(cell, [_i64(q * self.lanes)])) for q in range(len(sums[0]))]
        for i, row in enumerate(sums):
            for part in range(self.parts):
                at = builder.gep(tap, [_i64((len(sums) - 1 - i) * self.parts + part)])
                weight = _splat(builder, builder.load(at), self.lanes)
                for vector, total in zip(pixels, row, strict=True):
                    value = builder.load(total[part])
                    if self.is_float:
                        value = _multiply_add(builder, weight, vector, value)
                    else:
                        value = builder.add(builder.mul(weight, vector), value)
                    builder.store(value, total[part])

    def _complex_sum(self, vector: Any) -> Any:
        """Sums of (re, im) times real parts of taps, and times imaginary parts, as one."""
        builder = self.builder
        total, *crosswise = (builder.load(part) for part in vector)
        if not crosswise:
            return total
        swap = ir.Constant(ir.VectorType(_i32, self.lanes), [_i32(k ^ 1) for k in range(self.lanes)])
        swapped = builder.shuffle_vector(crosswise[0], crosswise[0], swap)
        signs = ir.Constant(
            self.vector, [ir.Constant(self.element, (-1.0, 1.0)[k % 2]) for k in range(self.lanes)]
        )
        return builder.fadd(total, builder.fmul(swapped, signs))

    def _load(self, pointer: Any) -> Any:
        vector = self.builder.load(self.builder.bitcast(pointer, self.vector.as_pointer()), typ=self.vector)
        vector.align = self.bytes
        return vector

    def _store(self, values: Any, places: Any) -> None:
        """Store, or add, a row of vectors of results; of a single vector, the first ``kept``."""
        builder = self.builder
        if self.stored.element != self.element:
            values = [builder.trunc(value, self.stored) for value in values]
        places = [builder.bitcast(place, self.stored.as_pointer()) for place in places]
        results = [cgutils.alloca_once_value(builder, value) for value in values]
        for value, result in zip(values, results, strict=True):
            builder.store(value, result)
        mask = self._mask() if len(values) == 1 else None
        with builder.if_then(self.add):
            for value, place, result in zip(values, places, results, strict=True):
                old = self._old(place, mask)
                total = builder.fadd(value, old) if self.is_float else builder.add(value, old)
                builder.store(total, result)
        if mask is not None:
            align = _i32(self._stored_bytes())
            self._masked("store", ir.VoidType(), builder.load(results[0]), places[0], align, mask)
            return
        with builder.if_else(self.stream) as (past_caches, usual):
            with past_caches:
                for result, place in zip(results, places, strict=True):
                    streamed = builder.store(builder.load(result), place)
                    streamed.align = self.lanes * self._stored_bytes()
                    streamed.set_metadata("nontemporal", builder.module.add_metadata([_i32(1)]))
            with usual:
                for result, place in zip(results, places, strict=True):
                    builder.store(builder.load(result), place).align = self._stored_bytes()

    def _old(self, place: Any, mask: Any) -> Any:
        if mask is not None:
            align, zero = _i32(self._stored_bytes()), ir.Constant(self.stored, None)
            return self._masked("load", self.stored, place, align, mask, zero)
        old = self.builder.load(place, typ=self.stored)
        old.align = self._stored_bytes()
        return old

    def _stored_bytes(self) -> int:
        return self.bytes if self.is_float else int(self.stored.element.width) // 8

    def _mask(self) -> Any:
        """Lanes of the first ``kept`` pixels."""
        lanes = ir.Constant(ir.VectorType(_i32, self.lanes), list(range(self.lanes)))
        kept = self.builder.mul(self.kept, _i64(self.parts))
        kept = _splat(self.builder, self.builder.trunc(kept, _i32), self.lanes)
        return self.builder.icmp_signed("<", lanes, kept)

    def _masked(self, name: str, result: Any, *args: Any) -> Any:
        element = self.stored.element
        suffix = f"i{element.width}" if not self.is_float else f"f{8 * self.bytes}"
        kind = f"v{self.lanes}{suffix}"
        function_type = ir.FunctionType(result, [arg.type for arg in args])
        name = f"llvm.masked.{name}.{kind}.p0{kind}"
        return self.builder.call(
            cgutils.get_or_insert_function(self.builder.module, function_type, name), args
        )
