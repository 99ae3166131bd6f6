"""Numbers in slices: bit s of 64 numbers is one word, so that arithmetic on words does 64 of them at once.

A window's number is 2 * (terms in which signs agree) + (terms outside the image): from 0 to twice the number
of terms, and a sum of signs, plus the number of terms. Slice 0 is the lowest bit. Slices are rows of words,
one for each word of neighbouring pixels, and a vector has the next words, of one pixel or of several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastconv.cpu.kernels import load_field
from fastconv.cpu.simd import (
    BLOCK,
    WIDE,
    _address,
    _i1,
    _i8,
    _i16,
    _i32,
    _i64,
    _splat,
    _store,
)

COUNTED = {4: _i8, 8: _i16, 12: _i16}
"""How many slices of a counter there is code for, each for windows of up to 2**slices - 1 terms, and the
integers that their sums fit into."""

AT_ONCE = 16 if WIDE else 4
"""Words of a vector: two registers, so that what finds them is done half as often."""

WORDS = ir.VectorType(_i64, AT_ONCE)


def counter_of(terms: int) -> int:
    """The slices of a counter of so many ``terms``, 0 if there is no code for it."""
    return next((count for count in COUNTED if terms < 2**count), 0)


def _for_each_size(context: Any, builder: Any, kind: Any, p: Any, emit: Callable[[int], None]) -> None:
    """The code that ``emit`` makes for a number of slices, for that which the record p has."""
    slices = load_field(context, builder, kind, p, "slices")
    for count in COUNTED:
        with builder.if_then(builder.icmp_signed("==", slices, _i64(count))):
            emit(count)


@contextmanager
def _vectors(
    context: Any, builder: Any, kind: Any, p: Any, number: Any, phase: Any
) -> Iterator[tuple[Any, Any]]:
    """A loop over so many vectors, of words from ``phase`` on: where each begins, and its phase, which is
    below the words of a pixel."""
    depth, step = (load_field(context, builder, kind, p, name) for name in ("depth", "phase_step"))
    place = cgutils.alloca_once(builder, _i64)
    builder.store(phase, place)
    with cgutils.for_range(builder, number, intp=_i64) as loop:
        now = builder.load(place)
        yield builder.mul(loop.index, _i64(AT_ONCE)), now
        after = builder.add(now, step)
        less = builder.sub(after, depth)
        builder.store(builder.select(builder.icmp_signed(">=", less, _i64(0)), less, after), place)


def _majority(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """What two or three bits of three are: c where a and b differ, else a. LLVM makes two instructions of it
    on AVX-512, one of them that of the sum; as it is usually written, with "or", three."""
    return builder.xor(builder.and_(builder.xor(a, b), builder.xor(a, c)), a)


def _vector(builder: Any, pointer: Any) -> Any:
    """The words from a pointer on."""
    vector = builder.load(builder.bitcast(pointer, WORDS.as_pointer()), typ=WORDS)
    vector.align = 8
    return vector


def _store_vector(builder: Any, pointer: Any, vector: Any) -> None:
    builder.store(vector, builder.bitcast(pointer, WORDS.as_pointer())).align = 8


@intrinsic
def lay_out_limits(typing: Any, p: Any, tau: Any, width: Any, limits: Any, to: Any) -> Any:
    """limits[s * p.filter_pitch + to] = slice s, every bit turned over, of the least numbers that reach the
    thresholds of a vector ``tau``: a number that no window has from ``width`` on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        record, values, lanes, target, at = args
        kind = values.type
        terms = builder.trunc(load_field(context, builder, p, record, "terms"), _i32)
        low, high = builder.neg(terms), builder.add(terms, _i32(1))
        low, high = _splat(builder, low, BLOCK), _splat(builder, high, BLOCK)
        values = builder.select(builder.icmp_signed("<", values, low), low, values)
        beyond = builder.icmp_signed(">", values, high)
        places = ir.Constant(kind, list(range(BLOCK)))
        outside = builder.icmp_signed(">=", places, _splat(builder, builder.trunc(lanes, _i32), BLOCK))
        values = builder.select(builder.or_(beyond, outside), high, values)
        numbers = builder.add(values, _splat(builder, terms, BLOCK))
        pitch = load_field(context, builder, p, record, "filter_pitch")

        def emit(count: int) -> None:
            for s in range(count + 1):
                bit = builder.and_(numbers, _splat(builder, _i32(1 << s), BLOCK))
                zeros = builder.icmp_unsigned("==", bit, ir.Constant(kind, None))
                place = builder.add(at, builder.mul(pitch, _i64(s)))
                builder.store(builder.bitcast(zeros, _i64), _address(context, builder, limits, target, place))

        _for_each_size(context, builder, p, record, emit)
        return context.get_dummy_value()

    return types.void(p, tau, types.intp, limits, types.intp), generate


