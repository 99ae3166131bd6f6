"""Startup: what a new process pays before its first result.

A ``timeraw_`` benchmark returns the statement to time and what goes before it, and runs both in new
processes. They inherit the environment, NUMBA_CACHE_DIR too.
"""

import os
import shutil
import subprocess
import sys
import tempfile

CALLS = (
    "popcount_sum(np.ones(9, np.uint64))",
    "xnor_conv2d(np.ones((1, 64, 9, 9)), np.ones((8, 64, 3, 3)))",
    "correlate2d(np.ones((9, 9), 'f4'), np.ones((3, 3), 'f4'))",
)
IMPORT = "import numpy as np, fastconv"


def timeraw_import_fastconv():
    return "import fastconv", "import numpy"


class ColdFirstCall:
    """Nothing in the compile cache: the kernels are compiled."""

    params, param_names, number = CALLS, ("call",), 1

    def setup(self, call):
        os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp()

    def teardown(self, call):
        shutil.rmtree(os.environ["NUMBA_CACHE_DIR"], ignore_errors=True)

    def timeraw_call(self, call):
        forget = "import os, shutil; shutil.rmtree(os.environ['NUMBA_CACHE_DIR'], ignore_errors=True)"
        return f"fastconv.{call}", f"{forget}; {IMPORT}"


class WarmFirstCall:
    """Another process has filled the compile cache: the kernels are loaded."""

    params, param_names, number = CALLS, ("call",), 1

    def setup(self, call):
        subprocess.run([sys.executable, "-c", f"{IMPORT}; fastconv.{call}"], check=True)

    def timeraw_call(self, call):
        return f"fastconv.{call}", IMPORT
