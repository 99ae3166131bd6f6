"""What tests really compute: a plugin of pytest that counts results and launches of kernels.

``python -m pytest -p recorder tests/operations/test_xnor.py`` with the environment variable FASTCONV_RECORD
set writes what was counted to the file that it names. While a test runs, the public operations are wrapped
wherever the test finds them: in its module and in ``fastconv``. What operations call among themselves is not
counted.

A *result* is counted by operation, by backend, and by who asked for it: "drawn" by hypothesis, "chosen" by a
test's author, or in a test of "empties", which carries that marker. A *launch* is counted if the result of
the operation around it has elements, outside tests of empties: by kernel, and by whether one thread did it or
all. Launches of binary products are counted as well by what finishes their sums, and by each step of it.
"""

from __future__ import annotations

import ctypes
import functools
import inspect
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import currently_in_test_context

import fastconv
from fastconv.cpu import threads
from fastconv.cpu.kernels import Kernel

OPERATIONS = {
    name: function for name in fastconv.__all__ if inspect.isfunction(function := getattr(fastconv, name))
}

results: Counter[tuple[str, str, str, str]] = Counter()
launches: Counter[tuple[str, ...]] = Counter()
_of_this_call: list[tuple[str, ...]] = []


def watch_launches(note: Callable[..., None]) -> None:
    """Call ``note`` at every launch, with what is told apart of it; there may be several such things."""
    launch = threads.launch

    def watched(job: Any, p: Any) -> None:
        note(job.kernel.name, "parallel" if min(job.chunks, threads.threads()) > 1 else "serial")
        for what in finishing(p):
            note(job.kernel.name, what)
        launch(job, p)

    threads.launch = watched


def finishing(p: Any) -> Iterator[str]:
    """What becomes of the sums of a binary product: who finishes them, and its steps."""
    if not hasattr(p, "by_line"):
        return
    from fastconv.cpu.xnor import steps

    if getattr(p, "packed", 0):
        yield "compared in slices"
        return
    whole = p.groups * p.filters % 64 if hasattr(p, "slices") else p.filters % 8
    if getattr(p, "direct", 0) and whole == 0:
        yield "direct"
        return
    by_line = p.by_line and (p.step_count or not p.finish_rows)
    address = p.finish_lines if by_line else p.finish_rows
    finishers = (kernel for kernel in vars(steps).values() if isinstance(kernel, Kernel))
    yield next(k.name for k in finishers if address in [c.address for c in k._compiled.values()])
    kinds = (ctypes.c_int64 * p.step_count).from_address(p.steps) if p.step_count else ()
    for kind in kinds:
        yield f"{'by line' if by_line else 'by pixel'}: {steps.KINDS[kind]}"


def pytest_configure(config: pytest.Config) -> None:
    watch_launches(lambda *what: _of_this_call.append(what))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Wrap the operations for the time of a test."""
    callspec = getattr(item, "callspec", None)
    backend = callspec.params.get("backend", "numpy") if callspec else "numpy"
    empties = item.get_closest_marker("empties") is not None
    with pytest.MonkeyPatch.context() as patch:
        for name, function in OPERATIONS.items():
            counted = _counted(name, function, backend, empties)
            for place in (fastconv, item.module):
                if getattr(place, name, None) is function:
                    patch.setattr(place, name, counted)
        return (yield)


def pytest_sessionfinish() -> None:
    with open(os.environ["FASTCONV_RECORD"], "w", encoding="utf-8") as file:
        json.dump(
            {
                "results": [[*key, n] for key, n in sorted(results.items())],
                "launches": [[list(key), n] for key, n in sorted(launches.items())],
            },
            file,
        )


def _counted(name: str, function: Any, backend: str, empties: bool) -> Any:
    @functools.wraps(function)
    def counted(*args: Any, **options: Any) -> Any:
        _of_this_call.clear()
        result = function(*args, **options)
        asked = "empties" if empties else "drawn" if currently_in_test_context() else "chosen"
        full = has_elements(result)
        results[name, backend, asked, "full" if full else "empty"] += 1
        if full and not empties:
            launches.update(_of_this_call)
        _of_this_call.clear()
        return result

    return counted


def has_elements(result: Any) -> bool:
    """Whether a result holds at least one number or word."""
    from right_calls import leaves

    return any(0 not in tuple(leaf.shape) for leaf in leaves(result))
