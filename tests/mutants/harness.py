"""Plant one fault in a copy of the source, run the tests that must find it, and say what came of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import faults_of_bits
import faults_of_correlation
import faults_of_launcher
import faults_of_patches
import faults_of_xnor
from faults import Fault

FAULTS = [
    *faults_of_bits.FAULTS,
    *faults_of_correlation.FAULTS,
    *faults_of_patches.FAULTS,
    *faults_of_xnor.FAULTS,
    *faults_of_launcher.FAULTS,
]
ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "fastconv"
OPERATIONS = ROOT / "tests" / "operations"
NUMPY_ALONE = "not cupy and not torch"
PATIENCE = 180
"""Seconds until a run is taken for hung: about ten times what one takes."""

COMPILERS = ("TypingError", "LoweringError", "SyntaxError", "IndentationError")
"""What says that a fault is no program: it would prove nothing."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: "killed", "hangs", "crashes" (which are as good), "lives" or "is no program"."""

    verdict: str
    seconds: float
    report: str

    @property
    def found(self) -> bool:
        return self.verdict in ("killed", "hangs", "crashes")


def misplaced(faults: list[Fault]) -> list[str]:
    """What is wrong with the anchors of ``faults``, in words; nothing if each stands where it should."""
    found = []
    for fault in faults:
        path = SOURCE / fault.file
        times = path.read_text(encoding="utf-8").count(fault.old) if path.exists() else None
        if times != 1:
            where = f"occurs {times} times" if times is not None else "has no file"
            found.append(f"{fault.file}: {fault.name}: {fault.old!r} {where}")
        files = [part.partition("::")[0] for part in fault.tests.split(" & ")]
        found += [f"{fault.name}: there is no {name}" for name in files if not (OPERATIONS / name).exists()]
    return found


class Copy:
    """A copy of the source in a ``folder`` of its own, without PyTorch. What is compiled is kept in a folder
    that all copies may share, see ``kernels_by_source.py``."""

    def __init__(self, folder: Path, kernels: Path) -> None:
        self.folder, self.kernels = folder, kernels
        shutil.copytree(SOURCE, folder / "fastconv", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "torch.py").write_text("raise ImportError('mutants are found without PyTorch')\n")

    def run(self, tests: str, source: Path = SOURCE, patience: float = PATIENCE) -> Outcome:
        """Run ``tests``, files or tests of tests/operations, until the first that fails."""
        command = [
            *(sys.executable, "-m", "pytest", "-x", "-q", "-k", NUMPY_ALONE, "-p", "no:cacheprovider"),
            *("-o", "addopts=--strict-markers", "--hypothesis-profile=mutants", "--tb=line"),
            *("-p", "kernels_by_source"),
            *(str(OPERATIONS / test) for test in tests.split(" & ")),
        ]
        environment = {
            name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")
        }
        environment |= {
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(Path(__file__).parent)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "FASTCONV_MUTANTS_SOURCE": str(source),
            "FASTCONV_MUTANTS_KERNELS": str(self.kernels),
        }
        started = perf_counter()
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=patience
            )
        except subprocess.TimeoutExpired:
            return Outcome("hangs", perf_counter() - started, "")
        report = done.stdout + done.stderr
        return Outcome(_verdict(done.returncode, report), perf_counter() - started, report)

    def with_fault(self, fault: Fault) -> Outcome:
        """Run the tests of a fault while it is planted."""
        path = self.folder / "fastconv" / fault.file
        right = path.read_text(encoding="utf-8")
        path.write_text(right.replace(fault.old, fault.new), encoding="utf-8")
        try:
            return self.run(fault.tests, self.folder / "fastconv" if fault.compiled else SOURCE)
        finally:
            path.write_text(right, encoding="utf-8")


def _verdict(status: int, report: str) -> str:
    if status < 0 or status >= 128:
        return "crashes"
    if status == 0:
        return "lives"
    return "is no program" if status != 1 or any(error in report for error in COMPILERS) else "killed"
