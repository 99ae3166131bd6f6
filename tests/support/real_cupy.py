"""The real CuPy, which the tests' own process may have replaced by the stand-in."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from conftest import missing

NOT_INSTALLED = 9
IMPORTS = f"""
import json, sys
try:
    import cupy
except ModuleNotFoundError:
    sys.exit({NOT_INSTALLED})
"""


def answer(program: str) -> Any:
    """What ``program``, in a process of its own where ``cupy`` is the real one, writes to stdout as JSON."""
    code = (
        f"import json, sys\ntry:\n  import cupy\nexcept ImportError:\n  sys.exit({NOT_INSTALLED})\n{program}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode == NOT_INSTALLED:
        missing("cupy-cuda13x")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
