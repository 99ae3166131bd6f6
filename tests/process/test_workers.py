"""Operations are right in the workers of PyTorch's data loaders and of joblib, whatever is imported first."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import optional

from checkout import SUPPORT

METHODS = ["fork", "spawn", "forkserver"] if hasattr(os, "fork") else ["spawn"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("first", ["torch", "fastconv"])
def test_workers_of_a_data_loader(first, method):
    optional("torch")
    run(first, f"data_loader={method}")


@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
@pytest.mark.parametrize("first", ["torch", "fastconv"])
def test_workers_of_joblib(first, backend):
    optional("joblib")
    optional(first)
    run(first, f"joblib_workers={backend}")


def run(*arguments):
    environment = os.environ | {
        "NUMBA_NUM_THREADS": "4",
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, SUPPORT / "workers.py", *arguments], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
