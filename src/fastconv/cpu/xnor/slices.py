"""Numbers in slices: bit s of 64 numbers is one word, so that arithmetic on words does 64 of them at once.

A window's number is 2 * (terms in which signs agree) + (terms outside the image): from 0 to twice the number
of terms, and a sum of signs, plus the number of terms. Slice 0 is the lowest bit. Slices are rows of words,
one for each word of a line of pixels; 8 words, whosever they are, are done in one vector.
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
    WIDE,
    _address,
    _i1,
    _i8,
    _i16,
    _i32,
    _i64,
    _load,
    _splat,
    _store,
)

COUNTED = {4: _i8, 8: _i16, 16: _i32}
"""How many slices of a counter there is code for, each for windows of up to 2**slices - 1 terms, and the
integers that their sums fit into."""

WORDS = ir.VectorType(_i64, LANES)


def counter_of(terms: int) -> int:
    """The slices of a counter of so many ``terms``, 0 if there is no code for it."""
    return next((count for count in COUNTED if terms < 2**count), 0)


def _for_each_size(context: Any, builder: Any, kind: Any, p: Any, emit: Callable[[int], None]) -> None:
    """The code that ``emit`` makes for a number of slices, for that which the record p has."""
    slices = load_field(context, builder, kind, p, "slices")
    for count in COUNTED:
        with builder.if_then(builder.icmp_signed("==", slices, _i64(count))):
            emit(count)


@intrinsic
def count_terms(typing: Any, p: Any, strip: Any, at: Any, phase: Any, slices: Any, to: Any) -> Any:
    """slices[s * p.slice_pitch + to + k] = slice s of the windows whose first word is strip[at + k], for
    k < 8; filters begin at word ``phase``. All terms are inside."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = _Count(context, builder, (p, strip, slices), args)
        terms = load_field(context, builder, p, args[0], "terms")
        _for_each_size(context, builder, p, args[0], lambda count: code.generate(count, _i64(0), terms))
        return context.get_dummy_value()

    index = types.intp
    return types.void(p, strip, index, index, slices, index), generate


@intrinsic
def count_terms_inside(
    typing: Any, p: Any, strip: Any, at: Any, phase: Any, edge: Any, slices: Any, to: Any
) -> Any:
    """The same at an edge, of which ``edge`` says (first, last, begin, column): terms from ``first`` on,
    before ``last``, are in rows inside; for these words, masks stand in ``column``, and so, from ``begin``
    on, do the numbers of terms outside."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first, last, begin, column = (builder.extract_value(args[4], k) for k in range(4))
        code = _Count(context, builder, (p, strip, slices), (*args[:4], *args[5:]), (begin, column))
        _for_each_size(context, builder, p, args[0], lambda count: code.generate(count, first, last))
        return context.get_dummy_value()

    index = types.intp
    return types.void(p, strip, index, index, edge, slices, index), generate


class _Count:
    """The code of :func:`count_terms` and :func:`count_terms_inside`."""

    def __init__(self, context: Any, builder: Any, kinds: Any, args: Any, edge: Any = None) -> None:
        self.context, self.builder, self.edge = context, builder, edge
        self.p_kind, strip_kind, self.slices_kind = kinds
        self.p, strip, at, phase, self.slices, self.to = args
        self.words = _address(context, builder, strip_kind, strip, at)
        self.filters = builder.gep(self._field("opposite"), [phase])
        self.filter_pitch = self._field("filter_pitch")

    def generate(self, count: int, first: Any, last: Any) -> None:
        """Count terms from ``first`` to ``last``, three by three, in so many slices."""
        builder = self.builder
        zero = ir.Constant(WORDS, None)
        starts = [self._outside(s) if self.edge else zero for s in range(count + 1)]
        counters = [cgutils.alloca_once_value(builder, zero) for _ in range(count)]
        for counter, start in zip(counters, starts[1:], strict=True):
            builder.store(start, counter)
        terms = builder.sub(last, first)
        threes = builder.udiv(terms, _i64(3))
        with cgutils.for_range(builder, threes, intp=_i64) as loop:
            term = builder.add(first, builder.mul(loop.index, _i64(3)))
            ones, twos = self._full(*(self._agree(builder.add(term, _i64(k))) for k in range(3)))
            carry = self._half(counters[0], ones)
            if count > 1:
                total, carry = self._full(builder.load(counters[1]), twos, carry)
                builder.store(total, counters[1])
            for counter in counters[2:]:
                carry = self._half(counter, carry)
        done = builder.mul(threes, _i64(3))
        with cgutils.for_range(builder, builder.sub(terms, done), intp=_i64) as loop:
            carry = self._agree(builder.add(builder.add(first, done), loop.index))
            for counter in counters:
                carry = self._half(counter, carry)
        for s, slice_ in enumerate([starts[0], *(builder.load(counter) for counter in counters)]):
            place = builder.add(self.to, builder.mul(self._field("slice_pitch"), _i64(s)))
            _store(self.context, builder, self.slices_kind, self.slices, place, slice_)

    def _agree(self, term: Any) -> Any:
        """Where signs agree in a term that is inside; filters are of the opposite signs."""
        builder = self.builder
        place = builder.load(builder.gep(self._field("places"), [term]))
        word = _vector(builder, builder.gep(self.words, [place]))
        opposite = _vector(builder, builder.gep(self.filters, [builder.mul(term, self.filter_pitch)]))
        same = builder.xor(word, opposite)
        if not self.edge:
            return same
        mask = builder.add(builder.mul(term, self._field("mask_pitch")), self.edge[1])
        return builder.and_(same, _vector(builder, builder.gep(self._field("masks"), [mask])))

    def _outside(self, s: int) -> Any:
        """Slice s of the numbers of terms outside."""
        builder = self.builder
        begin, column = self.edge
        row = builder.add(begin, builder.mul(self._field("mask_pitch"), _i64(s)))
        return _vector(builder, builder.gep(self._field("outsides"), [builder.add(row, column)]))

    def _full(self, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
        """The sum of three bits, and what is carried."""
        builder = self.builder
        either = builder.xor(a, b)
        carry = builder.or_(builder.and_(a, b), builder.and_(either, c))
        return builder.xor(either, c), carry

    def _half(self, counter: Any, bit: Any) -> Any:
        """Add a bit to a slice; what is carried."""
        builder = self.builder
        old = builder.load(counter)
        builder.store(builder.xor(old, bit), counter)
        return builder.and_(old, bit)

    def _field(self, name: str) -> Any:
        return load_field(self.context, self.builder, self.p_kind, self.p, name)


def _vector(builder: Any, pointer: Any) -> Any:
    """8 words from a pointer on."""
    vector = builder.load(builder.bitcast(pointer, WORDS.as_pointer()), typ=WORDS)
    vector.align = 8
    return vector


@intrinsic
def lay_out_limits(typing: Any, p: Any, tau: Any, first: Any, width: Any, limits: Any, to: Any) -> Any:
    """limits[s * p.filter_pitch + to] = slice s of the least numbers that reach tau[first + k], for k < 64: a
    number that no window has from ``width`` on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        record, thresholds, begin, lanes, target, at = args
        kind = ir.VectorType(_i32, BLOCK)
        terms = builder.trunc(load_field(context, builder, p, record, "terms"), _i32)
        low, high = builder.neg(terms), builder.add(terms, _i32(1))
        values = _load(context, builder, tau, thresholds, begin, BLOCK)
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
                ones = builder.icmp_unsigned("!=", bit, ir.Constant(kind, None))
                place = builder.add(at, builder.mul(pitch, _i64(s)))
                builder.store(builder.bitcast(ones, _i64), _address(context, builder, limits, target, place))

        _for_each_size(context, builder, p, record, emit)
        return context.get_dummy_value()

    index = types.intp
    return types.void(p, tau, index, index, limits, index), generate


