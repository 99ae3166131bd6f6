"""Batch normalization and sign as a comparison of integers."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from fastconv._specs.xnor import FoldBatchnorm
from fastconv.cuda.arrays import Array, contiguous
from fastconv.cuda.compile import launch_over


def fold_batchnorm(
    spec: FoldBatchnorm,
    *,
    gamma: Array,
    beta: Array,
    mean: Array,
    var: Array,
    eps: Any,
    alpha: Any,
    bias: Any,
) -> tuple[Array, Array]:
    """In a kernel, since CuPy's own take numbers below 2**-126 for 0, whose signs are asked for, too."""
    channels, n = gamma.shape[0], spec.n
    tau, flip, bounded = (cupy.empty(channels, dtype) for dtype in (np.int32, np.bool_, np.bool_))
    arrays = [contiguous(p) for p in (gamma, beta, mean, var, alpha, bias)]
    arguments = (*arrays, np.float32(float(eps)), alpha.ndim, bias.ndim, tau, flip, bounded, channels, n)
    launch_over(channels, "fold.cu", "fold_batchnorm", (), arguments)
    if not bounded.all():
        raise ValueError(f"fold_batchnorm: the chain overflows float32 for y within [{-n}, {n}]")
    return tau, flip
