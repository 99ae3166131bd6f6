"""CuPy arrays: CUDA kernels, under the same four names as ``fastconv.cpu``.

Importing it without a usable GPU is a ``RuntimeError`` that says what is missing.
"""

from fastconv.cuda.devices import check_current, check_usable

__all__ = ["check_current"]

check_usable()