@intrinsic
def compare_slices(
    typing: Any, p: Any, slices: Any, at: Any, limits: Any, phase: Any, words: Any, to: Any
) -> Any:
    """words[to + k] = (the numbers of slices[at + k] >= those of limits[phase + k]) xor flips, for k < 8;
    flips stand behind the slices of limits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        record, numbers, begin, least, origin, target, place = args
        pitches = [load_field(context, builder, p, record, f"{name}_pitch") for name in ("slice", "filter")]

        def emit(count: int) -> None:
            def row(kind: Any, array: Any, start: Any, pitch: Any, s: int) -> Any:
                index = builder.add(start, builder.mul(pitch, _i64(s)))
                return _load(context, builder, kind, array, index, LANES)

            reached = ir.Constant(WORDS, [-1] * LANES)
            for s in range(count + 1):  # from the lowest bit on: a higher one decides, if they differ
                a = row(slices, numbers, begin, pitches[0], s)
                b = builder.not_(row(limits, least, origin, pitches[1], s))
                reached = builder.or_(builder.and_(a, b), builder.and_(builder.or_(a, b), reached))
            flips = row(limits, least, origin, pitches[1], count + 1)
            _store(context, builder, words, target, place, builder.xor(reached, flips))

        _for_each_size(context, builder, p, record, emit)
        return context.get_dummy_value()

    index = types.intp
    return types.void(p, slices, index, limits, index, words, index), generate


@intrinsic
def expand_slices(typing: Any, p: Any, slices: Any, at: Any, y: Any, to: Any) -> Any:
    """y[to + k] = the sum of signs whose number is bit k of slices[at], for k < 64; int32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        record, numbers, begin, target, place = args
        pitch, terms = (load_field(context, builder, p, record, name) for name in ("slice_pitch", "terms"))

        def emit(count: int) -> None:
            narrow = COUNTED[count]
            least = builder.trunc(builder.neg(terms), narrow)
            sums = _splat(builder, least, BLOCK)
            for s in range(count + 1):
                index = builder.add(begin, builder.mul(pitch, _i64(s)))
                word = builder.load(_address(context, builder, slices, numbers, index))
                more = builder.add(sums, ir.Constant(sums.type, [1 << s] * BLOCK))
                sums = builder.select(_bits(builder, word), more, sums)
            if narrow != _i32:
                sums = builder.sext(sums, ir.VectorType(_i32, BLOCK))
            _store(context, builder, y, target, place, sums)

        _for_each_size(context, builder, p, record, emit)
        return context.get_dummy_value()

    index = types.intp
    return types.void(p, slices, index, y, index), generate


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
