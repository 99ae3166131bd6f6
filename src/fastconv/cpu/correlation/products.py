"""The explicit-SIMD building blocks of conv2d: sums of some filters and pixels, kept in registers."""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastconv.cpu.correlation.lanes import LANES
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


class Pixels(NamedTuple):
    """Pixels: the q-th of them, under weight k, is panel[starts[first + q] + offsets[k]]."""

    panel: Any
    offsets: Any
    starts: Any
    first: int


class Weights(NamedTuple):
    """Weights of blocks of 16 filters side by side: the k-th of all of them begin at weights[start + k *
    (16 * blocks)]."""

    weights: Any
    start: int


PIXELS_OF_TILE = ((8, 10, 8, 6), (10, 6, 2, 2)) if WIDE else ((6, 2, 1, 1), (2, 1, 1, 1))
"""Pixels per tile of 1, 2, 3 and 4 blocks of 16 filters, in float32 and in float64: with weights of all
filters and one pixel, as many sums as registers hold; but no more pixels than there are registers for their
addresses, and no fewer than make sums that need not wait for each other."""


@intrinsic(prefer_literal=True)
def multiply_filters(typing: Any, under: Any, by: Any, to: Any, depth: Any, blocks: Any) -> Any:
    """Sums q of the filters, in ``to``, += the sum over k < ``depth`` of pixel q ``under`` weight k, times
    weights k ``by``, of so many ``blocks`` of 16 filters, known when compiling, and of PIXELS_OF_TILE
    pixels."""
    wide = _literal(blocks, "blocks") * LANES
    (panel, offsets, starts, _), weights, sums = under.types, by.types[0], to.types[0]
    count = PIXELS_OF_TILE[panel.dtype.bitwidth // 64][wide // LANES - 1]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        image, places, begins, first = cgutils.unpack_tuple(builder, args[0])
        factors, begin = cgutils.unpack_tuple(builder, args[1])
        results, target, line = cgutils.unpack_tuple(builder, args[2])
        zero = ir.Constant(ir.VectorType(context.get_value_type(panel.dtype), LANES), None)
        pixels, totals = [], []
        for q in range(count):
            start = builder.load(_address(context, builder, starts, begins, builder.add(first, _i64(q))))
            pixels.append(_address(context, builder, panel, image, start))
            totals.append([cgutils.alloca_once_value(builder, zero) for _ in range(wide // LANES)])
            for total in totals[-1]:
                builder.store(zero, total)
        with cgutils.for_range(builder, args[3], intp=_i64) as loop:
            offset = builder.load(_address(context, builder, offsets, places, loop.index))
            at = builder.add(begin, builder.mul(loop.index, _i64(wide)))
            own = [
                _load(context, builder, weights, factors, builder.add(at, _i64(b)), LANES)
                for b in range(0, wide, LANES)
            ]
            for pixel, sums_of_pixel in zip(pixels, totals, strict=True):
                value = _splat(builder, builder.load(builder.gep(pixel, [offset])), LANES)
                for factor, total in zip(own, sums_of_pixel, strict=True):
                    builder.store(_multiply_add(builder, value, factor, builder.load(total)), total)
            latch = builder.block
        _keep_rolled(builder.module, latch)
        for q, sums_of_pixel in enumerate(totals):
            place = builder.add(target, builder.mul(_i64(q), line))
            for b, total in enumerate(sums_of_pixel):
                at = builder.add(place, _i64(b * LANES))
                before = _load(context, builder, sums, results, at, LANES)
                _store(context, builder, sums, results, at, builder.fadd(before, builder.load(total)))
        return context.get_dummy_value()

    return types.void(under, by, to, types.intp, blocks), generate


def _keep_rolled(module: Any, latch: Any) -> None:
    """Keep LLVM from unrolling the loop that ends with the block ``latch``: it would load the pixels of two
    turns at once, for which there are no registers."""
    off = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    name = module.add_metadata([off, off])
    name.operands = (name, off)  # a loop is named by a node that refers to itself
    latch.terminator.set_metadata("llvm.loop", name)
