"""The explicit vectors of counting and packing bits; see :mod:`fastconv.cpu.simd`.

Those that read memory once, from end to end, ask for it early.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastconv.cpu.kernels import load_field
from fastconv.cpu.simd import (
    BLOCK,
    LANES,
    PIXELS,
    _address,
    _i1,
    _i8,
    _i32,
    _i64,
    _literal,
    _load,
    _popcount,
    _prefetch,
    _splat,
    _store,
)

AHEAD = 8192
"""Bytes by which streaming blocks prefetch: two pages, which is where the hardware's prefetchers stop.
Reading 128 MiB on two threads: 43 GB/s without, 49 GB/s with it, 42 GB/s at half or four times as much."""


@intrinsic
def popcount64(typing: Any, x: Any) -> Any:
    """Number of one bits of a uint64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), generate


@intrinsic
def reverse64(typing: Any, x: Any) -> Any:
    """The bits of a uint64 in reverse order."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitreverse(args[0])

    return types.uint64(types.uint64), generate


@intrinsic
def popcount_block(typing: Any, x: Any, start: Any, out: Any, target: Any, ahead: Any) -> Any:
    """out[target + i] = popcount(abs(x[start + i])) for i < 64; out is uint8. What is ``ahead`` elements
    further is asked for."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, index, result, place, further = args
        _ask(context, builder, x, source, builder.add(index, further), BLOCK)
        vector = _magnitude(builder, x.dtype, _load(context, builder, x, source, index, BLOCK))
        counts = _popcount(builder, vector)
        if counts.type.element != _i8:
            counts = builder.trunc(counts, ir.VectorType(_i8, BLOCK))
        _store(context, builder, out, result, place, counts)
        return context.get_dummy_value()

    return types.void(x, types.intp, out, types.intp, types.intp), generate


@intrinsic
def count_ones(typing: Any, x: Any, start: Any, vectors: Any) -> Any:
    """Sum of popcount(abs(x[start + i])) for i < vectors * (64 bytes of elements)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, begin, number = args
        lanes = 512 // x.dtype.bitwidth

        def words(step: Any) -> Any:
            at = builder.add(begin, builder.mul(step, _i64(lanes)))
            _ask_ahead(context, builder, x, source, at, lanes)
            return _magnitude(builder, x.dtype, _load(context, builder, x, source, at, lanes))

        return _sum_popcounts(builder, number, words)

    return types.int64(x, types.intp, types.intp), generate


@intrinsic
def range_bits(typing: Any, x: Any, start: Any, low: Any, span: Any) -> Any:
    """One word: bit i is :func:`in_range` of x[start + i], for i < 64, low and span being numbers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, index, *bounds = args
        _ask_ahead(context, builder, x, source, index, BLOCK)
        vector = _load(context, builder, x, source, index, BLOCK)
        ones = _within(builder, x.dtype, vector, *(_splat(builder, bound, BLOCK) for bound in bounds))
        return builder.bitcast(ones, _i64)

    return types.uint64(x, types.intp, x.dtype, x.dtype), generate


@intrinsic
def range_bits_each(typing: Any, x: Any, start: Any, low: Any, span: Any, first: Any) -> Any:
    """The same with bounds low[first + i] and span[first + i] of their own for each element."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, index, *bounds, at = args
        _ask_ahead(context, builder, x, source, index, BLOCK)
        vector = _load(context, builder, x, source, index, BLOCK)
        low_and_span = (_load(context, builder, low, bound, at, BLOCK) for bound in bounds)
        return builder.bitcast(_within(builder, x.dtype, vector, *low_and_span), _i64)

    return types.uint64(x, types.intp, low, span, types.intp), generate


@intrinsic(prefer_literal=True)
def channel_bits(
    typing: Any, p: Any, start: Any, count: Any, first: Any, vectors: Any, words: Any, target: Any
) -> Any:
    """Pack across planes: words[target + k] = the word whose bit c < ``count`` is :func:`in_range` of
    p.x[start + c * p.channel_step + k], for each pixel k < 16 * ``vectors``, a literal.

    The bounds are those of channel ``first`` + c, or of all channels, as p.differ says.
    """
    columns = _literal(vectors, "vectors")
    dtype = p.kinds["x"].dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        record, begin, channels, channel, _, packed, at = args
        source, low, span, step, differ = (
            load_field(context, builder, p, record, name)
            for name in ("x", "low", "span", "channel_step", "differ")
        )
        zero, one = ir.Constant(ir.VectorType(_i64, PIXELS), None), _splat(builder, _i64(1), PIXELS)
        bits = [cgutils.alloca_once_value(builder, zero) for _ in range(columns)]
        mask = cgutils.alloca_once_value(builder, one)
        builder.store(one, mask)
        for word in bits:
            builder.store(zero, word)
        with cgutils.for_range(builder, channels, intp=_i64) as loop:
            row = builder.add(begin, builder.mul(loop.index, step))
            bit = builder.load(mask)
            builder.store(builder.add(bit, bit), mask)
            c = builder.mul(builder.add(channel, loop.index), differ)
            low_and_span = [
                _splat(builder, builder.load(builder.gep(bounds, [c])), PIXELS) for bounds in (low, span)
            ]
            for q, word in enumerate(bits):
                pixels = _vector_at(builder, source, builder.add(row, _i64(q * PIXELS)), PIXELS)
                ones = _within(builder, dtype, pixels, *low_and_span)
                old = builder.load(word)
                builder.store(builder.select(ones, builder.or_(old, bit), old), word)
        for q, word in enumerate(bits):
            _store(context, builder, words, packed, builder.add(at, _i64(q * PIXELS)), builder.load(word))
        return context.get_dummy_value()

    index = types.intp
    return types.void(p, index, index, index, vectors, words, index), generate


@intrinsic
def in_range(typing: Any, value: Any, low: Any, span: Any) -> Any:
    """Whether key(value) - low, as an unsigned number, is at most ``span``.

    The key of an unsigned integer is itself. Signed integers are the bits of floats, sign and magnitude:
    their keys have the floats' order, both zeros have key 0, and NaNs lie beyond the infinities.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _within(builder, value, *args)

    return types.boolean(value, value, value), generate


