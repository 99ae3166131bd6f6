"""Arrays that more than one thread takes, in every layout."""

from __future__ import annotations

import pytest

LARGE = {  # more than one CPU thread takes, in several chunks, with tails in every row
    "numpy": (700, 1000),
    "torch": (700, 1000),
    "cupy": (130, 700),  # whose threads are many, and emulated
}
VIEWS = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.T,
    "reversed": lambda x: x[::-1, ::-1],
    "strided": lambda x: x[:, ::2],
    "byteswapped": lambda x: x.astype(x.dtype.newbyteorder(">")),
}
views = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
"""A test of every layout: its argument ``view`` makes one of a contiguous array."""
