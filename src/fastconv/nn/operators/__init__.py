"""fastconv's kernels as PyTorch operators, which ``torch.compile`` and ``torch.export`` keep whole.

They take and return plain tensors, of the CPU or of CUDA. Signs are *words*: uint64, 64 signs each, packed
along the last axis as in :class:`fastconv.PackedSigns`. Wherever ``x`` is wanted, real numbers and words will
both do: what has dtype uint64 is words. Filters are the words (O, kh, kw, ceil(channels / 64)) of
:class:`fastconv.PackedFilters`; those of a linear layer have kh = kw = 1.

Beside each of them is a function of the same arguments that gives an empty tensor of the result's shape, for
compilers, which have no numbers.

No gradient flows through them: ``backward`` says so where numbers come out.
"""

from fastconv.nn.operators.bits import binarize_residual, compare, pack_signs, unpack_signs
from fastconv.nn.operators.images import activation_scale, binary_max_pool2d, channelwise
from fastconv.nn.operators.products import xnor_conv2d, xnor_conv2d_steps, xnor_linear, xnor_linear_steps

__all__ = [
    "activation_scale",
    "binarize_residual",
    "binary_max_pool2d",
    "channelwise",
    "compare",
    "pack_signs",
    "unpack_signs",
    "xnor_conv2d",
    "xnor_conv2d_steps",
    "xnor_linear",
    "xnor_linear_steps",
]
