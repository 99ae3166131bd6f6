"""What the launcher of kernels costs, and what a second thread wins: at once, rested, beside busy processes.

``python asv_benchmarks/launcher.py [--torch]``; with ``--torch``, on PyTorch's threads, between operations.
Let nothing else run meanwhile. A job is so many microseconds of work on one thread, in eight chunks.
"""

from __future__ import annotations

if __name__ == "__main__":
    from fastconv.programs.ending import begin

    begin("launcher")

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
from numba import carray

from fastconv.cpu.kernels import Job, kernel, record, share
from fastconv.cpu.threads import threads, whose
from fastconv.programs.ending import CannotError, run, say
from fastconv.programs.steps import Step, steps
from fastconv.programs.tables import Entry, table

WORK = (10, 20, 40, 80, 400, 2000)
"""Microseconds of work on one thread."""

COLUMNS = ("one thread → together", "at once", "after 2 ms of rest", "beside two busy processes")
REST = 0.002
BUSY = "while True: pass"


@kernel(record("x out", "size rounds"), x=np.float32, out=np.float32)
def spend(p, chunk, worker):
    """Some time."""
    x, out = carray(p.x, p.size), carray(p.out, p.size)
    first, last = share(p, chunk, p.size)
    for k in range(p.rounds):
        for i in range(first, last):
            out[i] = x[i] * 2 + k


def microseconds(
    call: Callable[[], None], before: Callable[[], None] = lambda: None, calls: int = 400
) -> float:
    """The median of so many calls, each after ``before``."""
    taken = []
    for _ in range(calls):
        before()
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return 1e6 * statistics.median(taken)


def job(chunks: int, rounds: int) -> Callable[[], None]:
    x, out = np.ones(4096, np.float32), np.empty(4096, np.float32)
    return partial(Job(spend, chunks, size=4096, rounds=rounds), x=x, out=out)


def between_operations() -> Callable[[], object]:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise CannotError(f"{error.name} is not installed") from error
    image = torch.randn(256, 256)
    return lambda: image @ image


def main(arguments: Sequence[str] | None = None) -> int:
    return run("launcher", partial(_command, arguments))


def _command(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="launcher", description=__doc__.partition("\n")[0])
    parser.add_argument("--torch", action="store_true", help="between operations of PyTorch")
    before = between_operations() if parser.parse_args(arguments).torch else int
    times: dict[str, list[list[float]]] = {}
    try:
        with steps(2 * len(WORK) + 3) as step:
            _measure(before, times, step)
    finally:
        if times:
            say(_table(times))
    return 0


def _measure(before: Callable[[], object], times: dict[str, list[list[float]]], step: Step) -> None:
    """Add to ``times`` of each job its pairs: at once, rested, beside busy processes."""
    step("how long work takes")
    rounds = 1000 / microseconds(job(1, 1000))
    calls = {"empty": (job(1, 0), job(8, 0))}
    calls |= {f"{work} µs": (job(1, round(work * rounds)), job(8, round(work * rounds))) for work in WORK}
    for name, pair in calls.items():
        step(f"{name}, at once and after a rest")
        times[name] = [pair_of(pair, before), pair_of(pair, rested(before), 150)]
    with ExitStack() as stack:
        for _ in range(2):
            busy = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
            stack.callback(busy.kill)
        time.sleep(1)
        for name, pair in calls.items():
            step(f"{name}, beside two busy processes")
            pair_of(pair, before, 50)  # what is found out about the neighbours is not counted
            times[name].append(pair_of(pair, before, 100))


def _table(times: dict[str, list[list[float]]]) -> str:
    entries = []
    for name, found in times.items():
        cells = [f"{one:.1f} → {together:.1f}, {one / together:.2f}×" for one, together in found]
        entries.append(Entry("", [name, *cells, *[""] * (len(COLUMNS) - 1 - len(cells))]))
    title = f"{threads()} threads, {whose()}; medians in µs"
    return table(COLUMNS, entries, otherwise=100, numbers=COLUMNS, title=title)


def pair_of(
    calls: Sequence[Callable[[], None]], before: Callable[[], object], number: int = 400
) -> list[float]:
    return [microseconds(call, before, number) for call in calls]


def rested(before: Callable[[], object]) -> Callable[[], object]:
    return lambda: (before(), time.sleep(REST))


if __name__ == "__main__":
    sys.exit(main())
