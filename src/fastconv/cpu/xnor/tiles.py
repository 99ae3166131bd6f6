"""Vector building blocks of binary products: tiles of sums in registers, and sums turned over."""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastconv.cpu.kernels import load_field
from fastconv.cpu.simd import (
    LANES,
    PIXELS,
    WIDE,
    _address,
    _i8,
    _i32,
    _i64,
    _literal,
    _load,
    _popcount,
    _prefetch,
    _splat,
    _store,
    copy_line,
    transpose_block,
)
from fastconv.cpu.xnor.problem import MOST_PIXELS, UNIT

TILE_PIXELS, TILE_VECTORS = (6, 4) if WIDE else (4, 1)
"""Pixels and vectors of filters per tile. 6 x 4 counters, 4 vectors of filters and 1 pixel fit the 32
registers of 64 bytes of AVX-512; 4 x 1 leave half of 16 registers of 32 bytes to the counting."""


def xnor_tile(pixels: int, vectors: int) -> Any:
    """The product of the windows of ``pixels`` pixels with 8 * ``vectors`` filters, as compiled code takes
    it."""

    @intrinsic
    def tile(
        typing: Any, p: Any, plane: Any, starts: Any, pixel: Any, column: Any, y: Any, at: Any, pitch: Any
    ) -> Any:
        """y[at + i * pitch + f] = totals[base of pixel + i][column + f] - 2 * (bits in which its window
        differs from filter column + f), int32, for i < ``pixels`` and f < 8 * ``vectors``.

        A window is made of the runs of ``p.run`` words that start at x[plane + starts[pixel + i] +
        offset] for each of ``p.offsets``; its base is starts[MOST_PIXELS + pixel + i]. All counters stay
        in registers.
        """

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            code = _Tile(context, builder, (p, starts, y), args)
            return code.generate(pixels, vectors)

        index = types.intp
        return types.void(p, index, starts, index, index, y, index, index), generate

    return tile


class _Tile:
    """The code of :func:`xnor_tile`."""

    def __init__(self, context: Any, builder: Any, kinds: Any, args: Any) -> None:
        self.context, self.builder = context, builder
        self.p_kind, self.starts_kind, self.y_kind = kinds
        self.p, self.plane, self.starts, self.pixel, self.column, self.y, self.at, self.pitch = args

    def generate(self, pixels: int, vectors: int) -> Any:
        builder = self.builder
        zero = ir.Constant(ir.VectorType(_i64, LANES), None)
        counters = [[cgutils.alloca_once(builder, zero.type) for _ in range(vectors)] for _ in range(pixels)]
        for counter in (c for line in counters for c in line):
            builder.store(zero, counter)
        words = builder.gep(self._field("x"), [self.plane])
        windows = [builder.gep(words, [self._start(i)]) for i in range(pixels)]
        self._count(windows, counters)
        for i, line in enumerate(counters):
            self._finish(i, [builder.load(counter) for counter in line])
        return self.context.get_dummy_value()

    def _count(self, windows: list[Any], counters: list[list[Any]]) -> None:
        """Add up, run by run and word by word, the bits in which windows and filters differ."""
        builder = self.builder
        depth, run, offsets = self._field("window_words"), self._field("run"), self._field("offsets")
        block = builder.mul(depth, _i64(LANES))
        tile = builder.gep(self._field("tiles"), [builder.mul(self.column, depth)])
        filters = [builder.gep(tile, [builder.mul(block, _i64(q))]) for q in range(len(counters[0]))]
        step = cgutils.alloca_once_value(builder, _i64(0))
        builder.store(_i64(0), step)
        with cgutils.for_range(builder, self._field("runs"), intp=_i64) as runs:
            offset = builder.load(builder.gep(offsets, [runs.index]))
            begins = [builder.gep(window, [offset]) for window in windows]
            with cgutils.for_range(builder, run, intp=_i64) as words:
                at = builder.load(step)
                builder.store(builder.add(at, _i64(LANES)), step)
                vectors = [self._vector(pointer, at) for pointer in filters]
                for line, begin in zip(counters, begins, strict=True):
                    word = builder.load(builder.gep(begin, [words.index]))
                    word = _splat(builder, word, LANES)
                    for counter, lanes in zip(line, vectors, strict=True):
                        different = _popcount(builder, builder.xor(word, lanes))
                        builder.store(builder.add(builder.load(counter), different), counter)

    def _finish(self, i: int, sums: list[Any]) -> None:
        """Totals less twice the differences, stored."""
        builder = self.builder
        at = builder.add(self.at, builder.mul(self.pitch, _i64(i)))
        base = builder.add(self._start(MOST_PIXELS + i), self.column)
        totals = self._field("totals")
        for counts in _narrowed(builder, sums):
            lanes = counts.type.count
            twice = builder.shl(counts, _splat(builder, _i32(1), lanes))
            kind = ir.VectorType(_i32, lanes)
            total = builder.load(builder.bitcast(builder.gep(totals, [base]), kind.as_pointer()), typ=kind)
            total.align = 4
            _store(self.context, builder, self.y_kind, self.y, at, builder.sub(total, twice))
            at, base = (builder.add(index, _i64(lanes)) for index in (at, base))

    def _field(self, name: str) -> Any:
        return load_field(self.context, self.builder, self.p_kind, self.p, name)

    def _start(self, i: int) -> Any:
        index = self.builder.add(self.pixel, _i64(i))
        return self.builder.load(_address(self.context, self.builder, self.starts_kind, self.starts, index))

    def _vector(self, pointer: Any, index: Any) -> Any:
        kind = ir.VectorType(_i64, LANES)
        place = self.builder.bitcast(self.builder.gep(pointer, [index]), kind.as_pointer())
        vector = self.builder.load(place, typ=kind)
        vector.align = 8
        return vector


