"""What this machine can do at most, measured: popcounts, multiply-adds, bytes copied, bytes written.

The loops of arithmetic touch no memory. Each thread keeps ``chains`` vectors of 512 bits; in every step,
each of them becomes a function of itself and of a fixed vector, so no step can be skipped or merged with
another, and all chains are independent of each other. How many chains keep the units of a CPU busy depends
on its latencies and its registers: several numbers are tried, and the best rate is the bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastconv._backends import Array
from fastconv.cpu._threads import threads

STEPS = 1_000_000
# A bound of half the true rate was once found in the 30 ms in which another process held a core.
BURSTS, BURST_SECONDS, BURST_REST = 3, 0.05, 0.1
HALVES = 0x3F0000003F000000  # as two float32: v * 0.5 + 0.5 stays near 1, and a denormal number would be slow
CHAINS = (2, 6, 12, 20, 28)  # registers hold 32 vectors of 512 bits with AVX-512, 8 with AVX2
REGISTERS = {"%zmm": 512, "%ymm": 256, "%xmm": 128}
BITS, FLOATS = 512, 16  # of one vector


def popcount_rate() -> float:
    """Sign products per second: an exclusive or, a popcount and an addition for every 512 of them."""
    return BITS * _best_rate(_count_steps)


def multiply_add_rate() -> float:
    """float32 multiply-adds per second."""
    return FLOATS * _best_rate(_multiply_add_steps)


def relative_speed() -> float:
    """The rate of the same loop of popcounts now, as a share of that measured at first."""
    again: float = _best_rate.__wrapped__(_count_steps)
    return again / _best_rate(_count_steps)


def widest_registers() -> int:
    """Bits of the widest vector registers that numba's compiler used for the loop of popcounts."""
    _count_steps(2, 1, threads(), _sums())
    code = "".join(_count_steps.inspect_asm().values())
    return next((bits for name, bits in REGISTERS.items() if name in code), 64)


@cache
def _best_rate(loop: Any) -> float:
    """Vector steps per second on all threads."""
    workers, sums, best = threads(), _sums(), 0.0
    for _ in range(BURSTS):
        time.sleep(BURST_REST)
        for chains in CHAINS:
            loop(chains, 1, workers, sums)  # compiles
            burst = time.perf_counter()
            while time.perf_counter() - burst < BURST_SECONDS:
                started = time.perf_counter()
                loop(chains, STEPS // chains, workers, sums)
                best = max(best, STEPS // chains * chains * workers / (time.perf_counter() - started))
    return best


def _sums() -> Array:
    """Where each thread puts the sum of its vectors: a cache line and more apart."""
    return np.zeros(threads() * 16, np.int64)


@intrinsic(prefer_literal=True)
def _count(typing: Any, chains: Any, steps: Any, seed: Any) -> Any:
    """``steps`` times v = v + popcount(v xor fixed), for each of ``chains`` vectors of 8 words."""
    if not isinstance(chains, types.IntegerLiteral):
        return None
    kind = ir.VectorType(ir.IntType(64), 8)

    def step(builder: Any, vector: Any, fixed: Any) -> Any:
        return builder.add(vector, _call(builder, "llvm.ctpop.v8i64", builder.xor(vector, fixed)))

    return types.int64(chains, types.int64, types.int64), _chains(chains.literal_value, kind, step)


@intrinsic(prefer_literal=True)
def _multiply_add(typing: Any, chains: Any, steps: Any, seed: Any) -> Any:
    """``steps`` times v = v * fixed + fixed, for each of ``chains`` vectors of 16 float32."""
    if not isinstance(chains, types.IntegerLiteral):
        return None
    kind = ir.VectorType(ir.FloatType(), FLOATS)

    def step(builder: Any, vector: Any, fixed: Any) -> Any:
        return _call(builder, "llvm.fmuladd.v16f32", vector, fixed, fixed)

    return types.int64(chains, types.int64, types.int64), _chains(chains.literal_value, kind, step)


def _chains(chains: int, kind: Any, step: Callable[[Any, Any, Any], Any]) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, steps, seed = args
        word = ir.IntType(64)
        words = ir.Constant(ir.VectorType(word, 8), ir.Undefined)
        for lane in range(8):
            words = builder.insert_element(words, builder.add(seed, word(lane)), ir.IntType(32)(lane))
        fixed = builder.bitcast(words, kind)
        vectors = [cgutils.alloca_once_value(builder, fixed) for _ in range(chains)]
        for number, vector in enumerate(vectors):
            start = builder.add(words, ir.Constant(words.type, [number] * 8))
            builder.store(builder.bitcast(start, kind), vector)
        with cgutils.for_range(builder, steps, intp=word):
            for vector in vectors:
                builder.store(step(builder, builder.load(vector), fixed), vector)
        total = word(0)
        for vector in vectors:
            lanes = builder.bitcast(builder.load(vector), words.type)
            for lane in range(8):
                total = builder.add(total, builder.extract_element(lanes, ir.IntType(32)(lane)))
        return total

    return generate


def _call(builder: Any, name: str, *vectors: Any) -> Any:
    kind = vectors[0].type
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(kind, [kind] * len(vectors)), name
    )
    return builder.call(function, vectors)


@njit(parallel=True)
def _count_steps(chains: int, steps: int, workers: int, sums: Array) -> None:
    for worker in prange(workers):
        seed = HALVES + worker
        if chains == 2:
            sums[worker * 16] = _count(2, steps, seed)
        elif chains == 6:
            sums[worker * 16] = _count(6, steps, seed)
        elif chains == 12:
            sums[worker * 16] = _count(12, steps, seed)
        elif chains == 20:
            sums[worker * 16] = _count(20, steps, seed)
        else:
            sums[worker * 16] = _count(28, steps, seed)


@njit(parallel=True)
def _multiply_add_steps(chains: int, steps: int, workers: int, sums: Array) -> None:
    for worker in prange(workers):
        seed = HALVES + worker
        if chains == 2:
            sums[worker * 16] = _multiply_add(2, steps, seed)
        elif chains == 6:
            sums[worker * 16] = _multiply_add(6, steps, seed)
        elif chains == 12:
            sums[worker * 16] = _multiply_add(12, steps, seed)
        elif chains == 20:
            sums[worker * 16] = _multiply_add(20, steps, seed)
        else:
            sums[worker * 16] = _multiply_add(28, steps, seed)


def copier(source: Array) -> Callable[[], None]:
    """A call that copies ``source`` by ``np.copyto``, a share on each of as many threads as we use."""
    target = np.empty_like(source)
    target.fill(0)
    return _shared(list(zip(_shares(target), _shares(source), strict=True)), np.copyto)


def filler(array: Array) -> Callable[[], None]:
    """A call that writes all of ``array`` by ``np.copyto`` of one number, shared in the same way."""
    return _shared([(share, 0) for share in _shares(array)], np.copyto)


def _shares(array: Array) -> list[Array]:
    return np.array_split(array.reshape(-1), threads())


def _shared(work: list[tuple[Any, Any]], function: Callable[..., None]) -> Callable[[], None]:
    if len(work) == 1:
        return lambda: function(*work[0])
    pool = ThreadPoolExecutor(len(work) - 1)  # the caller does the last share

    def run() -> None:
        waiting = [pool.submit(function, *pair) for pair in work[:-1]]
        function(*work[-1])
        for future in waiting:
            future.result()

    return run
