"""conv2d that is a matrix product: one pixel under each window, or one window for each image."""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv._specs.correlation import Layer
from fastconv.cpu.arrays import Array, deliver, native, readable, result

FEW_PRODUCTS = 1 << 20
"""Products of a call up to which BLAS has done them before weights would be packed for vectors of filters,
which then take less time: for 256 by 64 channels on 56 x 56 pixels 0.6 of it, for 16 by 16 on 28 x 28 twice
it."""

COPIED = 16 * 1024 * 1024
"""Bytes of pixels that are copied if they are not one run of numbers."""


def supports(spec: Layer) -> bool:
    """Whether a layer is a product of matrices, of dtypes that BLAS has."""
    window = spec.window
    blas = spec.dtype.char in "fdFD" and spec.x_dtype == spec.weight_dtype == spec.dtype
    if not blas or spec.weight[1] == 1 or not prod(spec.shape) * prod(spec.weight):
        return False
    if window.padding != ((0, 0), (0, 0)):
        return False
    if whole(spec):
        return True
    by_pixel = window.taps == 1 and window.positions == prod(window.size)
    few = prod(spec.shape) * spec.weight[1] <= FEW_PRODUCTS
    return by_pixel and (few or spec.dtype.kind == "c")


def whole(spec: Layer) -> bool:
    """Whether a window sees all of an image, and nothing else."""
    return spec.window.kernel == spec.window.size


class Matrix:
    """The plan of a layer: ``depth`` products for each result."""

    def __init__(self, spec: Layer) -> None:
        self.spec, self.whole = spec, whole(spec)
        self.images, *_ = spec.layout.sizes(spec.x)
        self.filters, self.depth = spec.weight[0] // spec.groups, prod(spec.weight[1:])
        # where each image is one row, it does not matter which axis comes last
        self.by_rows = spec.layout.channels_last or self.whole

    def takes(self, x: Array) -> bool:
        """Whether ``x`` can be read where it lies, or is small enough to be copied."""
        return readable(self._pixels(x)) or x.nbytes <= COPIED

    def _pixels(self, x: Array) -> Array:
        """``x`` with the products of a result in the order of weights, if they are neighbours."""
        return self.spec.layout.nchw(x) if self.whole else x

    @np.errstate(over="ignore", invalid="ignore")
    def __call__(self, x: Array, weight: Array, bias: Array | None, out: Array | None) -> Array:
        spec = self.spec
        pixels = self._pixels(x)
        target = result(out, spec.shape, spec.dtype, x, weight, *(() if bias is None else (bias,)))
        weights = native(weight).reshape(spec.groups, self.filters, self.depth)
        terms = None if bias is None else bias.astype(spec.dtype)
        if self.by_rows:
            self._rows_by_filters(native(pixels), weights, target, terms)
        else:
            self._filters_by_columns(native(pixels), weights, target, terms)
        return deliver(target, out)

    def _rows_by_filters(self, pixels: Array, weights: Array, target: Array, terms: Array | None) -> None:
        """Pixels (P, G, depth) times weights (G, F, depth), turned over."""
        groups = self.spec.groups
        rows, results = pixels.reshape(-1, groups, self.depth), target.reshape(-1, groups, self.filters)
        if groups == 1:
            np.matmul(rows[:, 0], weights[0].T, out=results[:, 0])
        else:
            np.matmul(rows.transpose(1, 0, 2), weights.transpose(0, 2, 1), out=results.transpose(1, 0, 2))
        if terms is not None:
            results += terms.reshape(groups, self.filters)

    def _filters_by_columns(self, pixels: Array, weights: Array, target: Array, terms: Array | None) -> None:
        """Weights (G, F, depth) times the pixels of each image (G, depth, P)."""
        groups = self.spec.groups
        results = target.reshape(self.images, groups, self.filters, -1)
        np.matmul(weights, pixels.reshape(self.images, groups, self.depth, -1), out=results)
        if terms is not None:
            results += terms.reshape(groups, self.filters, 1)


plan = Matrix
