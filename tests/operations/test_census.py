"""A test of tests: what is drawn computes something, on every backend.

The tests of a noun run in a process of their own, where ``support/recorder.py`` counts what they compute.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from collections import Counter

import pytest
from conftest import needs_gpu_or_compiler, optional

from checkout import ROOT, SUPPORT
from fastconv._epilogue import PARAMETERS
from fastconv.cpu.kernels import Kernel
from fastconv.cpu.xnor import steps
from recorder import OPERATIONS

pytestmark = pytest.mark.census
NOUNS = ("bits", "correlation", "patches", "xnor")
AT_LEAST_FULL = 0.9
DRAWS = 50
"""Calls that hypothesis must make of an operation at least; each property has 60 examples."""

CHUNK_AND_WORKER = 2
"""What kernels that are launched take besides their record."""

NOT_OF_OPERATIONS = {"follow_rows"}
"""Kernels that deployed networks launch, and no operation: see test_xnor_channelwise.py."""

LAUNCHES = 10
"""Launches that yield something, of every kernel in every way."""

FINISHED = {
    "multiply_words": (
        "direct", "integer_rows", "integer_rows_turned", "compared_rows", "number_rows", "number_lines",
    ),
    "count_slices": (
        "compared in slices", "direct", "integer_rows", "integer_rows_turned", "compared_rows",
        "number_rows", "number_lines",
    ),
    "multiply_planes": ("integer_rows", "integer_lines", "compared_rows", "number_rows", "number_lines"),
}  # fmt: skip
"""By what finishes the sums of each kernel of binary products."""

STEPS = [
    f"{way}: {kind}"
    for way in ("by line", "by pixel")
    for kind in PARAMETERS
    if kind not in ("affine", "fused")
]
"""Steps that faces ask for, on vectors of pixels and of filters."""


@pytest.fixture(scope="module", params=[pytest.param(n, marks=pytest.mark.xdist_group(n)) for n in NOUNS])
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


def kernels_of(noun):
    """All kernels of a noun that are launched, rather than called by others."""
    package = importlib.import_module(f"fastconv.cpu.{noun}")
    names = [m.name for m in pkgutil.iter_modules(getattr(package, "__path__", []), f"{package.__name__}.")]
    modules = [package, *map(importlib.import_module, names)]
    found = [k for module in modules for k in vars(module).values() if isinstance(k, Kernel)]
    return {
        k.name
        for k in found
        if k.function.__module__.startswith(package.__name__) and k._arguments == CHUNK_AND_WORKER
    }


def test_every_kernel_is_launched_in_every_way(noun, backend, counted):
    if backend.namespace != "numpy":
        pytest.skip("these kernels are those of NumPy's arrays")
    times = Counter({tuple(kernel): count for kernel, count in counted["launches"]})
    wanted = {
        (kernel, way) for kernel in kernels_of(noun) - NOT_OF_OPERATIONS for way in ("serial", "parallel")
    }
    for kernel in set(FINISHED) & kernels_of(noun):
        wanted |= {(kernel, what) for what in (*FINISHED[kernel], *STEPS)}
    assert {f"{' '.join(w)}: {times[w]}" for w in sorted(wanted) if times[w] < LAUNCHES} == set()


def test_all_that_finishes_sums_is_among_these():
    finishers = {k.name for k in vars(steps).values() if isinstance(k, Kernel)}
    assert finishers == {name for names in FINISHED.values() for name in names} - {
        "direct",
        "compared in slices",
    }


def test_every_noun_has_its_operations():
    assert sorted(name for noun in NOUNS for name in operations_of(noun)) == sorted(OPERATIONS)
