"""XNOR on CuPy arrays: the plan of each spec, and the choice among the kernels of binary products."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from math import prod
from typing import Any

import cupy

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
from fastconv.cuda import bits
from fastconv.cuda.xnor import direct, gemm
from fastconv.cuda.xnor.channelwise import channelwise
from fastconv.cuda.xnor.conv import ConvPlan
from fastconv.cuda.xnor.means import activation_scale
from fastconv.cuda.xnor.pack import pack_filters
from fastconv.cuda.xnor.pool import max_pool
from fastconv.cuda.xnor.problem import Product
from fastconv.cuda.xnor.rows import LinearPlan, MatmulPlan
from fastconv.cuda.xnor.thresholds import fold_batchnorm

KERNELS = (direct, gemm)
"""Ways to a binary product, each with ``supports(product)`` and ``plan(product)``; the first that supports it
is taken."""


def plan_product(product: Product) -> Any:
    """None for a product without results, which needs no kernel."""
    if not prod((product.images, product.groups, product.filters, product.geometry.positions)):
        return None
    return next(kernel.plan(product) for kernel in KERNELS if kernel.supports(product))


def plan_conv(spec: BinaryConv) -> Any:
    return ConvPlan(spec, plan_product)


def plan_matmul(spec: BinaryMatmul) -> Any:
    return MatmulPlan(spec, plan_product)


def plan_linear(spec: BinaryLinear) -> Any:
    return LinearPlan(spec, plan_product)


def plan_residual(spec: BinarizeResidual) -> Any:
    return partial(expressions.binarize_residual, cupy, bits.pack_signs, terms=spec.terms, axis=spec.axis)


PLANNERS: dict[type, Callable[[Any], Any]] = {
    BinaryConv: plan_conv,
    BinaryMatmul: plan_matmul,
    BinaryLinear: plan_linear,
    PackFilters: lambda spec: partial(pack_filters, spec),
    WindowMeans: lambda spec: partial(activation_scale, spec),
    MaxPool: lambda spec: partial(max_pool, spec),
    Channelwise: lambda spec: partial(channelwise, spec),
    FoldBatchnorm: lambda spec: partial(fold_batchnorm, spec),
    BinarizeResidual: plan_residual,
}


@lru_cache(maxsize=256, typed=True)
def plan(spec: Any) -> Any:
    """What computes ``spec``; see :mod:`fastconv._specs.xnor` for what to call it with."""
    return PLANNERS[type(spec)](spec)
