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

from fastconv.bench import binary, filters, gpu, memory, processes, report, trunk
from fastconv.bench.ceilings import relative_speed, widest_registers
from fastconv.bench.facts import cpu_seconds, facts, others, steadiness
from fastconv.bench.model import Line, MismatchError, Row, Settings, mean_line

ROWS_PER_CHECK = 20
"""Rows measured between two looks at the speed of the machine, which take a second each."""


def all_rows() -> list[Row]:
    return [*binary.rows(), *filters.rows(), *memory.rows(), *trunk.rows(), *processes.rows()]


def select(only: str | None, on_gpu: bool = False) -> list[Row]:
    """Rows whose name or section holds the regular expression ``only``."""
    pattern = re.compile(only or "", re.IGNORECASE)
    rows = gpu.rows() if on_gpu else all_rows()
    return [row for row in rows if pattern.search(row.name) or pattern.search(row.section)]


def measure(rows: Sequence[Row], settings: Settings, step: Callable[[str], None]) -> list[Line]:
    """The lines of all rows; after the last row of a group, its geometric means. A row that fails says so."""
    means = [*binary.means(), *filters.means()]
    lines: list[Line] = []
    groups: dict[str, list[Line]] = {}
    for number, row in enumerate(rows):
        step(row.name)
        try:
            measured = row.measure(settings, row)
        except MismatchError as error:
            measured = [Line(row.section, row.name, "", "failed", note=str(error))]
        except Exception as error:
            measured = [Line(row.section, row.name, "", "failed", note=f"{type(error).__name__}: {error}")]
        lines += measured
        if not row.group:
            continue
        groups.setdefault(row.group, []).extend(measured)
        if any(later.group == row.group for later in rows[number + 1 :]):
            continue
        for mean in means:
            if mean.group == row.group:
                of_peer = [line for line in groups[row.group] if line.peer == mean.peer]
                lines.append(mean_line(mean, row.section, of_peer))
    return lines


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
    started, used = time.perf_counter(), cpu_seconds()
    rows = select(only, on_gpu)
    if not rows:
        print(f"fastconv bench: no row is called like {only!r}", file=sys.stderr)
        return 2
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("the machine", total=len(rows) + 1)
        about = gpu.facts() if on_gpu else facts()
        checks_speed = not (settings.quick or on_gpu)  # of the CPU
        speeds: list[float] = []

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
        print(f"fastconv bench: {line.what}: {line.note}", file=sys.stderr)
    return 1 if failed else 0


def _unjudged(line: Line) -> Line:
    return replace(line, status="measured", target=None)


def main_elsewhere() -> None:
    """In a process of its own: a pattern and settings on the command line, JSON on stdout."""
    only, settings = sys.argv[1:]
    with redirect_stdout(sys.stderr):
        lines = measure(select(only), Settings(**json.loads(settings)), lambda name: None)
        registers = widest_registers()
    failed = [line.note for line in lines if line.status == "failed"]
    if failed:
        sys.exit(failed[0])
    print(json.dumps({"registers": registers, "lines": [asdict(line) for line in lines]}))
