"""The explicit vectors of distances between rows of words; see :mod:`fastconv.cpu.simd`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastconv.cpu.bits.vectors import _ask_ahead, _sum_popcounts
from fastconv.cpu.kernels import load_field
from fastconv.cpu.simd import LANES, _address, _i8, _i64, _load, _popcount, _splat, _store

ROWS = 32
"""Rows per step of :func:`lanes_of_row`: four vectors of sums."""


@intrinsic
def word_at(typing: Any, words: Any, byte: Any, swapped: Any) -> Any:
    """The uint64 that begins so many bytes behind the pointer ``words``, its bytes ``swapped`` or not."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _unaligned(builder, _i64, *args)

    return types.uint64(words, types.intp, types.intp), generate


@intrinsic
def copy_words(typing: Any, words: Any, byte: Any, swapped: Any, tile: Any, at: Any) -> Any:
    """tile[at + k] = the word at byte + 8 k, likewise, for k < LANES."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = _unaligned(builder, ir.VectorType(_i64, LANES), *args[:3])
        _store(context, builder, tile, args[3], args[4], found)
        return context.get_dummy_value()

    return types.void(words, types.intp, types.intp, tile, types.intp), generate


def _unaligned(builder: Any, kind: Any, words: Any, byte: Any, swapped: Any) -> Any:
    """A word, or a vector of words, wherever it begins."""
    start = builder.gep(builder.bitcast(words, _i8.as_pointer()), [byte])
    found = builder.load(builder.bitcast(start, kind.as_pointer()), typ=kind)
    found.align = 1
    lanes = "" if kind is _i64 else f"v{LANES}"
    swap = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(kind, [kind]), f"llvm.bswap.{lanes}i64"
    )
    return builder.select(builder.icmp_signed("!=", swapped, _i64(0)), builder.call(swap, [found]), found)


@intrinsic
def count_differences(typing: Any, a: Any, i: Any, b: Any, j: Any, vectors: Any) -> Any:
    """Number of bits in which the words a[i + k] and b[j + k] differ, for k < 8 * vectors."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number = args[4]

        def words(step: Any) -> Any:
            sides = []
            for kind, source, begin in ((a, args[0], args[1]), (b, args[2], args[3])):
                at = builder.add(begin, builder.mul(step, _i64(LANES)))
                _ask_ahead(context, builder, kind, source, at, LANES)
                sides.append(_load(context, builder, kind, source, at, LANES))
            return builder.xor(*sides)

        return _sum_popcounts(builder, number, words)

    return types.int64(a, types.intp, b, types.intp, types.intp), generate


@intrinsic
def lanes_of_row(typing: Any, p: Any, a: Any, i: Any, b: Any, j: Any, width: Any, out: Any, at: Any) -> Any:
    """out[at + r] = the bits in which the words a[i + k * p.span] differ from b[j + k * p.span + r],
    k < ``width``, for r < ROWS; out is of any integers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        words, origin = args[1:3]
        span = load_field(context, builder, p, args[0], "span")

        def row(k: Any, q: int) -> Any:
            place = builder.add(origin, builder.mul(k, span))
            return _splat(builder, builder.load(_address(context, builder, a, words, place)), LANES)

        return _count_lanes(context, builder, signature.args, args, row)

    index = types.intp
    return types.void(p, a, index, b, index, index, out, index), generate


@intrinsic
def lanes_of_rows(typing: Any, p: Any, a: Any, i: Any, b: Any, j: Any, width: Any, out: Any, at: Any) -> Any:
    """The same with the words a[i + k * p.span + r], those of another row for each r."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        words, origin = args[1:3]
        span = load_field(context, builder, p, args[0], "span")

        def rows(k: Any, q: int) -> Any:
            place = builder.add(builder.add(origin, builder.mul(k, span)), _i64(q * LANES))
            return _load(context, builder, a, words, place, LANES)

        return _count_lanes(context, builder, signature.args, args, rows)

    index = types.intp
    return types.void(p, a, index, b, index, index, out, index), generate


def _count_lanes(
    context: Any, builder: Any, kinds: Any, args: Any, words_of_a: Callable[[Any, int], Any]
) -> Any:
    record, _, _, others, begin, number, result, destination = args
    span = load_field(context, builder, kinds[0], record, "span")
    zero = ir.Constant(ir.VectorType(_i64, LANES), None)
    counters = [cgutils.alloca_once_value(builder, zero) for _ in range(ROWS // LANES)]
    for counter in counters:
        builder.store(zero, counter)
    with cgutils.for_range(builder, number, intp=_i64) as loop:
        line = builder.add(begin, builder.mul(loop.index, span))
        for q, counter in enumerate(counters):
            lanes = _load(context, builder, kinds[3], others, builder.add(line, _i64(q * LANES)), LANES)
            different = _popcount(builder, builder.xor(words_of_a(loop.index, q), lanes))
            builder.store(builder.add(builder.load(counter), different), counter)
    for q, counter in enumerate(counters):
        sums = builder.load(counter)
        if kinds[6].dtype.bitwidth < 64:
            element = context.get_value_type(kinds[6].dtype)
            sums = builder.trunc(sums, ir.VectorType(element, LANES))
        _store(context, builder, kinds[6], result, builder.add(destination, _i64(q * LANES)), sums)
    return context.get_dummy_value()
