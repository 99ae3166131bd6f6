"""CuPy arrays: CUDA kernels, under the same four names as ``fastconv.cpu``."""
