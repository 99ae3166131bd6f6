"""Binary (XNOR) and small-kernel 2-D convolution on the arrays you already have."""

from fastconv.bits import (
    hamming_distance,
    pack_signs,
    packbits64,
    popcount,
    popcount_sum,
    unpackbits64,
)
