"""Batch normalization and sign as a comparison of integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv._specs.xnor import FoldBatchnorm
from fastconv.cpu.arrays import Array


class FoldPlan:
    """The plan of :func:`fastconv.fold_batchnorm`."""

    def __init__(self, spec: FoldBatchnorm) -> None:
        self.n = spec.n

    def __call__(
        self, gamma: Array, beta: Array, mean: Array, var: Array, eps: Any, alpha: Array, bias: Array
    ) -> tuple[Array, Array]:
        n = self.n

        def values(y: NDArray[np.int64]) -> Any:
            return (alpha * y.astype(np.float32) + bias) * slope + offset

        slope = gamma * (np.float32(1) / np.sqrt(var + eps))
        offset = beta - mean * slope
        low, high = np.full(gamma.shape, -n, np.int64), np.full(gamma.shape, n, np.int64)
        if not np.isfinite([values(low), values(high)]).all():
            raise ValueError(f"fold_batchnorm: the chain overflows float32 for y within [{-n}, {n}]")
        first, last = values(low) >= 0, values(high) >= 0
        # rounding keeps the order, so the bit changes once at most: halve the interval that holds it
        while (high - low > 1).any():
            middle = low + (high - low) // 2
            like_last = (values(middle) >= 0) == last
            low, high = np.where(like_last, low, middle), np.where(like_last, middle, high)
        constant = first == last
        tau = np.where(constant, np.iinfo(np.int32).min, high).astype(np.int32)
        return tau, ~last
