"""Binary (XNOR) and small-kernel 2-D convolution on the arrays you already have."""

from typing import Any

from fastconv import _later, reference
from fastconv.bits import hamming_distance, pack_signs, packbits64, popcount, popcount_sum, unpackbits64
from fastconv.correlation import conv2d, convolve2d, correlate2d
from fastconv.packed import PackedFilters, PackedSigns, Threshold
from fastconv.patches import col2im, im2col
from fastconv.xnor import (
    activation_scale,
    binarize_residual,
    binary_max_pool2d,
    fold_batchnorm,
    pack_filters,
    xnor_conv2d,
    xnor_linear,
    xnor_matmul,
)

__all__ = [  # noqa: RUF022  (grouped by noun)
    "hamming_distance", "pack_signs", "packbits64", "popcount", "popcount_sum", "unpackbits64",
    "conv2d", "convolve2d", "correlate2d",
    "col2im", "im2col",
    "activation_scale", "binarize_residual", "binary_max_pool2d", "fold_batchnorm", "pack_filters",
    "xnor_conv2d", "xnor_linear", "xnor_matmul",
    "PackedFilters", "PackedSigns", "Threshold",
    "reference",
]  # fmt: skip

__version__: str


def __getattr__(name: str) -> Any:
    return _later.attribute(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_later.names()})