def _narrowed(builder: Any, vectors: list[Any]) -> list[Any]:
    """Vectors of int64 as vectors of int32, two to one where there are two: a single shuffle."""
    if len(vectors) == 1:
        return [builder.trunc(vectors[0], ir.VectorType(_i32, LANES))]
    even = ir.Constant(ir.VectorType(_i32, 2 * LANES), [_i32(2 * k) for k in range(2 * LANES)])
    halves = [builder.bitcast(vector, ir.VectorType(_i32, 2 * LANES)) for vector in vectors]
    return [builder.shuffle_vector(a, b, even) for a, b in zip(halves[::2], halves[1::2], strict=True)]


@intrinsic
def prefetch_to_write(typing: Any, x: Any, index: Any) -> Any:
    """Ask for the line of the cache that holds x[index], which is going to be written."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _prefetch(builder, _address(context, builder, x, *args), to_write=True)
        return context.get_dummy_value()

    return types.void(x, types.intp), generate


@intrinsic
def threshold_word(typing: Any, y: Any, start: Any, tau: Any, flip: Any, first: Any) -> Any:
    """One word: bit k is (y[start + k] >= tau[first + k]) xor (flip[first + k] != 0), for k < 64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sums, begin, bounds, mirrors, origin = args
        values = _load(context, builder, y, sums, begin, UNIT)
        bits = builder.icmp_signed(">=", values, _load(context, builder, tau, bounds, origin, UNIT))
        mirror = _load(context, builder, flip, mirrors, origin, UNIT)
        other = builder.icmp_unsigned("!=", mirror, ir.Constant(mirror.type, None))
        return builder.xor(builder.bitcast(bits, _i64), builder.bitcast(other, _i64))

    return types.uint64(y, types.intp, tau, flip, types.intp), generate


