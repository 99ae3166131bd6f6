"""Measure the rows that were asked for, and report."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import asdict, replace

from fastconv.programs.ending import CannotError, say, stop_if_asked, tell
from fastconv.programs.files import STANDARD_OUTPUT, write
from fastconv.programs.steps import steps
from peers import (
    bits,
    correlation,
    crossover,
    gpu,
    networks,
    patches,
    processes,
    report,
    small_calls,
    trunk,
    xnor,
)
from peers.ceilings import relative_speed, widest_registers
from peers.compare import MismatchError
from peers.facts import cpu_seconds, facts, others, steadiness
from peers.table import Line, Row, Settings, mean_line

ROWS_PER_CHECK = 20
"""Rows measured between two looks at the speed of the machine, which take a second each."""


def all_rows() -> list[Row]:
    nouns = (xnor, correlation, bits, patches)
    return [
        row
        for source in (*nouns, small_calls, trunk, networks, crossover, processes)
        for row in source.rows()
    ]


LISTS = {
    "cpu": all_rows,
    "gpu": gpu.rows,
    "trunk": trunk.rows_here,
    "networks": networks.rows_here,
    "networks on one thread": networks.rows_on_one_thread,
    "crossover": crossover.rows_here,
}
"""The lists of rows by name; those after the first two are measured elsewhere by all_rows."""


def select(only: str | None, rows: str = "cpu") -> list[Row]:
    """Rows of a list whose name or section holds the regular expression ``only``."""
    pattern = re.compile(only or "", re.IGNORECASE)
    return [row for row in LISTS[rows]() if pattern.search(row.name) or pattern.search(row.section)]


def measure(rows: Sequence[Row], settings: Settings, step: Callable[[str], None]) -> Iterator[Line]:
    """The lines of all rows, each when its row has been measured; after the last row of a group, its
    geometric means. A row that fails says so."""
    groups: dict[str, list[Line]] = {}
    for number, row in enumerate(rows):
        step(row.name)
        measured = _measure(row, settings)
        stop_if_asked()
        yield from measured
        if row.group:
            groups.setdefault(row.group, []).extend(measured)
            if not any(later.group == row.group for later in rows[number + 1 :]):
                yield from _means(row, groups[row.group])


def _measure(row: Row, settings: Settings) -> list[Line]:
    try:
        return row.measure(settings, row)
    except MismatchError as error:
        note = str(error)
    except Exception as error:
        note = f"{type(error).__name__}: {error}"
    return [Line(row.section, row.name, "", "failed", note=" ".join(note.split()))]


def _means(row: Row, lines: Sequence[Line]) -> list[Line]:
    """The geometric means over the group of ``row``, whose ``lines`` these are; none where no line has a
    ratio to a rival."""
    means = [mean for mean in (*xnor.means(), *correlation.means()) if mean.group == row.group]
    of_each = [[line for line in lines if line.peer == mean.peer] for mean in means]
    return [
        mean_line(mean, row.section, chosen)
        for mean, chosen in zip(means, of_each, strict=True)
        if any(line.value is not None for line in chosen)
    ]


def run(
    only: str | None,
    settings: Settings,
    *,
    on_gpu: bool = False,
    json_file: str | None = None,
    markdown_file: str | None = None,
) -> int:
    """Measure; the table on standard output, progress on standard error, and the files that were asked for.

    A file called "-" is standard output, which then has no table.

    Returns
    -------
    int
        0; 1 if a row failed, or sides disagreed. A missed target is no failure: it is what the table is there
        to say.

    Raises
    ------
    CannotError
        If ``only`` selects nothing, or a file cannot be written.
    KeyboardInterrupt
        If a signal ends it early; what was measured until then has been printed and written.
    """
    rows = select(only, "gpu" if on_gpu else "cpu")
    if not rows:
        raise CannotError(f"no row is called like {only!r}")
    about: dict[str, str] = {}
    lines: list[Line] = []
    stopped: BaseException | None = None
    try:
        _measure_all(rows, settings, on_gpu, about, lines)
    except (KeyboardInterrupt, BrokenPipeError) as error:
        stopped = error
        about["stopped"] = "before the end: rows that would follow these are missing"
    if settings.quick:
        about["quick"] = "tiny problems, timed once: shows that every row runs; judges no speed"
        lines = [line if line.status in ("failed", "not installed") else _unjudged(line) for line in lines]
    _report(about, lines, json_file, markdown_file)
    if stopped:
        raise stopped
    failed = [line for line in lines if line.status == "failed"]
    for line in failed:
        tell(f"peers: {line.what}: {line.note}")
    return 1 if failed else 0


def _report(
    about: dict[str, str], lines: Sequence[Line], json_file: str | None, markdown_file: str | None
) -> None:
    """Files first, then the table; each of them even if another cannot be written."""
    with ExitStack() as stack:
        if STANDARD_OUTPUT not in (json_file, markdown_file):
            stack.callback(lambda: say(report.text(about, lines)))
        if markdown_file:
            stack.callback(lambda: write(markdown_file, report.markdown(about, lines)))
        if json_file:
            content = {"facts": about, "lines": [asdict(line) for line in lines]}
            as_json = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            stack.callback(lambda: write(json_file, as_json))


def _measure_all(
    rows: Sequence[Row], settings: Settings, on_gpu: bool, about: dict[str, str], lines: list[Line]
) -> None:
    """Add to ``lines``, and to ``about`` what there is to know of the machine meanwhile."""
    started, used = time.perf_counter(), cpu_seconds()
    checks_speed = not (settings.quick or on_gpu)  # of the CPU
    speeds: list[float] = []
    begun = 0
    with steps(len(rows) + 1) as tell_of:

        def step(name: str) -> None:
            nonlocal begun
            tell_of(name)
            begun += 1
            if checks_speed and begun % ROWS_PER_CHECK == 0:
                speeds.append(relative_speed())

        tell_of("the machine")
        about |= gpu.facts() if on_gpu else facts()
        lines.extend(measure(rows, settings, step))  # those until it is stopped
        if checks_speed:
            about["speed"] = steadiness([*speeds, relative_speed()])
    elapsed = time.perf_counter() - started
    about["other processes"] = others(used, cpu_seconds(), elapsed)
    about["seconds in all"] = f"{elapsed:.0f}"


def _unjudged(line: Line) -> Line:
    return replace(line, status="measured", target=None)


def main_elsewhere() -> None:
    """In a process of its own: a list, a pattern and settings on the command line, JSON on stdout.

    A row that fails is a line of it, as in the process that asked.
    """
    rows, only, settings = sys.argv[1:]
    with redirect_stdout(sys.stderr):
        lines = list(measure(select(only, rows), Settings(**json.loads(settings)), lambda name: None))
        registers = widest_registers()
    print(json.dumps({"registers": registers, "lines": [asdict(line) for line in lines]}))
