"""NumPy arrays: numba kernels.

Importing it where numba is not to compile is a ``RuntimeError`` that says what forbids it.
"""

from fastconv.cpu.cache import check_usable

check_usable()