@intrinsic(prefer_literal=True)
def sum_signs(
    typing: Any, x: Any, start: Any, offsets: Any, terms: Any, y: Any, target: Any, units: Any
) -> Any:
    """y[target + k] = sum of x[start + offset + k] over offsets[first:positive], less the same over
    offsets[positive:end], for k < 64 * ``units``, a literal; ``terms`` are (first, positive, end). x holds
    int8 of
    -1, 0 and 1, y int32."""
    columns = _literal(units, "units")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, origin, shifts, triple, sums, at, _ = args
        begin, middle, stop = (builder.extract_value(triple, k) for k in range(3))
        narrow, wide = ir.VectorType(_i8, UNIT), ir.VectorType(_i32, UNIT)
        zeros = [ir.Constant(kind, None) for kind in (narrow, wide)]
        partials, totals = (
            [cgutils.alloca_once_value(builder, zero) for _ in range(columns)] for zero in zeros
        )
        for total in totals:
            builder.store(zeros[1], total)

        def smaller(a: Any, b: Any) -> Any:
            return builder.select(builder.icmp_signed("<", a, b), a, b)

        def add_taps(low: Any, high: Any, combine: Any) -> None:
            with cgutils.for_range(builder, builder.sub(high, low), intp=_i64) as taps:
                place = _address(context, builder, offsets, shifts, builder.add(low, taps.index))
                line = builder.add(origin, builder.load(place))
                for q, partial in enumerate(partials):
                    signs = _load(context, builder, x, source, builder.add(line, _i64(q * UNIT)), UNIT)
                    builder.store(combine(builder.load(partial), signs), partial)

        longest = _i64(127)  # terms that an int8 surely holds
        pieces = builder.sdiv(builder.add(builder.sub(stop, begin), _i64(126)), longest)
        with cgutils.for_range(builder, pieces, intp=_i64) as piece:
            for partial in partials:
                builder.store(zeros[0], partial)
            low = builder.add(begin, builder.mul(piece.index, longest))
            high = smaller(builder.add(low, longest), stop)
            between = smaller(middle, high)
            between = builder.select(builder.icmp_signed("<", between, low), low, between)
            add_taps(low, between, builder.add)
            add_taps(between, high, builder.sub)
            for partial, total in zip(partials, totals, strict=True):
                builder.store(
                    builder.add(builder.load(total), builder.sext(builder.load(partial), wide)), total
                )
        for q, total in enumerate(totals):
            _store(context, builder, y, sums, builder.add(at, _i64(q * UNIT)), builder.load(total))
        return context.get_dummy_value()

    index = types.intp
    return types.void(x, index, offsets, terms, y, index, units), generate


@numba.njit(error_model="numpy")
def turn_over(y, pitch, rows, columns, out, begin, step):
    """out[begin + j * step + i] = y[i * pitch + j], in blocks of 16 x 16: up to 16 rows and columns are read
    and written, whatever is in them."""
    for j in range(0, columns, PIXELS):  # lines of ``out`` lie pages apart: finish 16 before the next
        for block in range(0, rows, PIXELS):
            i = min(block, max(rows - PIXELS, 0))
            transpose_block(y, i * pitch + j, pitch, out, begin + j * step + i, step)


@numba.njit(error_model="numpy")
def store_turned(y, pitch, m, width, out, place):
    """out[begin + k * step + q] = y[q * pitch + k] for q < m, k < ``width``, and nothing else; ``place`` is
    (begin, step)."""
    begin, step = place
    whole = width // PIXELS * PIXELS if m >= PIXELS else 0
    turn_over(y, pitch, m, whole, out, begin, step)
    for k in range(whole, width):
        for q in range(m):
            out[begin + k * step + q] = y[q * pitch + k]


@numba.njit(error_model="numpy")
def fetch_turned(x, place, m, width, rows):
    """rows[q * UNIT + k] = x[begin + k * step + q] for q < m, k < ``width``, ``place`` being (begin, step);
    behind them the rows have room for the lines of x."""
    begin, step = place
    lines = rows[UNIT * UNIT : 2 * UNIT * UNIT]
    for k in range(width):
        copy_line(x[begin + k * step : begin + k * step + m], lines[k * UNIT : k * UNIT + m])
    turn_over(lines, UNIT, width, m, rows, 0, UNIT)
