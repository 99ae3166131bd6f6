"""Processes of their own: how one is started, and how rows are measured in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import fastconv
from peers.table import Line, Settings

PATH = (Path(fastconv.__file__).parents[1], Path(__file__).resolve().parents[1])
"""Where fastconv and this program are, which may be importable here by no more than sys.path."""


def python(program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """What a new process prints."""
    paths = os.pathsep.join([*map(str, PATH), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", program, *arguments]
    environment = {**os.environ, "PYTHONPATH": paths, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"a process failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def measured_elsewhere(
    only: str,
    settings: Settings,
    *,
    rows: str = "cpu",
    first: str = "",
    environment: Mapping[str, str] | None = None,
) -> tuple[int, list[Line]]:
    """Widest registers that numba used there, in bits, and the lines of the rows ``only``.

    ``rows`` names one of the lists of rows in peers.run; ``first`` is a statement that the process begins
    with.
    """
    program = f"{first}\nfrom peers.run import main_elsewhere\nmain_elsewhere()"
    report = json.loads(python(program, rows, only, json.dumps(asdict(settings)), environment=environment))
    return report["registers"], [Line(**line) for line in report["lines"]]
