"""Products of rows of signs: matrix products and linear layers, as convolutions of a line with one tap."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from fastconv._epilogue import PLAIN, Epilogue
from fastconv._geometry import ImageLayout, line_window
from fastconv._shared.problem import Strides
from fastconv._specs.xnor import BinaryLinear, BinaryMatmul
from fastconv.cpu import bits
from fastconv.cpu.arrays import Array, deliver, native, result
from fastconv.cpu.xnor.epilogue import Finish
from fastconv.cpu.xnor.means import Means
from fastconv.cpu.xnor.pack import filter_tiles
from fastconv.cpu.xnor.words import Product, Words
from fastconv.packed import PackedFilters, PackedSigns


class MatmulPlan:
    """The plan of :func:`fastconv.xnor_matmul`."""

    def __init__(self, spec: BinaryMatmul) -> None:
        self.spec = spec
        self.k, packed = spec.a[-1], spec.b_dtype is None
        self.m = spec.a[-2] if len(spec.a) > 1 else 1
        self.n = 1 if len(spec.b) == 1 else spec.b[-2 if packed else -1]
        self.depth = -(-self.k // 64)
        self.apart = prod(spec.b[:-2]) != 1  # each product has filters of its own, as a group of channels has
        count = prod(spec.batch)
        self.groups, self.rows = (count, self.m) if self.apart else (1, count * self.m)
        if prod(spec.shape):
            shape = (self.groups, self.rows, self.n)
            finish = Finish(PLAIN.outcome, shape, (self.rows, self.groups * self.n), True)
            words = Words(line_window(self.rows), 1, self.groups, self.depth, self.n, self.k)
            self.product = Product(words, finish, Strides(0, self.rows * self.n, 1, self.n))

    def __call__(self, a: Array, b: Array, out: Array | None = None) -> Array:
        target = result(out, self.spec.shape, np.int32, a, b)
        if target.size:
            left = np.atleast_2d(a if self.spec.a_dtype is None else bits.pack_signs(a, a.ndim - 1))
            right = b if self.spec.b_dtype is None else bits.pack_signs(b, max(b.ndim - 2, 0))
            right = np.atleast_2d(right)
            if self.apart:
                left = np.broadcast_to(left, (*self.spec.batch, self.m, self.depth))
                right = np.broadcast_to(right, (*self.spec.batch, self.n, self.depth))
            tiles = filter_tiles(right.reshape(self.groups * self.n, 1, 1, self.depth), self.groups)
            product = self.product
            product.job(x=native(left), tiles=tiles, totals=product.totals, totals_step=0, integers=target)
        return deliver(target, out)


class LinearPlan:
    """The plan of :func:`fastconv.xnor_linear`."""

    def __init__(self, spec: BinaryLinear) -> None:
        *outer, k = spec.x
        rows, n = prod(outer), spec.filters
        self.spec, self.rows, self.k = spec, rows, k
        shape = (*outer, n)
        self.finish = Finish(spec.outcome, shape, shape, True)
        self.product = self.means = None
        if rows * n:
            line = line_window(rows)
            self.product = Product(Words(line, 1, 1, -(-k // 64), n, k), self.finish, Strides(0, 0, 1, n))
            if "window" in spec.outcome.steps and spec.dtype is not None:
                self.means = Means((1, 1, rows, k), spec.dtype, ImageLayout(4, True), line, 1)

    def __call__(
        self, x: Array, filters: PackedFilters | PackedSigns, epilogue: Epilogue, out: Array | None = None
    ) -> Any:
        finish = self.finish
        values = finish.given(epilogue)
        targets = finish.targets(out, [x, *filters.arrays()], values)
        if self.product is not None:
            if self.means is not None:
                values = {**values, "window": self.means(x.reshape(1, 1, self.rows, self.k))}
            words = x if self.spec.dtype is None else bits.pack_signs(x, x.ndim - 1)
            tiles = _tiles_of(filters)
            totals = self.product.totals
            self.product.job(x=native(words), tiles=tiles, totals=totals, totals_step=0, **values, **targets)
        return finish.delivered(targets, out)


def _tiles_of(weight: PackedFilters | PackedSigns) -> Array:
    if isinstance(weight, PackedFilters):
        tiles: Array = weight.derived(("tiles", 1), lambda: filter_tiles(weight.words, 1))
        return tiles
    return filter_tiles(weight.words.reshape(weight.shape[0], 1, 1, -1), 1)