@intrinsic
def compare_slices(
    typing: Any, p: Any, slices: Any, vectors: Any, limits: Any, phase: Any, words: Any, to: Any
) -> Any:
    """words[to + k] = (the numbers of slices[k] >= those of limits) xor flips, for each word k of so many
    ``vectors``, the first of which is of word ``phase`` of a pixel; flips stand behind the limits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        record, numbers, number, least, start, target, place = args
        pitches = [load_field(context, builder, p, record, f"{name}_pitch") for name in ("slice", "filter")]
        zero = _i64(0)
        ours, theirs, to_words = (
            _address(context, builder, kind, memory, index)
            for kind, memory, index in (
                (slices, numbers, zero),
                (limits, least, zero),
                (words, target, place),
            )
        )

        def emit(count: int) -> None:
            with _vectors(context, builder, p, record, number, start) as (offset, phase):

                def row(pointer: Any, index: Any, pitch: Any, s: int) -> Any:
                    index = builder.add(index, builder.mul(pitch, _i64(s)))
                    return _vector(builder, builder.gep(pointer, [index]))

                reached = ir.Constant(WORDS, [-1] * AT_ONCE)
                for s in range(count + 1):  # from the lowest bit on: a higher one decides, if they differ
                    limit = row(theirs, phase, pitches[1], s)  # turned over
                    reached = _majority(builder, row(ours, offset, pitches[0], s), limit, reached)
                flips = row(theirs, phase, pitches[1], count + 1)
                _store_vector(builder, builder.gep(to_words, [offset]), builder.xor(reached, flips))

        _for_each_size(context, builder, p, record, emit)
        return context.get_dummy_value()

    index = types.intp
    return types.void(p, slices, index, limits, index, words, index), generate


@intrinsic
def expand_slices(
    typing: Any, p: Any, slices: Any, word: Any, pixels: Any, y: Any, to: Any, step: Any
) -> Any:
    """y[to + q * step + k] = the sum of signs whose number is bit k of ``word`` of pixel q in slices, for
    each of so many ``pixels`` and k < 64; int32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        record, numbers, first, number, target, place, apart = args
        pitch, terms, depth = (
            load_field(context, builder, p, record, name) for name in ("slice_pitch", "terms", "depth")
        )
        words = _address(context, builder, slices, numbers, first)

        def emit(count: int) -> None:
            narrow = COUNTED[count]
            least = _splat(builder, builder.trunc(builder.neg(terms), narrow), BLOCK)
            with cgutils.for_range(builder, number, intp=_i64) as loop:
                sums, pixel = least, builder.mul(loop.index, depth)
                for s in range(count + 1):
                    index = builder.add(pixel, builder.mul(pitch, _i64(s)))
                    ones = _bits(builder, builder.load(builder.gep(words, [index])))
                    more = builder.add(sums, ir.Constant(sums.type, [1 << s] * BLOCK))
                    sums = builder.select(ones, more, sums)
                at = builder.add(place, builder.mul(loop.index, apart))
                _store(context, builder, y, target, at, builder.sext(sums, ir.VectorType(_i32, BLOCK)))

        _for_each_size(context, builder, p, record, emit)
        return context.get_dummy_value()

    index = types.intp
    return types.void(p, slices, index, index, y, index, index), generate


def _bits(builder: Any, word: Any) -> Any:
    """The bits of a word as 64 conditions."""
    if WIDE:
        return builder.bitcast(word, ir.VectorType(_i1, BLOCK))
    # each byte in 8 lanes, of which each looks at a bit of its own: without masks in registers of their own,
    # LLVM would look at one bit after the other
    eight = builder.bitcast(word, ir.VectorType(_i8, 8))
    lanes = ir.Constant(ir.VectorType(_i32, BLOCK), [_i32(k // 8) for k in range(BLOCK)])
    bytes_ = builder.shuffle_vector(eight, eight, lanes)
    own = ir.Constant(bytes_.type, [1 << k % 8 for k in range(BLOCK)])
    return builder.icmp_unsigned("!=", builder.and_(bytes_, own), ir.Constant(bytes_.type, None))
