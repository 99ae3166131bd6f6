"""Every operation under the same name and signature, in plain NumPy that a reader can check by eye."""

from fastconv.reference.bits import (
    hamming_distance,
    pack_signs,
    packbits64,
    popcount,
    popcount_sum,
    unpackbits64,
)
from fastconv.reference.correlation import conv2d, convolve2d, correlate2d
from fastconv.reference.patches import col2im, im2col
from fastconv.reference.xnor import (
    activation_scale,
    binarize_residual,
    binary_max_pool2d,
    fold_batchnorm,
    pack_filters,
    xnor_conv2d,
    xnor_linear,
    xnor_matmul,
)

__all__ = [
    "activation_scale",
    "binarize_residual",
    "binary_max_pool2d",
    "col2im",
    "conv2d",
    "convolve2d",
    "correlate2d",
    "fold_batchnorm",
    "hamming_distance",
    "im2col",
    "pack_filters",
    "pack_signs",
    "packbits64",
    "popcount",
    "popcount_sum",
    "unpackbits64",
    "xnor_conv2d",
    "xnor_linear",
    "xnor_matmul",
]
