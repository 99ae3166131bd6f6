"""The explicit-SIMD building block of conv2d: sums of some filters and pixels, kept in registers."""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastconv.cpu.simd import WIDE, _address, _i64, _literal, _load, _multiply_add, _splat, _store

VECTOR_BYTES = 64

FILTERS, VECTORS = (8, 3) if WIDE else (4, 1)
"""Filters and vectors of pixels per tile. 24 sums, 3 vectors of pixels and 1 weight fit 32 registers of 64
bytes, and reach 84 % of the peak of multiply-adds on one thread (6 x 4: 79 %, 4 x 6: 72 %); 8, 2 and 1 fit
the 16 registers of 32 bytes."""

FEWER = max(1, VECTORS - 1)
"""Vectors of a tile of what is left, if it is more than one: two of one would load each weight twice."""


class Under(NamedTuple):
    """Pixels under the windows from ``start`` on: the k-th weight of a filter meets them from
    panel[offsets[k] + start] on."""

    panel: Any
    offsets: Any
    start: int


class By(NamedTuple):
    """Filters: weight k of filter f is weights[start + f * step + k]; there are so many ``filters``."""

    weights: Any
    start: int
    step: int
    filters: int


class To(NamedTuple):
    """Sums: those of filter f begin at sums[start + f * pitch]."""

    sums: Any
    start: int
    pitch: int


@intrinsic(prefer_literal=True)
def multiply_tile(typing: Any, under: Any, by: Any, to: Any, depth: Any, filters: Any, vectors: Any) -> Any:
    """Sum p of filter f, in ``to``, += the sum over k < ``depth`` of pixel p ``under`` weight k, times weight
    k ``by`` filter f, for f < ``filters`` and p < ``vectors`` * (64 bytes of elements), both known when
    compiling. Filters that there are not have the weights of the last one."""
    rows, columns = _literal(filters, "filters"), _literal(vectors, "vectors")
    (panel, offsets, _), weights, sums = under.types, by.types[0], to.types[0]
    lanes = 8 * VECTOR_BYTES // panel.dtype.bitwidth

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pixels, places, start = cgutils.unpack_tuple(builder, args[0])
        factors, begin, length, available = cgutils.unpack_tuple(builder, args[1])
        results, target, line = cgutils.unpack_tuple(builder, args[2])
        zero = ir.Constant(ir.VectorType(context.get_value_type(panel.dtype), lanes), None)
        last = builder.sub(available, _i64(1))
        filters_at, counters = [], []
        for f in range(rows):
            row = builder.select(builder.icmp_signed("<", _i64(f), last), _i64(f), last)
            at_row = builder.add(begin, builder.mul(row, length))
            filters_at.append(_address(context, builder, weights, factors, at_row))
            counters.append([cgutils.alloca_once_value(builder, zero) for _ in range(columns)])
            for counter in counters[-1]:
                builder.store(zero, counter)
        with cgutils.for_range(builder, args[3], intp=_i64) as loop:
            offset = builder.load(_address(context, builder, offsets, places, loop.index))
            place = builder.add(start, offset)
            loaded = [
                _load(context, builder, panel, pixels, builder.add(place, _i64(v * lanes)), lanes)
                for v in range(columns)
            ]
            for weight, own in zip(filters_at, counters, strict=True):
                factor = _splat(builder, builder.load(builder.gep(weight, [loop.index])), lanes)
                for vector, counter in zip(loaded, own, strict=True):
                    builder.store(_multiply_add(builder, vector, factor, builder.load(counter)), counter)
        for f, own in enumerate(counters):
            for v, counter in enumerate(own):
                place = builder.add(target, builder.add(builder.mul(_i64(f), line), _i64(v * lanes)))
                total = builder.fadd(
                    _load(context, builder, sums, results, place, lanes), builder.load(counter)
                )
                _store(context, builder, sums, results, place, total)
        return context.get_dummy_value()

    return types.void(under, by, to, types.intp, filters, vectors), generate
