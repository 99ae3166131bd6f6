"""Many filters: tiles of pixels by filters, on tensor cores where these multiply bits."""

from __future__ import annotations

from fastconv.cuda.arrays import Array
from fastconv.cuda.compile import binary_product, launch
from fastconv.cuda.xnor.epilogue import Results
from fastconv.cuda.xnor.problem import Product, structure_of

TILE, BLOCK = 64, 128
"""Pixels and filters of a block of binary_gemm.cu, and its threads."""


def supports(product: Product) -> bool:
    """Any product."""
    return True


class TiledProduct:
    """The launch of binary_gemm.cu for one product. To it, what lies outside is -1 until corrected."""

    def __init__(self, product: Product) -> None:
        self.problem = structure_of(product, product.pad_value + 1)
        self.cut = product.cut and product.pad_value != -1
        self.pairs = product.depth % 2 == 0
        pixels = product.images * product.geometry.positions
        self.blocks = product.groups * -(-pixels // TILE) * -(-product.filters // TILE)
        # groups that meet within words, to which their bits are added
        self.adds_bits = product.outcome.signs and product.groups > 1 and product.filters % 64 != 0

    def needs_sums(self) -> bool:
        """Whether it takes sums of the filters' signs, on the current device."""
        return self.cut or "TENSOR_AND" in binary_product()

    def __call__(self, words: Array, filters: Array, sums: Array, results: Results) -> None:
        if self.adds_bits:
            results.signs.fill(0)
        wide = int(self.pairs and (words.data.ptr | filters.data.ptr) % 16 == 0)
        defines = (*results.defines, *binary_product())
        end = (results.numbers, results.signs, wide, results.laid_out.structure, self.problem)
        arguments = (words, filters, sums, *end)
        launch("binary_gemm.cu", "binary_gemm", defines, (self.blocks,), (BLOCK,), arguments)


plan = TiledProduct
