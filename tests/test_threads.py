"""The library survives threads and forks, under every threading layer numba has here."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from conftest import optional

SURVIVAL = Path(__file__).with_name("survival.py")

LAYERS = ("tbb", "omp", "workqueue")

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture
def layer(request: pytest.FixtureRequest) -> str:
    if _survive("layer", request.param).returncode:
        pytest.skip(f"numba has no {request.param} threading layer here")
    return request.param


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or sys.platform not in ("linux", "win32"),
    reason="tbb has no wheel for this system",
)
def test_tbb_is_used_where_its_wheel_is_installed():
    importlib.metadata.version("tbb")
    assert _survive("layer", "default").stdout.split() == ["tbb"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyTorch's threads are not those numba has")
def test_pytorch_lends_its_threads():
    optional("torch")
    survivor = _survive("threads_of_pytorch", "default")
    assert survivor.returncode == 0, survivor.stderr
    layer, added = survivor.stdout.split()
    assert layer == "omp"
    assert int(added) < 3, "as many as four threads of our own would take"


@pytest.mark.parametrize("layer", ["default", *LAYERS], indirect=True)
def test_eight_threads_make_the_first_call_at_once(layer):
    _must_survive("eight_threads", layer)


def test_eight_threads_make_the_first_call_with_nothing_compiled_yet(tmp_path):
    _must_survive("eight_threads", "default", "popcount_sum", NUMBA_CACHE_DIR=str(tmp_path))


@needs_fork
@pytest.mark.parametrize("layer", ["default", *LAYERS], indirect=True)
def test_forked_child_calls_after_its_parent(layer):
    _must_survive("forked_child", layer)


@needs_fork
@pytest.mark.parametrize("layer", LAYERS, indirect=True)
@pytest.mark.parametrize("program", ["fresh_child", "foreign_threads", "fork_while_computing"])
def test_fork_is_survived(program, layer):
    _must_survive(program, layer, "popcount_sum", "xnor_conv2d")


@needs_fork
def test_pool_of_forked_processes():
    _must_survive("process_pool", "default")


@needs_fork
def test_fork_while_another_thread_compiles(tmp_path):
    _must_survive("fork_while_compiling", "default", "popcount_sum", NUMBA_CACHE_DIR=str(tmp_path))


def _must_survive(program: str, layer: str, *operations: str, **settings: str) -> None:
    survivor = _survive(program, layer, *operations, **settings)
    assert survivor.returncode == 0, survivor.stderr


@cache
def _survive(program: str, layer: str, *operations: str, **settings: str) -> subprocess.CompletedProcess[str]:
    # Four threads, so that there are several on a machine of one or two cores too.
    environment = os.environ | {"NUMBA_NUM_THREADS": "4", "NUMBA_THREADING_LAYER": layer} | settings
    return subprocess.run(
        [sys.executable, SURVIVAL, program, *operations],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
