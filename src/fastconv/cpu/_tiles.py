"""The explicit-SIMD building blocks of binary products: numba intrinsics on LLVM vector types.

As in ``_vector``, each works on elements of flat, C-contiguous arrays, given as (array, index).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastconv.cpu.simd import (
    LANES,
    PIXELS,
    WIDE,
    _address,
    _i8,
    _i32,
    _i64,
    _length,
    _literal,
    _load,
    _popcount,
    _prefetch,
    _splat,
    _store,
)

UNIT = 64
"""Filters whose signs make one word, and pixels of :func:`sum_signs`."""

TILE_PIXELS, TILE_VECTORS = (6, 4) if WIDE else (4, 1)
"""Pixels and vectors of filters per tile. 6 x 4 counters, 4 vectors of filters and 1 pixel fit the 32
registers of 64 bytes of AVX-512; 4 x 1 leave half of 16 registers of 32 bytes to the counting."""


@intrinsic(prefer_literal=True)
def xnor_tile(
    typing: Any,
    x: Any,
    starts: Any,
    pixel: Any,
    pixels: Any,
    offsets: Any,
    run: Any,
    weights: Any,
    first: Any,
    block: Any,
    vectors: Any,
    totals: Any,
    bases: Any,
    column: Any,
    y: Any,
    row: Any,
    stride: Any,
) -> Any:
    """y[row + p * stride + f] = totals[bases[pixel + p] + column + f] - 2 * (bits in which the window of
    pixel p differs from filter f), int32, for p < ``pixels`` and f < 8 * ``vectors``, literals both.

    The window of pixel p is made of the runs of ``run`` words that start at x[starts[pixel + p] + offset]
    for each of ``offsets``. ``weights`` holds, from ``first`` on, ``vectors`` blocks of ``block`` words: the
    window's words in the same order, each for 8 filters side by side. All counters stay in registers.
    """
    height, columns = _literal(pixels, "pixels"), _literal(vectors, "vectors")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (
            source,
            origins,
            begin,
            _,
            shifts,
            length,
            packed,
            cursor,
            spacing,
            _,
            terms,
            lines,
            shift,
            target,
            corner,
            pitch,
        ) = args
        zero = ir.Constant(ir.VectorType(_i64, LANES), None)
        counters = [[cgutils.alloca_once_value(builder, zero) for _ in range(columns)] for _ in range(height)]
        for counter in (c for line in counters for c in line):
            builder.store(zero, counter)
        step = cgutils.alloca_once_value(builder, cursor)
        builder.store(cursor, step)
        windows = [
            builder.load(_address(context, builder, starts, origins, builder.add(begin, _i64(p))))
            for p in range(height)
        ]
        with cgutils.for_range(builder, _length(context, builder, offsets, shifts), intp=_i64) as runs:
            offset = builder.load(_address(context, builder, offsets, shifts, runs.index))
            begins = [builder.add(window, offset) for window in windows]
            with cgutils.for_range(builder, length, intp=_i64) as words:
                at = builder.load(step)
                builder.store(builder.add(at, _i64(LANES)), step)
                filters = [
                    _load(
                        context,
                        builder,
                        weights,
                        packed,
                        builder.add(at, builder.mul(spacing, _i64(q))),
                        LANES,
                    )
                    for q in range(columns)
                ]
                for line, start in zip(counters, begins, strict=True):
                    index = builder.add(start, words.index)
                    word = _splat(builder, builder.load(_address(context, builder, x, source, index)), LANES)
                    for counter, lanes in zip(line, filters, strict=True):
                        different = _popcount(builder, builder.xor(word, lanes))
                        builder.store(builder.add(builder.load(counter), different), counter)
        for p, line in enumerate(counters):
            at = builder.add(corner, builder.mul(pitch, _i64(p)))
            base = builder.load(_address(context, builder, bases, lines, builder.add(begin, _i64(p))))
            base = builder.add(base, shift)
            for counts in _narrowed(builder, [builder.load(counter) for counter in line]):
                lanes = counts.type.count
                twice = builder.shl(counts, _splat(builder, _i32(1), lanes))
                total = _load(context, builder, totals, terms, base, lanes)
                _store(context, builder, y, target, at, builder.sub(total, twice))
                at, base = (builder.add(index, _i64(lanes)) for index in (at, base))
        return context.get_dummy_value()

    index = types.intp
    signature = types.void(
        x, starts, index, pixels, offsets, index, weights, index, index, vectors,
        totals, bases, index, y, index, index,
    )  # fmt: skip
    return signature, generate


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
def transpose_block(typing: Any, x: Any, start: Any, pitch: Any, out: Any, target: Any, step: Any) -> Any:
    """out[target + j * step + i] = x[start + i * pitch + j] for i, j < 16, both int32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, begin, line, result, at, spacing = args
        rows = [
            _load(context, builder, x, source, builder.add(begin, builder.mul(line, _i64(i))), PIXELS)
            for i in range(PIXELS)
        ]
        low = [_i32(k // 2 + k % 2 * PIXELS) for k in range(PIXELS)]
        high = [_i32(k.constant + PIXELS // 2) for k in low]
        masks = [ir.Constant(ir.VectorType(_i32, PIXELS), mask) for mask in (low, high)]
        for _ in range(4):  # interleaving row i with row i + 8 four times turns the block over
            pairs = zip(rows[: PIXELS // 2], rows[PIXELS // 2 :], strict=True)
            rows = [builder.shuffle_vector(a, b, mask) for a, b in pairs for mask in masks]
        for j, row in enumerate(rows):
            _store(context, builder, out, result, builder.add(at, builder.mul(spacing, _i64(j))), row)
        return context.get_dummy_value()

    index = types.intp
    return types.void(x, index, index, out, index, index), generate


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
    typing: Any,
    x: Any,
    start: Any,
    offsets: Any,
    first: Any,
    positive: Any,
    end: Any,
    units: Any,
    y: Any,
    target: Any,
) -> Any:
    """y[target + k] = sum of x[start + offset + k] over offsets[first:positive], less the same over
    offsets[positive:end], for k < 64 * ``units``, a literal; x holds int8 of -1, 0 and 1, y int32."""
    columns = _literal(units, "units")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, origin, shifts, begin, middle, stop, _, sums, at = args
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
    return types.void(x, index, offsets, index, index, index, units, y, index), generate
