"""Correlation: by image, by kernel, by method; and the real-valued layer."""

import numpy as np

import fastconv


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


class Correlate2d:
    params, param_names = [[256, 1024, 4096], [3, 7, 15]], ["image", "kernel"]

    def setup(self, n, k):
        self.image, self.kernel = normal(n, n), normal(k, k)
        self.time_correlate2d(n, k)

    def time_correlate2d(self, n, k):
        fastconv.correlate2d(self.image, self.kernel, "valid")


class Correlate2dMethod:
    """What ``method="auto"`` chooses from, for a kernel that all methods take."""

    params, param_names = [["direct", "separable", "fft"], [3, 15]], ["method", "kernel"]

    def setup(self, method, k):
        self.image, self.kernel = normal(1024, 1024), np.ones((k, k), np.float32)
        self.time_correlate2d(method, k)

    def time_correlate2d(self, method, k):
        fastconv.correlate2d(self.image, self.kernel, "same", method=method)


class Correlate2dDtype:
    params, param_names = ["uint8", "int32", "float64", "complex64"], ["dtype"]

    def setup(self, dtype):
        rng = np.random.default_rng(0)
        self.image, self.kernel = (rng.integers(0, 200, (n, n)).astype(dtype) for n in (512, 5))
        self.time_correlate2d(dtype)

    def time_correlate2d(self, dtype):
        fastconv.correlate2d(self.image, self.kernel, "same")


class SmallCall:
    """One image of 16 x 16: what is left is checks and dispatch."""

    def setup(self):
        self.image, self.kernel = normal(16, 16), normal(3, 3)
        self.time_correlate2d()

    def time_correlate2d(self):
        fastconv.correlate2d(self.image, self.kernel, "same")


class Convolve2d:
    """Boundaries, and small integers accumulated in wider ones."""

    params, param_names = ["fill", "wrap", "symm"], ["boundary"]

    def setup(self, boundary):
        self.image = np.random.default_rng(0).integers(0, 256, (1024, 1024), np.uint8)
        self.kernel = np.ones((5, 5), np.uint8)
        self.time_convolve2d(boundary)

    def time_convolve2d(self, boundary):
        fastconv.convolve2d(self.image, self.kernel, "same", boundary, dtype=np.int32)


class Conv2d:
    params, param_names = [56, 112, 224], ["image"]

    def setup(self, n):
        self.x, self.weight = normal(1, 64, n, n), normal(64, 64, 3, 3)
        self.time_conv2d(n)

    def time_conv2d(self, n):
        fastconv.conv2d(self.x, self.weight, padding=1)

    def peakmem_conv2d(self, n):
        fastconv.conv2d(self.x, self.weight, padding=1)
