"""Max-pooling of signs: the OR of their words."""

from __future__ import annotations

import cupy
import numpy as np

from fastconv._shared.problem import Strides, by_pixel, problem_of
from fastconv._specs.xnor import MaxPool
from fastconv.cuda.arrays import Array, contiguous
from fastconv.cuda.compile import launch_over
from fastconv.cuda.xnor.problem import by_value


def max_pool(spec: MaxPool, words: Array) -> Array:
    """(..., Ho, Wo, w): the OR of ``words`` (..., H, W, w) under each window."""
    pooled, geometry, depth = cupy.empty(spec.shape, np.uint64), spec.geometry, spec.x[-1]
    if pooled.size:
        images = pooled.size // (geometry.positions * depth)
        steps, none = by_pixel(1, geometry.size, depth), Strides(0, 0, 0, 0)
        problem = problem_of(geometry, images, steps, none, words=depth)
        arguments = (contiguous(words), pooled, by_value(problem))
        launch_over(pooled.size, "binary_words.cu", "max_pool", (), arguments)
    return pooled
