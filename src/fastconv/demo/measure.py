"""Several ways to compute one thing: each checked against what it has to give, all timed in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastconv._backends import Array
from fastconv._measure import Pace, deviation, seconds_in_turn

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
