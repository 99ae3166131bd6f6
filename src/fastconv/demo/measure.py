"""Several ways to compute one thing: each checked against what it has to give, all timed in turn."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fastconv._dispatch import Array

# A method that takes less than TURN_SECONDS is called again until its turn is over. Rounds end early on
# a slow machine, after SECTION_SECONDS, but never before MIN_ROUNDS.
TURN_SECONDS, SECTION_SECONDS, ROUNDS, MIN_ROUNDS = 0.02, 8.0, 15, 3


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
        checks.append(_check(method))  # compiles, too
    seconds = _seconds_in_turn([method.run for method in methods], step)
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


def _check(method: Method) -> tuple[float | None, bool]:
    result = method.run()
    if result.shape != method.expected.shape:
        return None, False
    difference = np.abs(result.astype(np.float64) - method.expected)
    largest = float(difference.max())
    return largest if math.isfinite(largest) else None, bool(np.all(difference <= method.tolerance))


def _seconds_in_turn(calls: Sequence[Callable[[], Array]], step: Callable[[str], None]) -> list[float]:
    """Median time of each call. They take turns (A B A B ...), so that a slow spell hits all of them."""
    times: list[list[float]] = [[] for _ in calls]
    section_start = time.perf_counter()
    for number in range(ROUNDS):
        step(f"timing, round {number + 1} of {ROUNDS}")
        if number >= MIN_ROUNDS and time.perf_counter() - section_start > SECTION_SECONDS:
            continue
        for call, taken in zip(calls, times, strict=True):
            turn_start = end = time.perf_counter()
            while end - turn_start < TURN_SECONDS:
                start = time.perf_counter()
                call()
                end = time.perf_counter()
                taken.append(end - start)
    return [statistics.median(taken) for taken in times]
