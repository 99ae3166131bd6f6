"""A test of tests: what is drawn computes something, on every backend.

The tests of a noun run in a process of their own, where ``support/recorder.py`` counts what they compute.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest
from conftest import needs_gpu_or_compiler, optional

from checkout import ROOT, SUPPORT
from recorder import OPERATIONS

pytestmark = pytest.mark.census
NOUNS = ("bits", "correlation", "patches", "xnor")
AT_LEAST_FULL = 0.9
DRAWS = 50
"""Calls that hypothesis must make of an operation at least; each property has 60 examples."""

LAUNCHES = 10
"""Launches that yield something, of every kernel and in both ways."""

ONE_WAY = {"window_means"}
"""Kernels that all threads run whatever the size."""


@pytest.fixture(scope="module", params=NOUNS)
def noun(request):
    return request.param


@pytest.fixture(scope="module")
def counted(noun, backend, request, tmp_path_factory):
    """What the tests of a noun compute on a backend."""
    if backend.namespace == "cupy":
        needs_gpu_or_compiler(request.config)
    elif backend.namespace == "torch":
        optional("torch")
    return run_and_count(noun, backend.namespace, tmp_path_factory.mktemp("census") / "record.json")


def run_and_count(noun, backend, record):
    files = sorted(map(str, (ROOT / "tests" / "operations").glob(f"test_{noun}*.py")))
    files.append(str(ROOT / "tests" / "operations" / "test_empties.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "recorder", "-p", "no:cacheprovider", *files]
    path = os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, "-k", f"[{backend}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path, "FASTCONV_RECORD": str(record)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(record.read_text())


def operations_of(noun):
    return [name for name, function in OPERATIONS.items() if function.__module__ == f"fastconv.{noun}"]


def test_nine_of_ten_drawn_results_have_elements(noun, backend, counted):
    found = Counter()
    for name, namespace, asked, fullness, count in counted["results"]:
        if namespace == backend.namespace and asked == "drawn":
            found[name, fullness] += count
    for name in operations_of(noun):
        full, empty = found[name, "full"], found[name, "empty"]
        assert full + empty >= DRAWS, f"{name} is drawn {full + empty} times"
        assert full >= AT_LEAST_FULL * (full + empty), f"{name}: {empty} of {full + empty} have no elements"


def test_nothing_is_tested_too(noun, backend, counted):
    empties = {name for name, namespace, asked, _, _ in counted["results"] if asked == "empties"}
    assert set(operations_of(noun)) <= empties


def test_kernels_are_launched_by_one_thread_and_by_all(noun, backend, counted):
    """Of a kernel that a noun's tests launch at all; a table of the dispatcher's rows will ask for more."""
    if backend.namespace != "numpy":
        pytest.skip("only kernels of NumPy's arrays run either way")
    times = Counter({tuple(kernel): count for kernel, count in counted["launches"]})
    assert times
    for kernel in {name for name, _ in times} - ONE_WAY:
        for way in ("serial", "parallel"):
            assert times[kernel, way] >= LAUNCHES, f"{kernel} is launched {times[kernel, way]} times, {way}"


def test_every_noun_has_its_operations():
    assert sorted(name for noun in NOUNS for name in operations_of(noun)) == sorted(OPERATIONS)
