"""Measure the rows that were asked for, and report."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from peers import bits, correlation, gpu, patches, processes, report, small_calls, trunk, xnor
from peers.ceilings import relative_speed, widest_registers
from peers.compare import MismatchError
from peers.facts import cpu_seconds, facts, others, steadiness
from peers.table import Line, Row, Settings, mean_line

ROWS_PER_CHECK = 20
"""Rows measured between two looks at the speed of the machine, which take a second each."""


def all_rows() -> list[Row]:
    nouns = (xnor, correlation, bits, patches)
    return [row for source in (*nouns, small_calls, trunk, processes) for row in source.rows()]


LISTS = {"cpu": all_rows, "gpu": gpu.rows, "trunk": trunk.rows_here}
"""The lists of rows by name; the rows of the last one are those that all_rows measures elsewhere."""


def select(only: str | None, rows: str = "cpu") -> list[Row]:
    """Rows of a list whose name or section holds the regular expression ``only``."""
    pattern = re.compile(only or "", re.IGNORECASE)
    return [row for row in LISTS[rows]() if pattern.search(row.name) or pattern.search(row.section)]


def measure(rows: Sequence[Row], settings: Settings, step: Callable[[str], None]) -> list[Line]:
    """The lines of all rows; after the last row of a group, its geometric means. A row that fails says so."""
    lines: list[Line] = []
    groups: dict[str, list[Line]] = {}
    for number, row in enumerate(rows):
        step(row.name)
        measured = _measure(row, settings)
        lines += measured
        if row.group:
            groups.setdefault(row.group, []).extend(measured)
            if not any(later.group == row.group for later in rows[number + 1 :]):
                lines += _means(row, groups[row.group])
    return lines


def _measure(row: Row, settings: Settings) -> list[Line]:
    try:
        return row.measure(settings, row)
    except MismatchError as error:
        note = str(error)
    except Exception as error:
        note = f"{type(error).__name__}: {error}"
    return [Line(row.section, row.name, "", "failed", note=note)]


def _means(row: Row, lines: Sequence[Line]) -> list[Line]:
    """The geometric means over the group of ``row``, whose ``lines`` these are."""
    return [
        mean_line(mean, row.section, [line for line in lines if line.peer == mean.peer])
        for mean in (*xnor.means(), *correlation.means())
        if mean.group == row.group
    ]


def run(
    only: str | None,
    settings: Settings,
    *,
    on_gpu: bool = False,
    json_file: str | None = None,
    markdown_file: str | None = None,
) -> int:
    """Print the table to stdout and progress to stderr; write the files that were asked for.

    Returns
    -------
    int
        0; 1 if a row failed, or sides disagreed; 2 if ``only`` selects nothing. A missed target is no
        failure: it is what the table is there to say.
    """
    rows = select(only, "gpu" if on_gpu else "cpu")
    if not rows:
        print(f"peers: no row is called like {only!r}", file=sys.stderr)
        return 2
    about, lines = _measure_all(rows, settings, on_gpu)
    if settings.quick:
        about["quick"] = "tiny problems, timed once: shows that every row runs; judges no speed"
        lines = [line if line.status in ("failed", "not installed") else _unjudged(line) for line in lines]
    report.print_table(about, lines)
    if json_file:
        content = {"facts": about, "lines": [asdict(line) for line in lines]}
        Path(json_file).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    if markdown_file:
        Path(markdown_file).write_text(report.markdown(about, lines), "utf-8")
    failed = [line for line in lines if line.status == "failed"]
    for line in failed:
        print(f"peers: {line.what}: {line.note}", file=sys.stderr)
    return 1 if failed else 0


def _measure_all(rows: Sequence[Row], settings: Settings, on_gpu: bool) -> tuple[dict[str, str], list[Line]]:
    """What there is to know of the machine meanwhile, and the lines; progress goes to stderr."""
    started, used = time.perf_counter(), cpu_seconds()
    checks_speed = not (settings.quick or on_gpu)  # of the CPU
    speeds: list[float] = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("the machine", total=len(rows) + 1)
        about = gpu.facts() if on_gpu else facts()

        def step(name: str) -> None:
            progress.update(task, advance=1, description=name)
            if checks_speed and progress.tasks[task].completed % ROWS_PER_CHECK == 0:
                speeds.append(relative_speed())

        lines = measure(rows, settings, step)
        if checks_speed:
            about["speed"] = steadiness([*speeds, relative_speed()])
    elapsed = time.perf_counter() - started
    about["other processes"] = others(used, cpu_seconds(), elapsed)
    about["seconds in all"] = f"{elapsed:.0f}"
    return about, lines


def _unjudged(line: Line) -> Line:
    return replace(line, status="measured", target=None)


def main_elsewhere() -> None:
    """In a process of its own: a list, a pattern and settings on the command line, JSON on stdout."""
    rows, only, settings = sys.argv[1:]
    with redirect_stdout(sys.stderr):
        lines = measure(select(only, rows), Settings(**json.loads(settings)), lambda name: None)
        registers = widest_registers()
    failed = [line.note for line in lines if line.status == "failed"]
    if failed:
        sys.exit(failed[0])
    print(json.dumps({"registers": registers, "lines": [asdict(line) for line in lines]}))
