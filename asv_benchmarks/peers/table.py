"""What the table is made of: rows that can be measured, targets, and lines with their verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Array = Any  # of NumPy or of CuPy


@dataclass(frozen=True)
class Settings:
    """What the user chose: the time for each side of a row, a smoke test in place of a measurement."""

    seconds: float = 0.15
    quick: bool = False
    largest: int = 28  # growth is measured up to 2**largest elements

    def pick(self, full: Any, quick: Any) -> Any:
        """The size to measure with, or the one that only has to run."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Target:
    """A bound on a value in ``unit``: "×" (times as fast; at_most: times the time), "%", "µs", "s", "MiB"."""

    bound: float
    unit: str = "×"
    at_most: bool = False

    def met_by(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound


@dataclass(frozen=True)
class Line:
    """One line of the table. Times are medians in seconds; ``value`` is in ``unit``, as the target is.

    Lines with a ``cell``, the names of a row and of a column, are a table of values of their own in Markdown.
    """

    section: str
    what: str
    peer: str
    status: str  # met, missed, measured (there is no target), not installed, failed
    ours: float | None = None
    theirs: float | None = None
    value: float | None = None
    unit: str = "×"
    target: float | None = None
    at_most: bool = False
    note: str = ""
    cell: Sequence[str] = ()


@dataclass(frozen=True)
class Row:
    """A row by its name: ``measure`` gives its lines. Rows of one ``group`` share geometric means."""

    section: str
    name: str
    measure: Callable[[Settings, Row], list[Line]]
    group: str = ""


@dataclass(frozen=True)
class Mean:
    """The geometric mean, over the rows of a group, of the ratio to one rival."""

    group: str
    peer: str
    target: Target | None


def judged(
    row: Row,
    peer: str,
    value: float,
    target: Target | None,
    *,
    unit: str = "×",
    ours: float | None = None,
    theirs: float | None = None,
    note: str = "",
) -> Line:
    """A line with its verdict."""
    if target is None:
        return Line(row.section, row.name, peer, "measured", ours, theirs, value, unit, note=note)
    status = "met" if target.met_by(value) else "missed"
    bound = (target.unit, target.bound, target.at_most)
    return Line(row.section, row.name, peer, status, ours, theirs, value, *bound, note)


def mean_line(mean: Mean, section: str, lines: Sequence[Line]) -> Line:
    """The geometric mean of the ratios in ``lines``."""
    ratios = [line.value for line in lines if line.value is not None]
    row = Row(section, f"{mean.group}: geometric mean of {len(ratios)}", lambda settings, row: [])
    if not ratios:
        return Line(section, row.name, mean.peer, "not installed")
    return judged(row, mean.peer, math.exp(sum(map(math.log, ratios)) / len(ratios)), mean.target)
