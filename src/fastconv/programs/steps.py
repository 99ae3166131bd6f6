"""Progress on standard error: a bar on a terminal, elsewhere a line for each step as it begins."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from fastconv.programs.ending import stop_if_asked, tell
from fastconv.programs.lines import folded

Step = Callable[[str], None]
"""Called with a description as a step begins."""


@contextmanager
def steps(total: int) -> Iterator[Step]:
    """Tell of ``total`` steps. Steps of the same description that follow each other are one line."""
    if sys.stderr is not None and sys.stderr.isatty():
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("", total=total)

            def show(description: str) -> None:
                stop_if_asked()
                progress.update(task, advance=1, description=description)

            yield show
    else:
        yield _lines(total)


def _lines(total: int) -> Step:
    started, number, last = time.perf_counter(), 0, ""

    def show(description: str) -> None:
        nonlocal number, last
        stop_if_asked()
        number += 1
        if description != last:
            last = description
            where = f"{number:{len(str(total))}}/{total}, {time.perf_counter() - started:.0f} s:"
            tell("\n".join(folded(f"{where} {description}")))

    return show
