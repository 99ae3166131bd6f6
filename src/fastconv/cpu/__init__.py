"""NumPy arrays: numba kernels."""
