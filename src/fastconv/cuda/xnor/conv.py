"""Binary convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy

from fastconv._epilogue import Epilogue
from fastconv._shared.problem import result_strides
from fastconv._specs.xnor import BinaryConv
from fastconv.cuda.arrays import Array, contiguous
from fastconv.cuda.xnor.epilogue import Finish
from fastconv.cuda.xnor.means import mean_magnitudes
from fastconv.cuda.xnor.pack import grouped_words, kept_sums, word_steps
from fastconv.cuda.xnor.problem import NULL, Product
from fastconv.packed import PackedFilters


class ConvPlan:
    """The plan of a binary convolution by the kernel that ``plan_product`` chooses."""

    def __init__(self, spec: BinaryConv, plan_product: Callable[[Product], Any]) -> None:
        self.spec, part, last = spec, spec.filters // spec.groups, spec.target.channels_last
        strides = result_strides(spec.groups, part, spec.geometry.positions, last and spec.target.rank > 2)
        self.finish = Finish(spec.outcome, spec.shape, spec.logical)
        product = Product(
            spec.geometry, spec.images, spec.groups, part, spec.channels, spec.pad_value, word_steps(spec),
            strides, spec.outcome,
        )  # fmt: skip
        self.product = plan_product(product)

    def __call__(self, x: Array, filters: PackedFilters, epilogue: Epilogue, out: Array | None) -> Any:
        targets = self.finish.targets(out, epilogue, x, filters.words)
        if self.product is not None:
            words = grouped_words(self.spec, x)
            sums = kept_sums(filters) if self.product.needs_sums() else NULL
            results = self.finish.results(targets, epilogue, self._means(x))
            self.product(words, contiguous(filters.words), sums, results)
        return self.finish.delivered(targets, out)

    def _means(self, x: Array) -> Array | None:
        """XNOR-Net's K (N, G, L), if a step wants it."""
        spec = self.spec
        if "window" not in spec.outcome.steps:
            return None
        means = cupy.empty((spec.images, spec.groups, spec.geometry.positions), spec.outcome.dtype)
        mean_magnitudes(x, spec.source, spec.geometry, spec.groups, means, channels_last=False)
        return means
