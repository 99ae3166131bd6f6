"""What ``import fastconv`` costs: the libraries it does not need yet stay unimported."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"numba", "llvmlite", "scipy", "torch", "cupy", "dask", "matplotlib", "rich"}


def test_import_loads_no_heavy_library():
    assert heavy_after("import fastconv") == set()


def test_reference_needs_no_compiler():
    assert heavy_after("import fastconv; fastconv.reference.popcount([1])") == set()


def heavy_after(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {module.partition(".")[0] for module in process.stdout.split()} & HEAVY
