"""Products of rows of signs: matrix products and linear layers, as convolutions of a line with one tap."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import cupy
import numpy as np

from fastconv._epilogue import PLAIN, Epilogue
from fastconv._geometry import ImageLayout, line_window
from fastconv._shared.problem import Strides, by_group
from fastconv._specs.xnor import BinaryLinear, BinaryMatmul
from fastconv.cuda import bits
from fastconv.cuda.arrays import Array, contiguous, deliver, result
from fastconv.cuda.xnor.epilogue import Finish
from fastconv.cuda.xnor.means import mean_magnitudes
from fastconv.cuda.xnor.pack import filter_sums, kept_sums
from fastconv.cuda.xnor.problem import NULL, Product
from fastconv.packed import PackedFilters, PackedSigns


def row_product(groups: int, rows: int, filters: int, k: int, finish: Finish) -> Product:
    """The product of ``rows`` (groups, rows) of ``k`` signs by as many ``filters`` of each group."""
    line = line_window(rows)
    steps = by_group(groups, line.size, -(-k // 64))
    strides = Strides(0, rows * filters, 1, filters)
    return Product(line, 1, groups, filters, k, 0, steps, strides, finish.outcome)


class MatmulPlan:
    """The plan of :func:`fastconv.xnor_matmul`."""

    def __init__(self, spec: BinaryMatmul, plan_product: Callable[[Product], Any]) -> None:
        self.spec, self.k = spec, spec.a[-1]
        self.m = spec.a[-2] if len(spec.a) > 1 else 1
        self.n = 1 if len(spec.b) == 1 else spec.b[-2 if spec.b_dtype is None else -1]
        self.apart = prod(spec.b[:-2]) != 1  # each product has filters of its own, as a group of channels has
        count = prod(spec.batch)
        self.groups, self.rows = (count, self.m) if self.apart else (1, count * self.m)
        self.finish = Finish(PLAIN.outcome, spec.shape, spec.shape or (1,))
        self.product = plan_product(row_product(self.groups, self.rows, self.n, self.k, self.finish))

    def __call__(self, a: Array, b: Array, out: Array | None = None) -> Array:
        target = result(out, self.spec.shape, np.int32, a, b)
        if self.product is not None:
            batch, depth = self.spec.batch, -(-self.k // 64)
            left = a if self.spec.a_dtype is None else bits.pack_signs(a, a.ndim - 1)
            right = b if self.spec.b_dtype is None else bits.pack_signs(b, max(b.ndim - 2, 0))
            if self.apart:
                left = cupy.broadcast_to(left, (*batch, self.m, depth))
                right = cupy.broadcast_to(right, (*batch, self.n, depth))
            filters = contiguous(right).reshape(self.groups * self.n, 1, 1, depth)
            sums = filter_sums(filters, self.k) if self.product.needs_sums() else NULL
            results = self.finish.results((target, None), PLAIN, None)
            self.product(contiguous(left), filters, sums, results)
        return deliver(target, out)


class LinearPlan:
    """The plan of :func:`fastconv.xnor_linear`."""

    def __init__(self, spec: BinaryLinear, plan_product: Callable[[Product], Any]) -> None:
        *outer, self.k = spec.x
        self.spec, self.rows = spec, prod(outer)
        shape = (*outer, spec.filters)
        self.finish = Finish(spec.outcome, shape, shape)
        self.product = plan_product(row_product(1, self.rows, spec.filters, self.k, self.finish))

    def __call__(
        self, x: Array, filters: PackedFilters | PackedSigns, epilogue: Epilogue, out: Array | None = None
    ) -> Any:
        targets = self.finish.targets(out, epilogue, x, *filters.arrays())
        if self.product is not None:
            words = x if self.spec.dtype is None else bits.pack_signs(x, x.ndim - 1)
            rows = contiguous(filters.words).reshape(self.spec.filters, 1, 1, -(-self.k // 64))
            sums = self._sums(filters, rows) if self.product.needs_sums() else NULL
            results = self.finish.results(targets, epilogue, self._means(x))
            self.product(contiguous(words), rows, sums, results)
        return self.finish.delivered(targets, out)

    def _sums(self, filters: PackedFilters | PackedSigns, rows: Array) -> Array:
        return kept_sums(filters) if isinstance(filters, PackedFilters) else filter_sums(rows, self.k)

    def _means(self, x: Array) -> Array | None:
        """The mean of abs(x) of each row, if a step wants it."""
        if "window" not in self.spec.outcome.steps:
            return None
        means = cupy.empty(self.rows, self.spec.outcome.dtype)
        image, line = contiguous(x).reshape(1, 1, self.rows, self.k), line_window(self.rows)
        mean_magnitudes(image, ImageLayout(4, True), line, 1, means, channels_last=False)
        return means
