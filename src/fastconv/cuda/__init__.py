"""CuPy arrays: the place of the CUDA kernels, under the same four names as ``fastconv.cpu``."""
