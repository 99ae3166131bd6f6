"""How a row is measured: the results of all sides are compared, then the sides are timed in turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv import PackedSigns
from fastconv.demo.measure import Pace, deviation, seconds_in_turn
from peers.table import Array, Line, Row, Settings, Target, judged

BLAS_REST = 0.15
"""For sides that call NumPy's BLAS: OpenBLAS's threads spin for about 0.1 s when they are done. With 50 ms
of rest, a layer of PyTorch that came next took 24 ms in place of 0.8 ms."""


class MismatchError(Exception):
    """Both sides computed, and their results differ."""


@dataclass(frozen=True)
class Rival:
    """One thing our time is compared with.

    ``run`` is a call, or the seconds that a measured bound would take, or None for what is not installed.
    ``read`` makes its result comparable to ours: an array, within ``tolerance`` of ours. Without ``read``
    (a copy, a bound) nothing is compared. If our work is only a ``share`` of the rival's, its time is
    scaled to that share.
    """

    name: str
    run: Callable[[], Any] | float | None
    target: Target | None = None
    read: Callable[[Any], Array] | None = np.asarray
    tolerance: Array | float = 0.0
    share: float = 1.0


@dataclass(frozen=True)
class Comparison:
    """Our call and its rivals, on the same problem; ``rest`` as in :class:`Pace`."""

    ours: Callable[[], Any]
    rivals: Sequence[Rival]
    rest: float = 0.005


Clock = Callable[[Sequence[Callable[[], Any]], Settings, float], list[float]]
"""The seconds of each call of a comparison, with its ``rest``."""


def in_turn(calls: Sequence[Callable[[], Any]], settings: Settings, rest: float) -> list[float]:
    return seconds_in_turn(calls, pace(settings, len(calls), rest))


def compared(
    section: str, name: str, make: Callable[[Settings], Comparison], group: str = "", clock: Clock = in_turn
) -> Row:
    """A row that times the sides of ``make(settings)`` in turn."""
    return Row(section, name, lambda settings, row: compare(row, make(settings), settings, clock), group)


def compare(row: Row, comparison: Comparison, settings: Settings, clock: Clock = in_turn) -> list[Line]:
    """Compare the results, then time all sides in turn.

    Raises
    ------
    MismatchError
        If a rival's result is not ours.
    """
    ours = as_array(comparison.ours())
    running: list[Rival] = []
    for rival in comparison.rivals:
        if callable(rival.run):
            running.append(rival)
            _check(row, ours, rival)
    calls = [comparison.ours, *(rival.run for rival in running if callable(rival.run))]
    own, *others = clock(calls, settings, comparison.rest)
    seconds = {id(rival): s for rival, s in zip(running, others, strict=True)}
    return [_line(row, rival, own, seconds.get(id(rival))) for rival in comparison.rivals]


def pace(settings: Settings, sides: int, rest: float = 0.005) -> Pace:
    if settings.quick:
        return Pace(turn=0.0005, total=0.0, rounds=1, least=1)
    return Pace(turn=0.015, total=settings.seconds * sides, rounds=1000, least=3, rest=rest, warm=0.001)


def as_array(result: Any) -> Array:
    values = result.words if isinstance(result, PackedSigns) else result
    return values.get() if hasattr(values, "get") else np.array(values)  # a copy: out= is reused


def _check(row: Row, ours: Array, rival: Rival) -> None:
    if rival.read is None or not callable(rival.run):
        return
    theirs = rival.read(rival.run())
    difference, agrees = deviation(ours, theirs, rival.tolerance)
    if not agrees:
        how = "not comparable" if difference is None else f"off by up to {difference:.3g}"
        raise MismatchError(f"{row.name}: fastconv and {rival.name} disagree, {how}")


def _line(row: Row, rival: Rival, ours: float, theirs: float | None) -> Line:
    if isinstance(rival.run, float):
        theirs = rival.run
    if theirs is None:
        return Line(row.section, row.name, rival.name, "not installed", ours)
    theirs *= rival.share
    unit, at_most = (rival.target.unit, rival.target.at_most) if rival.target else ("×", False)
    value = ours / theirs if at_most else theirs / ours
    return judged(
        row, rival.name, value * 100 if unit == "%" else value, rival.target, ours=ours, theirs=theirs
    )


def rounding(terms: int, dtype: Any = np.float32) -> float:
    """What a float sum of products may be off by, relative to the sum of their magnitudes."""
    return 4 * math.sqrt(terms) * float(np.finfo(dtype).eps)
