"""The explicit-SIMD building blocks: numba intrinsics on LLVM vector types.

LLVM turns these into the widest instructions the machine has (VPOPCNTQ and mask registers on AVX-512,
byte shuffles on AVX2 and NEON), so nothing here names a CPU. Each works on elements of flat,
C-contiguous arrays, given as (array, index).
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.core.registry import cpu_target
from numba.extending import intrinsic

LANES = 8
"""64-bit words in 512 bits."""

BLOCK = 64
"""Elements per block in packing: the bits of one word."""

_i1, _i8, _i16, _i32, _i64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))


WIDE = "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2]
"""Whether there are 32 registers of 64 bytes; if not, 16 of 32 bytes are assumed."""

PIXELS = 16
"""Pixels per vector of :func:`channel_bits` and side of the blocks of :func:`transpose_block`."""


def _literal(value: Any, name: str) -> int:
    if not isinstance(value, types.IntegerLiteral):
        raise TypingError(f"{name} must be a literal")
    return int(value.literal_value)


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Pointer to element ``index`` of the flat memory of an array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def _length(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    return context.make_array(array_type)(context, builder, array).nitems


def _load(context: Any, builder: Any, array_type: Any, array: Any, index: Any, lanes: int) -> Any:
    element = context.get_value_type(array_type.dtype)
    pointer = _address(context, builder, array_type, array, index)
    vector_type = ir.VectorType(element, lanes)
    vector = builder.load(builder.bitcast(pointer, vector_type.as_pointer()), typ=vector_type)
    vector.align = array_type.dtype.bitwidth // 8
    return vector


def _store(context: Any, builder: Any, array_type: Any, array: Any, index: Any, vector: Any) -> None:
    pointer = _address(context, builder, array_type, array, index)
    done = builder.store(vector, builder.bitcast(pointer, vector.type.as_pointer()))
    done.align = array_type.dtype.bitwidth // 8


def _splat(builder: Any, value: Any, lanes: int) -> Any:
    """A vector whose lanes all hold ``value``."""
    empty = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(empty, value, _i32(0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(_i32, lanes), None))


def _prefetch(builder: Any, pointer: Any, *, to_write: bool = False) -> None:
    """Ask for the line of the nearest cache that holds what ``pointer`` points to."""
    byte = _i8.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, _i32, _i32, _i32])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    builder.call(prefetch, [builder.bitcast(pointer, byte), _i32(int(to_write)), _i32(3), _i32(1)])


def _popcount(builder: Any, vector: Any) -> Any:
    return _call(builder, f"llvm.ctpop.v{vector.type.count}i{vector.type.element.width}", vector)


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, in one instruction where the machine has one."""
    suffix = "f32" if a.type.element == ir.FloatType() else "f64"
    return _call(builder, f"llvm.fmuladd.v{a.type.count}{suffix}", a, b, c)


def _call(builder: Any, name: str, *vectors: Any) -> Any:
    """Call an LLVM function on vectors of one type, which is also its result's."""
    kind = vectors[0].type
    function_type = ir.FunctionType(kind, [kind] * len(vectors))
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), vectors)


@intrinsic
def peek(typing: Any, x: Any, index: Any) -> Any:
    """x[index] of flat memory, where an index that is negative does not count from the end: looking for that
    takes as long as what strided loops do with an element."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, x, *args))

    return x.dtype(x, types.intp), generate


@intrinsic
def poke(typing: Any, x: Any, index: Any, value: Any) -> Any:
    """x[index] = value, of the dtype of x, likewise."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _address(context, builder, x, *args[:2]))
        return context.get_dummy_value()

    return types.void(x, types.intp, x.dtype), generate


def _turned(builder: Any, rows: list[Any]) -> list[Any]:
    """16 vectors with rows and columns of each block of 16 x 16 exchanged: interleaving row i with row i + 8
    does that in four rounds."""
    width, half = rows[0].type.count, PIXELS // 2
    lanes = [lane + k // 2 + k % 2 * width for lane in range(0, width, PIXELS) for k in range(PIXELS)]
    masks = [ir.Constant(ir.VectorType(_i32, width), [_i32(k + first) for k in lanes]) for first in (0, half)]
    for _ in range(4):
        pairs = zip(rows[:half], rows[half:], strict=True)
        rows = [builder.shuffle_vector(a, b, mask) for a, b in pairs for mask in masks]
    return rows


@intrinsic
def transpose_block(typing: Any, x: Any, start: Any, pitch: Any, out: Any, target: Any, step: Any) -> Any:
    """out[target + j * step + i] = x[start + i * pitch + j] for i, j < 16, both of one dtype."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, begin, line, result, at, spacing = args
        rows = [
            _load(context, builder, x, source, builder.add(begin, builder.mul(line, _i64(i))), PIXELS)
            for i in range(PIXELS)
        ]
        for j, row in enumerate(_turned(builder, rows)):
            _store(context, builder, out, result, builder.add(at, builder.mul(spacing, _i64(j))), row)
        return context.get_dummy_value()

    index = types.intp
    return types.void(x, index, index, out, index, index), generate


@intrinsic(prefer_literal=True)
def interleave(typing: Any, x: Any, start: Any, pitch: Any, rows: Any, out: Any, target: Any) -> Any:
    """out[target + j * rows + i] = x[start + i * pitch + j] for i < ``rows``, a literal, and for as many j as
    64 bytes hold: columns that lie apart, of a few numbers, as rows."""
    count, lanes = _literal(rows, "rows"), 8 * BLOCK // x.dtype.bitwidth

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, begin, line, _, result, at = args
        lines = [
            _load(context, builder, x, source, builder.add(begin, builder.mul(line, _i64(i))), lanes)
            for i in range(count)
        ]
        for q in range(count):
            numbers = [divmod(q * lanes + k, count) for k in range(lanes)]
            mixed = lines[0]
            for i in range(1, count):
                places = [lanes + j if row == i else j if i == 1 else k for k, (j, row) in enumerate(numbers)]
                mask = ir.Constant(ir.VectorType(_i32, lanes), [_i32(k) for k in places])
                mixed = builder.shuffle_vector(mixed, lines[i], mask)
            _store(context, builder, out, result, builder.add(at, _i64(q * lanes)), mixed)
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, rows, out, types.intp), generate


@intrinsic
def fence(typing: Any) -> Any:
    """What was stored is in memory before whatever comes next."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def prefetch(typing: Any, address: Any) -> Any:
    """Ask for the cache line at an address, whether there is memory or not."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _prefetch(builder, builder.inttoptr(args[0], _i8.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.intp), generate


@numba.njit
def copy_line(source, target):
    """target[k] = source[k] for all of ``target``; an assignment to a slice would first look for overlap."""
    for k in range(target.size):
        target[k] = source[k]
