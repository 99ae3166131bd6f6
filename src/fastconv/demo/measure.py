"""Several ways to compute one thing: each checked against what it has to give, all timed in turn."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv._backends import Array


@dataclass(frozen=True)
class Pace:
    """How long to time.

    In its turn, a call that takes less than ``turn`` seconds is made again until the turn is over. There
    are ``rounds`` of turns; they end early after ``total`` seconds, but never before ``least`` rounds.
    Before a turn, the process rests for ``rest`` seconds: threads of the library whose turn it was go on
    spinning for a while, on cores that the next one needs. Then ``warm`` seconds of calls are not counted
    (at least one call, if not 0): they find the caches filled with another's data.
    """

    turn: float
    total: float
    rounds: int
    least: int
    rest: float = 0.0
    warm: float = 0.0


PACE = Pace(turn=0.02, total=8.0, rounds=15, least=3)


@dataclass(frozen=True)
class Method:
    """One way to compute a section's result, and what it has to give."""

    name: str
    threads: int | None  # None: as many as NumPy's BLAS takes
    run: Callable[[], Array]
    expected: Array
    tolerance: Array | float


@dataclass(frozen=True)
class Row:
    """One line of the table; times are medians, of the whole image even where ``scaled_from`` a crop."""

    section: str
    method: str
    threads: int | None
    milliseconds: float
    scaled_from: list[int] | None
    ratio: float
    difference: float | None  # None: not finite, or of another shape
    ok: bool


def compare(section: str, methods: Sequence[Method], step: Callable[[str], None]) -> list[Row]:
    """Check and time ``methods``; ratios are to the last. ``step`` hears of every step about to begin."""
    checks = []
    for method in methods:
        step(f"checking {method.name}")
        checks.append(deviation(method.run(), method.expected, method.tolerance))  # compiles, too
    seconds = seconds_in_turn(
        [method.run for method in methods],
        PACE,
        lambda number: step(f"timing, round {number + 1} of {PACE.rounds}"),
    )
    per_pixel = [s / method.expected.size for s, method in zip(seconds, methods, strict=True)]
    whole = methods[-1].expected
    return [
        Row(
            section=section,
            method=method.name,
            threads=method.threads,
            milliseconds=cost * whole.size * 1e3,
            scaled_from=None if method.expected.shape == whole.shape else list(method.expected.shape),
            ratio=cost / per_pixel[-1],
            difference=difference,
            ok=ok,
        )
        for method, cost, (difference, ok) in zip(methods, per_pixel, checks, strict=True)
    ]


def seconds_in_turn(
    calls: Sequence[Callable[[], Any]], pace: Pace, step: Callable[[int], None] = lambda number: None
) -> list[float]:
    """Median time of each call. They take turns (A B A B ...), so that a slow spell hits all of them.

    ``step`` hears of every round about to begin.
    """
    times: list[list[float]] = [[] for _ in calls]
    started = time.perf_counter()
    for number in range(pace.rounds):
        step(number)
        if number >= pace.least and time.perf_counter() - started > pace.total:
            continue
        for call, taken in zip(calls, times, strict=True):
            if pace.rest:
                time.sleep(pace.rest)
            if pace.warm:
                _turn(call, pace.warm)
            taken += _turn(call, pace.turn)
    return [statistics.median(taken) for taken in times]


def _turn(call: Callable[[], Any], seconds: float) -> list[float]:
    taken = []
    started = end = time.perf_counter()
    while end - started < seconds:
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        taken.append(end - start)
    return taken


def deviation(result: Array, expected: Array, tolerance: Array | float) -> tuple[float | None, bool]:
    """Largest difference (None if it is not finite, or the shapes differ), and whether all are tolerable."""
    if result.shape != expected.shape:
        return None, False
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    difference = np.abs(result.astype(wide) - expected)
    largest = float(difference.max(initial=0))
    return largest if math.isfinite(largest) else None, bool(np.all(difference <= tolerance))
