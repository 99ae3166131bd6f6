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


def compare(section: str, methods: Sequence[Method], step: Callable[[str], None], rows: list[Row]) -> None:
    """Check and time ``methods``, and add what was found to ``rows``; ratios are to the last method.

    ``step`` hears of every step about to begin. What ends the timing early, once every method has had a turn,
    leaves rows of the turns until then.
    """
    checks = []
    for method in methods:
        step(f"checking {method.name}")
        checks.append(deviation(method.run(), method.expected, method.tolerance))  # compiles, too
    times: list[list[float]] = [[] for _ in methods]
    try:
        take_turns(
            [method.run for method in methods],
            PACE,
            times,
            lambda number: step(f"timing, round {number + 1} of {PACE.rounds}"),
        )
    finally:
        if all(times):
            rows += _rows(section, methods, checks, [statistics.median(taken) for taken in times])


def _rows(
    section: str,
    methods: Sequence[Method],
    checks: Sequence[tuple[float | None, bool]],
    seconds: Sequence[float],
) -> list[Row]:
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


def seconds_in_turn(calls: Sequence[Callable[[], Any]], pace: Pace) -> list[float]:
    """Median time of each call. They take turns (A B A B ...), so that a slow spell hits all of them."""
    times: list[list[float]] = [[] for _ in calls]
    take_turns(calls, pace, times)
    return [statistics.median(taken) for taken in times]


def take_turns(
    calls: Sequence[Callable[[], Any]],
    pace: Pace,
    times: list[list[float]],
    step: Callable[[int], None] = lambda number: None,
) -> None:
    """Add to ``times`` what each call takes in its turns. ``step`` hears of every round about to begin."""
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
