"""Few filters a group: a thread for each output."""

from __future__ import annotations

from fastconv.cuda.arrays import Array
from fastconv.cuda.compile import launch_over
from fastconv.cuda.xnor.epilogue import Results
from fastconv.cuda.xnor.problem import Product, structure_of

FULL_TILE = 8
"""Words of a group's filters, in one tap, up to which each output has a thread of its own: fewer than a tile
of binary_gemm.cu takes in a step from one of its 64 filters. Not measured on a GPU."""


def supports(product: Product) -> bool:
    """Products that would leave the tiles of binary_gemm.cu almost empty."""
    return product.depth * product.filters <= FULL_TILE


class DirectProduct:
    """The launch of binary_direct.cu for one product."""

    def __init__(self, product: Product) -> None:
        self.problem = structure_of(product, product.pad_value)
        self.cut = product.cut and product.pad_value != 0
        every = product.groups * product.filters
        width = -(-every // 64) * 64 if product.outcome.signs else every
        self.threads = product.images * product.geometry.positions * width

    def needs_sums(self) -> bool:
        """Whether it takes sums of the filters' signs."""
        return self.cut

    def __call__(self, words: Array, filters: Array, sums: Array, results: Results) -> None:
        end = (results.numbers, results.signs, results.laid_out.structure, self.problem)
        arguments = (words, filters, sums, *end)
        launch_over(self.threads, "binary_direct.cu", "binary_direct", results.defines, arguments)


plan = DirectProduct
