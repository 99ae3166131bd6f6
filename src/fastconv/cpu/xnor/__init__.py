"""XNOR on NumPy arrays: the plan of each spec, and the choice among the kernels of binary convolution."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np

from fastconv._shared import expressions
from fastconv._specs.xnor import (
    BinarizeResidual,
    BinaryConv,
    BinaryLinear,
    BinaryMatmul,
    Channelwise,
    FoldBatchnorm,
    MaxPool,
    PackFilters,
    WindowMeans,
)
from fastconv.cpu import bits
from fastconv.cpu.xnor import depthwise, pixels, turned, words
from fastconv.cpu.xnor.channelwise import ChannelwisePlan
from fastconv.cpu.xnor.epilogue import NothingPlan
from fastconv.cpu.xnor.means import MeansPlan
from fastconv.cpu.xnor.pack import PackFiltersPlan
from fastconv.cpu.xnor.pool import PoolPlan
from fastconv.cpu.xnor.rows import LinearPlan, MatmulPlan
from fastconv.cpu.xnor.thresholds import FoldPlan

KERNELS = (depthwise, turned, pixels, words)
"""Ways to a binary convolution, each with ``supports(spec)`` and ``plan(spec)``; the first that supports it
is taken."""


def plan_conv(spec: BinaryConv) -> Any:
    if not prod(spec.shape):
        return NothingPlan(spec)
    return next(kernel.plan(spec) for kernel in KERNELS if kernel.supports(spec))


def plan_residual(spec: BinarizeResidual) -> Any:
    return partial(expressions.binarize_residual, np, bits.pack_signs, terms=spec.terms, axis=spec.axis)


PLANNERS: dict[type, Callable[[Any], Any]] = {
    BinaryConv: plan_conv,
    BinaryMatmul: MatmulPlan,
    BinaryLinear: LinearPlan,
    PackFilters: PackFiltersPlan,
    WindowMeans: MeansPlan,
    MaxPool: PoolPlan,
    Channelwise: ChannelwisePlan,
    FoldBatchnorm: FoldPlan,
    BinarizeResidual: plan_residual,
}


@lru_cache(maxsize=256, typed=True)
def plan(spec: Any) -> Any:
    """What computes ``spec``; see :mod:`fastconv._specs.xnor` for what to call it with."""
    return PLANNERS[type(spec)](spec)
