"""What ``import fastconv`` costs; and first calls, which import and compile, are calls like any other."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import optional

from checkout import ROOT

HEAVY = {"numba", "llvmlite", "scipy", "torch", "cupy", "dask", "matplotlib", "rich"}


def test_import_loads_no_heavy_library():
    assert heavy_after("import fastconv") == set()


def test_reference_needs_no_compiler():
    assert heavy_after("import fastconv; fastconv.reference.popcount([1])") == set()


def heavy_after(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {module.partition(".")[0] for module in process.stdout.split()} & HEAVY


FIRST_CALLS = """
import sys
sys.path.insert(0, {support!r})
{before}
import numpy
numpy.seterr(all="raise")
import fastconv
from right_calls import CALLS
fastconv.pack_signs({make}(numpy.array([1.5, -2.0])))
for call in CALLS.values():
    call.call(fastconv, *map({make}, call.arrays()))
assert set(numpy.geterr().values()) == {{"raise"}}
"""


@pytest.mark.parametrize(("library", "make"), [("numpy", "numpy.asarray"), ("torch", "torch.from_numpy")])
def test_first_calls_raise_and_warn_of_nothing_whatever_the_caller_has_set(library, make):
    optional(library)
    support = str(ROOT / "tests" / "support")
    program = FIRST_CALLS.format(support=support, before=f"import {library}", make=make)
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
