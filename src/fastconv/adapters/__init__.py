"""Array libraries that borrow the kernels of another."""
