"""Counting in slices: the terms of windows in which signs agree, three by three, by full adders of bits."""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastconv.cpu.kernels import load_field
from fastconv.cpu.simd import _address, _i64
from fastconv.cpu.xnor.slices import (
    WORDS,
    _for_each_size,
    _majority,
    _store_vector,
    _vector,
    _vectors,
)


@intrinsic
def count_terms(
    typing: Any, p: Any, strip: Any, at: Any, phase: Any, vectors: Any, slices: Any, to: Any
) -> Any:
    """slices[s * p.slice_pitch + to + k] = slice s of the window whose first word is strip[at + k], for each
    word k of so many ``vectors``; filters begin at word ``phase`` of a pixel. All terms are inside."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        record, array, begin, start, number, target, place = args
        terms = load_field(context, builder, p, record, "terms")
        words, to_words = (
            _address(context, builder, kind, memory, index)
            for kind, memory, index in ((strip, array, begin), (slices, target, place))
        )

        def emit(count: int) -> None:
            with _vectors(context, builder, p, record, number, start) as (offset, phase):
                code = _Count(context, builder, p, record, builder.gep(words, [offset]), phase)
                found = code.generate(count, _i64(0), terms)
                code.store(found, builder.gep(to_words, [offset]))

        _for_each_size(context, builder, p, record, emit)
        return context.get_dummy_value()

    index = types.intp
    return types.void(p, strip, index, index, index, slices, index), generate


@intrinsic
def count_terms_inside(
    typing: Any, p: Any, strip: Any, at: Any, phase: Any, edge: Any, slices: Any, to: Any
) -> Any:
    """The same for one vector at an edge, of which ``edge`` says (first, last, begin, column): terms from
    ``first`` on, before ``last``, are in rows inside; for these words, masks stand in ``column``, and so,
    from ``begin`` on, do the numbers of terms outside."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        record, array, begin, start, where, target, place = args
        first, last, *at_edge = (builder.extract_value(where, k) for k in range(4))
        words = _address(context, builder, strip, array, begin)

        def emit(count: int) -> None:
            code = _Count(context, builder, p, record, words, start, at_edge)
            found = code.generate(count, first, last)
            code.store(found, _address(context, builder, slices, target, place))

        _for_each_size(context, builder, p, record, emit)
        return context.get_dummy_value()

    index = types.intp
    return types.void(p, strip, index, index, edge, slices, index), generate


class _Count:
    """The code that counts the terms of one vector of windows, whose first words ``words`` points to."""

    def __init__(
        self, context: Any, builder: Any, kind: Any, p: Any, words: Any, phase: Any, edge: Any = None
    ) -> None:
        self.builder, self.words, self.edge = builder, words, edge
        self.field = partial(load_field, context, builder, kind, p)
        self.filters = builder.gep(self.field("opposite"), [phase])

    def generate(self, count: int, first: Any, last: Any) -> list[Any]:
        """The slices of terms from ``first`` to ``last``, counted three by three in ``count`` of them."""
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
            total, carry = self._full(builder.load(counters[1]), twos, carry)
            builder.store(total, counters[1])
            for counter in counters[2:]:
                carry = self._half(counter, carry)
        done = builder.mul(threes, _i64(3))
        with cgutils.for_range(builder, builder.sub(terms, done), intp=_i64) as loop:
            carry = self._agree(builder.add(builder.add(first, done), loop.index))
            for counter in counters:
                carry = self._half(counter, carry)
        return [starts[0], *(builder.load(counter) for counter in counters)]

    def store(self, slices: list[Any], target: Any) -> None:
        """Store slices from where ``target`` points on."""
        pitch = self.field("slice_pitch")
        for s, words in enumerate(slices):
            _store_vector(self.builder, self.builder.gep(target, [self.builder.mul(pitch, _i64(s))]), words)

    def _agree(self, term: Any) -> Any:
        """Where signs agree in a term that is inside; filters are of the opposite signs."""
        builder = self.builder
        place = builder.load(builder.gep(self.field("places"), [term]))
        word = _vector(builder, builder.gep(self.words, [place]))
        opposite = _vector(
            builder, builder.gep(self.filters, [builder.mul(term, self.field("filter_pitch"))])
        )
        same = builder.xor(word, opposite)
        if not self.edge:
            return same
        mask = builder.load(builder.gep(self.field("mask_places"), [term]))
        mask = builder.add(mask, self.edge[1])
        return builder.and_(same, _vector(builder, builder.gep(self.field("masks"), [mask])))

    def _outside(self, s: int) -> Any:
        """Slice s of the numbers of terms outside."""
        builder = self.builder
        begin, column = self.edge
        row = builder.add(begin, builder.mul(self.field("mask_pitch"), _i64(s)))
        return _vector(builder, builder.gep(self.field("outsides"), [builder.add(row, column)]))

    def _full(self, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
        """The sum of three bits, and what is carried."""
        builder = self.builder
        return builder.xor(builder.xor(a, b), c), _majority(builder, a, b, c)

    def _half(self, counter: Any, bit: Any) -> Any:
        """Add a bit to a slice; what is carried."""
        builder = self.builder
        old = builder.load(counter)
        builder.store(builder.xor(old, bit), counter)
        return builder.and_(old, bit)
