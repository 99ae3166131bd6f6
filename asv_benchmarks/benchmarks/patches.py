"""Patches: memory traffic and nothing else."""

import numpy as np

import fastconv


class Im2col:
    params, param_names = [[256, 1024], [3, 7]], ["image", "kernel"]

    def setup(self, n, k):
        self.x = np.ones((1, 4, n, n), np.float32)
        self.time_im2col(n, k)

    def time_im2col(self, n, k):
        fastconv.im2col(self.x, k)

    def peakmem_im2col(self, n, k):
        fastconv.im2col(self.x, k)


class Im2colBatch:
    """Many small planes, padded, as in a layer."""

    def setup(self):
        self.x = np.ones((8, 64, 56, 56), np.float32)
        self.time_im2col()

    def time_im2col(self):
        fastconv.im2col(self.x, 3, padding=1)


class Col2im:
    params, param_names = [[256, 1024], [3, 7]], ["image", "kernel"]

    def setup(self, n, k):
        self.cols = np.ones((1, 4 * k * k, (n - k + 1) ** 2), np.float32)
        self.time_col2im(n, k)

    def time_col2im(self, n, k):
        fastconv.col2im(self.cols, (n, n), k)
