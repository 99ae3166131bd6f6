"""One thread or all of them: another form of each kernel, the same result."""

from __future__ import annotations

import importlib
import pkgutil
from time import perf_counter

import numpy as np
import pytest

import fastconv
from fastconv import reference
from right_calls import CALLS, LARGE, assert_agree, leaves
from thread_bounds import ALL_THREADS, BOUNDS, ONE_THREAD, bounds, dealt_out


def test_the_table_of_bounds_is_complete():
    found = {}
    for module in pkgutil.walk_packages(fastconv.__path__, "fastconv."):
        if module.name.startswith("fastconv.cpu."):
            constants = vars(importlib.import_module(module.name))
            found[module.name] = {name for name in constants if name.startswith(("SMALL", "SERIAL"))}
    found["fastconv.cpu.threads"] -= {"SMALL"}  # which others import
    assert {module: set(names) for module, names in BOUNDS.items()} == {m: n for m, n in found.items() if n}


@pytest.mark.parametrize("name", CALLS)
def test_all_threads_give_what_one_gives(name):
    call = CALLS[name]
    for seed in range(5):
        arrays = call.arrays(seed)
        with bounds(ONE_THREAD):
            alone = leaves(call.call(fastconv, *arrays))
        with bounds(ALL_THREADS):
            together = leaves(call.call(fastconv, *arrays))
        for given, expected in zip(together, alone, strict=True):
            np.testing.assert_array_equal(given, expected, strict=True)


@pytest.mark.parametrize("name", LARGE)
def test_each_worker_writes_into_scratch_of_its_own(name):
    """Whether or not they meet: what one worker uses, all of them do, each in its place."""
    call = LARGE[name]
    arrays = call.arrays()
    with bounds(ALL_THREADS), dealt_out() as scratch:
        given = leaves(call.call(fastconv, *arrays))
    assert_agree(given, leaves(call.call(reference, *arrays)))
    for name, written in scratch:
        assert len(set(written)) == 1, f"{name}: {written}"


SECONDS = 0.5
"""How long to call again and again, so that on a busy machine, too, several threads meet."""


@pytest.mark.parametrize("name", LARGE)
def test_threads_keep_out_of_each_others_memory(name):
    call = LARGE[name]
    arrays = call.arrays()
    expected = leaves(call.call(reference, *arrays))
    with bounds(ALL_THREADS):
        end = perf_counter() + SECONDS
        while perf_counter() < end:
            assert_agree(leaves(call.call(fastconv, *arrays)), expected)