@intrinsic
def unpack_block(typing: Any, word: Any, out: Any, start: Any) -> Any:
    """out[start + i] = bit i of the word, for i < 64; out is uint8."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.VectorType(_i1, BLOCK))
        _store(context, builder, out, args[1], args[2], builder.zext(bits, ir.VectorType(_i8, BLOCK)))
        return context.get_dummy_value()

    return types.void(types.uint64, out, types.intp), generate


def _vector_at(builder: Any, pointer: Any, index: Any, lanes: int) -> Any:
    """The integers pointer[index], pointer[index + 1], ..."""
    element = pointer.type.pointee
    kind = ir.VectorType(element, lanes)
    vector = builder.load(builder.bitcast(builder.gep(pointer, [index]), kind.as_pointer()), typ=kind)
    vector.align = element.width // 8
    return vector


def _ask_ahead(context: Any, builder: Any, array_type: Any, array: Any, index: Any, lanes: int) -> None:
    """Prefetch what a stream of ``lanes`` elements at a time reads soon."""
    ahead = _i64(AHEAD * 8 // array_type.dtype.bitwidth)
    _ask(context, builder, array_type, array, builder.add(index, ahead), lanes)


def _ask(context: Any, builder: Any, array_type: Any, array: Any, index: Any, lanes: int) -> None:
    """Prefetch ``lanes`` elements; beyond the array it is harmless."""
    size = array_type.dtype.bitwidth // 8
    pointer = builder.bitcast(_address(context, builder, array_type, array, index), _i8.as_pointer())
    for offset in range(0, lanes * size, 64):
        _prefetch(builder, builder.gep(pointer, [_i64(offset)]))


def _within(builder: Any, dtype: Any, value: Any, low: Any, span: Any) -> Any:
    """:func:`in_range` of a scalar or of each lane."""
    if dtype.signed:
        negative = builder.icmp_signed("<", value, ir.Constant(value.type, None))
        lowest = ir.Constant(value.type, -(2 ** (dtype.bitwidth - 1)))
        value = builder.select(negative, builder.sub(lowest, value), value)
    return builder.icmp_unsigned("<=", builder.sub(value, low), span)


def _magnitude(builder: Any, dtype: Any, vector: Any) -> Any:
    """abs(vector), that of the most negative integer as unsigned."""
    if not dtype.signed:
        return vector
    zero = ir.Constant(vector.type, None)
    return builder.select(builder.icmp_signed("<", vector, zero), builder.sub(zero, vector), vector)


def _sum_popcounts(builder: Any, number: Any, words: Callable[[Any], Any]) -> Any:
    """The one bits of ``number`` vectors of 64 bytes, words(0), words(1), ...

    One vector of sums is enough: adding to it takes one cycle, as the popcount of a vector does.
    """
    sums_type = ir.VectorType(_i64, LANES)
    zero = ir.Constant(sums_type, None)
    sums = cgutils.alloca_once_value(builder, zero)
    builder.store(zero, sums)
    with cgutils.for_range(builder, number, intp=_i64) as loop:
        counts = _popcount(builder, builder.bitcast(words(loop.index), sums_type))
        builder.store(builder.add(builder.load(sums), counts), sums)
    vector = builder.load(sums)
    total = builder.extract_element(vector, _i32(0))
    for lane in range(1, LANES):
        total = builder.add(total, builder.extract_element(vector, _i32(lane)))
    return total
