"""What the launcher of kernels costs, and what a second thread wins: at once, rested, beside busy processes.

``python asv_benchmarks/launcher.py [--torch]``; with ``--torch``, on PyTorch's threads, between operations.
Let nothing else run meanwhile. A job is so many microseconds of work on one thread, in eight chunks.
"""

from __future__ import annotations

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
from rich.console import Console
from rich.table import Table

from fastconv.cpu.kernels import Job, kernel, record, share
from fastconv.cpu.threads import threads, whose

WORK = (10, 20, 40, 80, 400, 2000)
"""Microseconds of work on one thread."""

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
    import torch

    image = torch.randn(256, 256)
    return lambda: image @ image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--torch", action="store_true", help="between operations of PyTorch")
    before = between_operations() if parser.parse_args().torch else int
    rounds = 1000 / microseconds(job(1, 1000))
    table = Table(title=f"{threads()} threads, {whose()}; medians in µs")
    for column in ("one thread → together", "at once", "after 2 ms of rest", "beside two busy processes"):
        table.add_column(column, justify="right")
    calls = {"empty": (job(1, 0), job(8, 0))}
    calls |= {f"{work} µs": (job(1, round(work * rounds)), job(8, round(work * rounds))) for work in WORK}
    times = {
        name: [pair_of(pair, before), pair_of(pair, rested(before), 150)] for name, pair in calls.items()
    }
    with ExitStack() as stack:
        for _ in range(2):
            busy = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
            stack.callback(busy.kill)
        time.sleep(1)
        for name, pair in calls.items():
            pair_of(pair, before, 50)  # what is found out about the neighbours is not counted
            times[name].append(pair_of(pair, before, 100))
    for name, found in times.items():
        table.add_row(
            name, *(f"{one:.1f} → {together:.1f}, {one / together:.2f}×" for one, together in found)
        )
    Console().print(table)


def pair_of(
    calls: Sequence[Callable[[], None]], before: Callable[[], object], number: int = 400
) -> list[float]:
    return [microseconds(call, before, number) for call in calls]


def rested(before: Callable[[], object]) -> Callable[[], object]:
    return lambda: (before(), time.sleep(REST))


if __name__ == "__main__":
    main()
