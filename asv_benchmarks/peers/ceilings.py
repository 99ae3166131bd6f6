"""What this machine's registers can do at most, measured: popcounts and multiply-adds.

The loops touch no memory. Each thread keeps ``chains`` vectors of 512 bits; in every step, each of them
becomes a function of itself and of a fixed vector, so no step can be skipped or merged with another, and all
chains are independent of each other. How many chains keep the units of a CPU busy depends on its latencies
and its registers: several numbers are tried, and the best rate is the bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

from peers.threads import shared, threads

STEPS = 20_000_000
"""Vector steps of each thread in a call: they take milliseconds, beside which waking a thread is little."""

# A bound of half the true rate was once found in the 30 ms in which another process held a core.
BURSTS, BURST_SECONDS, BURST_REST = 3, 0.05, 0.1
HALVES = 0x3F0000003F000000  # as two float32: v * 0.5 + 0.5 stays near 1, and a denormal number would be slow
CHAINS = (2, 6, 12, 20, 28)  # registers hold 32 vectors of 512 bits with AVX-512, 8 with AVX2
REGISTERS = {"%zmm": 512, "%ymm": 256, "%xmm": 128}
BITS, WORDS, FLOATS = 512, 8, 16  # of one vector

Step = Callable[[Any, Any, Any], Any]  # of LLVM's builder, a vector and the fixed one: the vector after


def popcount_rate() -> float:
    """Sign products per second: an exclusive or, a popcount and an addition for every 512 of them."""
    return BITS * _first_rate(_count_loops)


def multiply_add_rate() -> float:
    """float32 multiply-adds per second."""
    return FLOATS * _first_rate(_multiply_add_loops)


def relative_speed() -> float:
    """The rate of the same loops of popcounts now, as a share of that measured at first."""
    return _best_rate(_count_loops()) / _first_rate(_count_loops)


def widest_registers() -> int:
    """Bits of the widest vector registers that numba's compiler used for the loops of popcounts."""
    code = "".join(text for loop in _count_loops().values() for text in loop.inspect_asm().values())
    return next((bits for name, bits in REGISTERS.items() if name in code), 64)


@cache
def _first_rate(loops: Callable[[], dict[int, Any]]) -> float:
    return _best_rate(loops())


def _best_rate(loops: dict[int, Any]) -> float:
    """Vector steps per second on all threads, of the best of ``loops`` by their numbers of chains."""
    best = 0.0
    for _ in range(BURSTS):
        time.sleep(BURST_REST)
        best = max(best, *(_rate_in_burst(chains, loop) for chains, loop in loops.items()))
    return best


def _rate_in_burst(chains: int, loop: Any) -> float:
    steps, workers, best = STEPS // chains, threads(), 0.0
    run = shared(loop, [(steps, HALVES + worker) for worker in range(workers)])
    burst = time.perf_counter()
    while time.perf_counter() - burst < BURST_SECONDS:
        started = time.perf_counter()
        run()
        best = max(best, steps * chains * workers / (time.perf_counter() - started))
    return best


@cache
def _count_loops() -> dict[int, Any]:
    """In each step v = v + popcount(v xor fixed), of 8 words."""

    def step(builder: Any, vector: Any, fixed: Any) -> Any:
        return builder.add(vector, _call(builder, "llvm.ctpop.v8i64", builder.xor(vector, fixed)))

    return {chains: _loop(chains, ir.VectorType(ir.IntType(64), WORDS), step) for chains in CHAINS}


@cache
def _multiply_add_loops() -> dict[int, Any]:
    """In each step v = v * fixed + fixed, of 16 float32."""

    def step(builder: Any, vector: Any, fixed: Any) -> Any:
        return _call(builder, "llvm.fmuladd.v16f32", vector, fixed, fixed)

    return {chains: _loop(chains, ir.VectorType(ir.FloatType(), FLOATS), step) for chains in CHAINS}


def _call(builder: Any, name: str, *vectors: Any) -> Any:
    kind = vectors[0].type
    function_type = ir.FunctionType(kind, [kind] * len(vectors))
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), vectors)


def _loop(chains: int, kind: Any, step: Step) -> Any:
    """A compiled function of a number of steps and a seed, which gives the sum of all vectors at the end."""

    @intrinsic
    def all_steps(typing: Any, steps: Any, seed: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return _generate(builder, chains, kind, step, *args)

        return types.int64(types.int64, types.int64), generate

    @njit("int64(int64, int64)", nogil=True)
    def loop(steps: int, seed: int) -> int:
        return all_steps(steps, seed)

    return loop


def _generate(builder: Any, chains: int, kind: Any, step: Step, steps: Any, seed: Any) -> Any:
    word = ir.IntType(64)
    words = ir.Constant(ir.VectorType(word, WORDS), ir.Undefined)
    for lane in range(WORDS):
        words = builder.insert_element(words, builder.add(seed, word(lane)), ir.IntType(32)(lane))
    fixed = builder.bitcast(words, kind)
    vectors = [cgutils.alloca_once_value(builder, fixed) for _ in range(chains)]
    for number, vector in enumerate(vectors):
        start = builder.add(words, ir.Constant(words.type, [number] * WORDS))
        builder.store(builder.bitcast(start, kind), vector)
    with cgutils.for_range(builder, steps, intp=word):
        for vector in vectors:
            builder.store(step(builder, builder.load(vector), fixed), vector)
    total = word(0)
    for vector in vectors:
        lanes = builder.bitcast(builder.load(vector), words.type)
        for lane in range(WORDS):
            total = builder.add(total, builder.extract_element(lanes, ir.IntType(32)(lane)))
    return total
