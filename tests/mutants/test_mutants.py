"""Tests of tests: each of many seeded faults in the NumPy path is found by the tests of its noun.

``python -m pytest -m mutants`` plants them all and prints a table; ``-k word`` some of them.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import FAULTS, Copy, misplaced

IDS = [f"{fault.file}: {fault.name}" for fault in FAULTS]


def test_every_anchor_occurs_exactly_once():
    assert misplaced(FAULTS) == []


def test_faults_have_names_of_their_own_and_are_many():
    assert [name for name, count in Counter(IDS).items() if count > 1] == []
    assert len(FAULTS) >= 40


@pytest.fixture(scope="session")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutants")
    shared = folder.parent.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder
    return Copy(folder, shared / "kernels")


@pytest.mark.mutants
def test_without_a_fault_the_tests_pass(copy):
    tests = sorted({test for fault in FAULTS for test in fault.tests.split(" & ")})
    outcome = copy.run(" & ".join(tests), patience=900)
    assert outcome.verdict == "lives", outcome.report[-3000:]


@pytest.mark.mutants
@pytest.mark.parametrize("fault", FAULTS, ids=IDS)
def test_fault_is_found(copy, fault, record_property):
    outcome = copy.with_fault(fault)
    record_property("mutant", [fault.file, fault.name, outcome.verdict, f"{outcome.seconds:.0f} s"])
    assert outcome.found, f"{fault.name} {outcome.verdict}: mend {fault.tests}\n{outcome.report[-3000:]}"
