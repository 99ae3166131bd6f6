"""The library survives threads, forks and the end of the process, whosever threads compute."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

import pytest
from conftest import optional

from checkout import SUPPORT
from fastconv.cpu import pool

SURVIVAL = SUPPORT / "survival.py"

WAYS = ("futex", "event", "pytorch")
"""Our own threads, which sleep by a futex or by an event, and PyTorch's."""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
needs_alarm = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no alarms")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    if request.param == "futex" and not (sys.platform == "linux" and pool.FUTEX):
        pytest.skip("this system has no futex")
    if request.param == "pytorch":
        optional("torch")
        if sys.platform != "linux":
            pytest.skip("PyTorch's threads are not used here")
    return str(request.param)


def test_threads_are_our_own_unless_pytorch_lends_its(way):
    whose, number, workers = _survive("whose", way).stdout.rsplit(maxsplit=2)
    assert whose == ("PyTorch's" if way == "pytorch" else "fastconv's own")
    assert int(number) == 4
    assert int(workers) == 3 or way == "pytorch"  # whose threads may have come late


def test_eight_threads_make_the_first_call_at_once(way):
    _must_survive("eight_threads", way)


def test_eight_threads_make_the_first_call_with_nothing_compiled_yet(tmp_path):
    _must_survive("eight_threads", "event", "popcount_sum", NUMBA_CACHE_DIR=str(tmp_path))


@pytest.mark.parametrize("program", ["two_callers", "other_numbers", "no_more_threads"])
def test_callers_go_on(program, way):
    if way == "pytorch" and program != "two_callers":
        pytest.skip("PyTorch's own threads")
    _must_survive(program, way, "popcount_sum", "xnor_conv2d")


def test_other_threads_go_on_where_one_died():
    _must_survive("worker_dies", "event", "popcount_sum", "xnor_conv2d")


def test_our_own_threads_compute_where_pytorchs_come_late():
    optional("torch")
    _must_survive("pytorch_is_late", "pytorch", "popcount_sum", "xnor_conv2d")


@needs_alarm
def test_interrupts_are_survived(way):
    _must_survive("interrupted", way, "popcount_sum", "xnor_conv2d")


@pytest.mark.parametrize("program", ["ends_while_computing", "ends_at_once", "ends_in_exit_handlers"])
def test_processes_end(program, way):
    _must_survive(program, way, "popcount_sum", "xnor_conv2d")


@needs_fork
def test_forked_child_calls_after_its_parent(way):
    _must_survive("forked_child", way)


@needs_fork
@pytest.mark.parametrize("program", ["fresh_child", "fork_while_computing", "thread_pool_in_children"])
def test_fork_is_survived(program, way):
    _must_survive(program, way, "popcount_sum", "xnor_conv2d")


@needs_fork
def test_pool_of_forked_processes(way):
    _must_survive("process_pool", way)


def test_pools_of_other_processes():
    _must_survive("spawned_pools", "futex" if sys.platform == "linux" else "event", "xnor_conv2d")


@needs_fork
def test_fork_while_another_thread_compiles(tmp_path):
    _must_survive("fork_while_compiling", "event", "popcount_sum", NUMBA_CACHE_DIR=str(tmp_path))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"FASTCONV_NUM_THREADS": "3"}, 3),
        ({"FASTCONV_NUM_THREADS": "none"}, 4),
        ({"NUMBA_NUM_THREADS": "2"}, 2),
    ],
    ids=str,
)
def test_the_number_of_threads_can_be_set(settings, expected):
    _, number, _ = _survive("whose", "event", "popcount_sum", **settings).stdout.rsplit(maxsplit=2)
    assert int(number) == expected


def _must_survive(program: str, way: str, *operations: str, **settings: str) -> None:
    survivor = _survive(program, way, *operations, **settings)
    assert survivor.returncode == 0, survivor.stderr
    assert not survivor.stderr, survivor.stderr


@cache
def _survive(program: str, way: str, *operations: str, **settings: str) -> subprocess.CompletedProcess[str]:
    # Four threads, so that there are several on a machine of one or two cores too.
    environment = os.environ | {"NUMBA_NUM_THREADS": "4"} | settings
    return subprocess.run(
        [sys.executable, SURVIVAL, way, program, *operations],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
