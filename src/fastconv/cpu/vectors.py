"""Vectors as values of compiled code: 64 numbers that are loaded, computed with and stored as one.

LLVM cuts them into the registers that the machine has. A mask is a uint64, a bit for each number.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

from fastconv.cpu.simd import _address, _i32, _i64, _load, _splat, _store

LANES_OF_ROW = 64
"""Numbers of a vector."""


class VectorType(types.Type):
    """64 numbers of one dtype."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype})")


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        element = manager.lookup(kind.dtype).get_value_type()
        super().__init__(manager, kind, ir.VectorType(element, LANES_OF_ROW))


@intrinsic
def load_row(typing: Any, x: Any, start: Any) -> Any:
    """x[start : start + 64]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _load(context, builder, x, args[0], args[1], LANES_OF_ROW)

    return VectorType(x.dtype)(x, types.intp), generate


@intrinsic
def load_some(typing: Any, x: Any, start: Any, count: Any) -> Any:
    """x[start : start + count], and zeros; nothing else is read."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, index, number = args
        kind = ir.VectorType(context.get_value_type(x.dtype), LANES_OF_ROW)
        zeros = ir.Constant(kind, None)
        loaded = cgutils.alloca_once(builder, kind)
        whole = builder.icmp_signed(">=", number, _i64(LANES_OF_ROW))
        with builder.if_else(whole) as (at_once, otherwise):
            with at_once:
                builder.store(_load(context, builder, x, source, index, LANES_OF_ROW), loaded)
            with otherwise:
                pointer = builder.bitcast(_address(context, builder, x, source, index), kind.as_pointer())
                given = [pointer, _i32(_bytes(x)), _first(builder, number), zeros]
                builder.store(_masked(builder, "load", kind, given), loaded)
        return builder.load(loaded)

    return VectorType(x.dtype)(x, types.intp, types.intp), generate


@intrinsic
def store_some(typing: Any, x: Any, start: Any, vector: Any, count: Any) -> Any:
    """x[start : start + count] = the first ``count`` numbers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, index, value, number = args
        whole = builder.icmp_signed(">=", number, _i64(LANES_OF_ROW))
        with builder.if_else(whole) as (at_once, otherwise):
            with at_once:
                _store(context, builder, x, target, index, value)
            with otherwise:
                pointer = _address(context, builder, x, target, index)
                pointer = builder.bitcast(pointer, value.type.as_pointer())
                _masked(
                    builder, "store", value.type, [value, pointer, _i32(_bytes(x)), _first(builder, number)]
                )
        return context.get_dummy_value()

    return types.void(x, types.intp, vector, types.intp), generate


@intrinsic
def repeat(typing: Any, x: Any, index: Any) -> Any:
    """x[index], 64 times."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _splat(builder, builder.load(_address(context, builder, x, *args)), LANES_OF_ROW)

    return VectorType(x.dtype)(x, types.intp), generate


@intrinsic
def zeros_like(typing: Any, vector: Any) -> Any:
    """0, 64 times."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(args[0].type, None)

    return vector(vector), generate


@intrinsic
def as_numbers_of(typing: Any, vector: Any, x: Any) -> Any:
    """Integers as numbers of the dtype of the array ``x``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.sitofp(args[0], ir.VectorType(context.get_value_type(x.dtype), LANES_OF_ROW))

    return VectorType(x.dtype)(vector, x), generate


@intrinsic
def product(typing: Any, a: Any, b: Any) -> Any:
    """a * b."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fmul(*args)

    return a(a, b), generate


@intrinsic
def total(typing: Any, a: Any, b: Any) -> Any:
    """a + b."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*args)

    return a(a, b), generate


@intrinsic
def fused(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        suffix = "f32" if a.dtype.bitwidth == 32 else "f64"
        kind = args[0].type
        name = f"llvm.fma.v{LANES_OF_ROW}{suffix}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
        return builder.call(function, args)

    return a(a, b, c), generate


@intrinsic
def where_negative(typing: Any, condition: Any, a: Any, b: Any) -> Any:
    """a where condition < 0, else b."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        negative = builder.fcmp_ordered("<", args[0], ir.Constant(args[0].type, None))
        return builder.select(negative, *args[1:])

    return a(condition, a, b), generate


@intrinsic
def where_less(typing: Any, a: Any, b: Any) -> Any:
    """b where a < b, else a, which may be NaN: the larger of both."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", *args), args[1], args[0])

    return a(a, b), generate


@intrinsic
def where_greater(typing: Any, a: Any, b: Any) -> Any:
    """b where a > b, else a, which may be NaN: the smaller of both."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args), args[1], args[0])

    return a(a, b), generate


@intrinsic
def larger(typing: Any, a: Any, b: Any) -> Any:
    """b where b > a or b is NaN, else a: what max-pooling makes of a window, number by number."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        one, other = args
        above = builder.fcmp_ordered(">", other, one)
        return builder.select(builder.or_(above, builder.fcmp_unordered("uno", other, other)), other, one)

    return a(a, b), generate


@intrinsic
def reached(typing: Any, a: Any, b: Any) -> Any:
    """The mask of a >= b."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        compare = builder.icmp_signed if isinstance(a.dtype, types.Integer) else builder.fcmp_ordered
        return builder.bitcast(compare(">=", *args), _i64)

    return types.uint64(a, b), generate


@intrinsic
def nonzero(typing: Any, a: Any) -> Any:
    """The mask of integers that are not 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.icmp_unsigned("!=", args[0], ir.Constant(args[0].type, None)), _i64)

    return types.uint64(a), generate


def _bytes(x: Any) -> int:
    return int(x.dtype.bitwidth) // 8


def _first(builder: Any, count: Any) -> Any:
    """The lanes below ``count``."""
    lanes = ir.Constant(ir.VectorType(_i32, LANES_OF_ROW), list(range(LANES_OF_ROW)))
    return builder.icmp_signed("<", lanes, _splat(builder, builder.trunc(count, _i32), LANES_OF_ROW))


def _masked(builder: Any, name: str, kind: Any, args: list[Any]) -> Any:
    """LLVM's masked load or store of vectors of ``kind``."""
    element = {"float": "f32", "double": "f64"}.get(str(kind.element), str(kind.element))
    suffix = f"v{LANES_OF_ROW}{element}"
    result = kind if name == "load" else ir.VoidType()
    function_type = ir.FunctionType(result, [arg.type for arg in args])
    full = f"llvm.masked.{name}.{suffix}.p0{suffix}"
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, full), args)
