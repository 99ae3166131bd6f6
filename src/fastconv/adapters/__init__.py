"""The place of libraries that reuse another one's kernels: PyTorch (DLPack) and Dask (blocks)."""
