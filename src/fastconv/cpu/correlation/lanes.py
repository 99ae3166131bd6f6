"""The explicit-SIMD building blocks of depthwise layers: vectors of 16 channels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastconv.cpu.simd import PIXELS, _address, _i32, _i64, _literal, _load, _multiply_add, _store

LANES = PIXELS
"""Channels of a vector, of every dtype: what :func:`fastconv.cpu.simd.transpose_block` turns over."""


TILE = 8
"""Pixels of a tile: sums that need not wait for each other."""


class Along(NamedTuple):
    """Pixels of vectors of 16 channels: that of pixel q under tap t begins at panel[starts[first + q] +
    offsets[tap + t]]."""

    panel: Any
    offsets: Any
    tap: int
    starts: Any
    first: int


class Across(NamedTuple):
    """Weights of a vector of 16 filters: those of tap t of channel c of their groups begin at weights[start +
    c * pitch + t * 16]."""

    weights: Any
    start: int
    pitch: int


class Sums(NamedTuple):
    """Sums of a vector of 16 filters: those of pixel q begin at sums[start + q * step]."""

    sums: Any
    start: int | np.int64
    step: int | np.int64


@intrinsic(prefer_literal=True)
def multiply_channels(typing: Any, under: Any, by: Any, before: Any, to: Any, taps: Any, size: Any) -> Any:
    """The sums ``to`` of TILE pixels = those ``before`` + the sum over ``taps``, and over the channels of
    groups of ``size``, known when compiling, of pixels ``under`` a tap, times its weights ``by``: lane k
    meets the channels of the group that it belongs to."""
    count = _literal(size, "size")
    (panel, offsets, _, begins, _), weights, given, sums = (
        under.types,
        by.types[0],
        before.types[0],
        to.types[0],
    )
    masks = [
        ir.Constant(ir.VectorType(_i32, LANES), [_i32(k // count * count + c) for k in range(LANES)])
        for c in range(count)
    ]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def steps(start: Any, step: Any) -> list[Any]:
            return [builder.add(start, builder.mul(step, _i64(q))) for q in range(TILE)]

        image, places, tap, windows, first = cgutils.unpack_tuple(builder, args[0])
        factors, begin, pitch = cgutils.unpack_tuple(builder, args[1])
        earlier, *from_here = cgutils.unpack_tuple(builder, args[2])
        results, *to_there = cgutils.unpack_tuple(builder, args[3])
        starts = [
            builder.load(_address(context, builder, begins, windows, at)) for at in steps(first, _i64(1))
        ]
        totals = []
        for at in steps(*from_here):
            value = _load(context, builder, given, earlier, at, LANES)
            totals.append(cgutils.alloca_once(builder, value.type))
            builder.store(value, totals[-1])
        with cgutils.for_range(builder, args[4], intp=_i64) as loop:
            here = builder.add(tap, loop.index)
            offset = builder.load(_address(context, builder, offsets, places, here))
            at = builder.add(begin, builder.mul(loop.index, _i64(LANES)))
            own = [
                _load(context, builder, weights, factors, builder.add(at, builder.mul(pitch, _i64(c))), LANES)
                for c in range(count)
            ]
            for place, total in zip(starts, totals, strict=True):
                pixel = _load(context, builder, panel, image, builder.add(place, offset), LANES)
                value = builder.load(total)
                for mask, factor in zip(masks, own, strict=True):
                    channel = pixel if count == 1 else builder.shuffle_vector(pixel, pixel, mask)
                    value = _product_added(builder, channel, factor, value)
                builder.store(value, total)
        for at, total in zip(steps(*to_there), totals, strict=True):
            _store(context, builder, sums, results, at, builder.load(total))
        return context.get_dummy_value()

    return types.void(under, by, before, to, types.intp, size), generate


@intrinsic
def copy_vector(typing: Any, x: Any, start: Any, y: Any, target: Any) -> Any:
    """y[target + k] = x[start + k] for k < 16."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = _load(context, builder, x, args[0], args[1], LANES)
        _store(context, builder, y, args[2], args[3], value)
        return context.get_dummy_value()

    return types.void(x, types.intp, y, types.intp), generate


def _product_added(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, of floats or of integers, which wrap around."""
    if isinstance(a.type.element, ir.IntType):
        return builder.add(builder.mul(a, b), c)
    return _multiply_add(builder, a, b, c)
