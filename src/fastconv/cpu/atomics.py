"""What the launcher needs of the machine: atomic words, pauses, and calls of C functions by their
addresses."""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_i32, _i64 = ir.IntType(32), ir.IntType(64)

PAUSES: dict[str, tuple[str, list[Any]]] = {
    **dict.fromkeys(("x86_64", "AMD64"), ("llvm.x86.sse2.pause", [])),
    **dict.fromkeys(("aarch64", "arm64"), ("llvm.aarch64.hint", [_i32(1)])),
}
"""The instruction that tells a core that it waits, where it has one, and its operands."""

FUTEX = {"x86_64": 202, "aarch64": 98, "ppc64le": 221, "riscv64": 98}.get(platform.machine(), 0)
"""The number of Linux's system call; 0 where it is not known."""


def _word(builder: Any, base: Any, index: Any) -> Any:
    return builder.gep(builder.inttoptr(base, _i64.as_pointer()), [index])


@intrinsic
def load(typing: Any, base: Any, index: Any) -> Any:
    """The word ``index`` from the address ``base`` on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_word(builder, *args), "seq_cst", 8)

    return types.intp(types.intp, types.intp), generate


@intrinsic
def store(typing: Any, base: Any, index: Any, value: Any) -> Any:
    """Set the word ``index`` from the address ``base`` on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[2], _word(builder, *args[:2]), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


@intrinsic
def add(typing: Any, base: Any, index: Any, value: Any) -> Any:
    """Add to a word; what it was before."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _word(builder, *args[:2]), args[2], "seq_cst")

    return types.intp(types.intp, types.intp, types.intp), generate


@intrinsic
def exchange(typing: Any, base: Any, index: Any, value: Any) -> Any:
    """Set a word; what it was before."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("xchg", _word(builder, *args[:2]), args[2], "seq_cst")

    return types.intp(types.intp, types.intp, types.intp), generate


@intrinsic
def pause(typing: Any) -> Any:
    """Let the other thread of a core go on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if platform.machine() in PAUSES:
            name, operands = PAUSES[platform.machine()]
            kind = ir.FunctionType(ir.VoidType(), [operand.type for operand in operands])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), operands)
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def call_kernel(typing: Any, function: Any, record: Any, chunk: Any, worker: Any) -> Any:
    """Call the kernel at the address ``function``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_i64, _i64, _i64])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), generate


@intrinsic
def futex(typing: Any, syscall: Any, word: Any, operation: Any, value: Any) -> Any:
    """Linux's futex(word, operation, value), by libc's ``syscall`` at that address; ``word`` is an
    address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_i64, [_i64], var_arg=True)
        function = builder.inttoptr(args[0], kind.as_pointer())
        builder.call(function, [_i64(FUTEX), *args[1:], _i64(0), _i64(0), _i64(0)])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), generate


@intrinsic
def nanoseconds(typing: Any, clock_gettime: Any) -> Any:
    """A clock that never goes back, by libc's ``clock_gettime`` at that address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        time = cgutils.alloca_once(builder, _i64, size=2)
        kind = ir.FunctionType(_i32, [_i32, _i64.as_pointer()])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [_i32(1), time])
        seconds, rest = (builder.load(builder.gep(time, [_i64(k)])) for k in range(2))
        return builder.add(builder.mul(seconds, _i64(10**9)), rest)

    return types.intp(types.intp), generate


@intrinsic
def call_openmp(typing: Any, parallel: Any, member: Any, argument: Any, threads: Any) -> Any:
    """GOMP_parallel, at the address ``parallel``: ``member(argument)`` on each of ``threads`` threads."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_i64, _i64, _i32, _i32])
        number = builder.trunc(args[3], _i32)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1], args[2], number, _i32(0)])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), generate


@intrinsic
def call_number(typing: Any, function: Any) -> Any:
    """What the C function at the address gives, an int."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_i32, [])
        return builder.sext(builder.call(builder.inttoptr(args[0], kind.as_pointer()), []), _i64)

    return types.intp(types.intp), generate
