"""Bits on CuPy arrays."""

from __future__ import annotations

import numpy as np

from fastconv.cuda._arrays import Array, contiguous, deliver, result
from fastconv.cuda._compile import c_type, launch_over


def popcount(x: Array, out: Array | None) -> Array:
    x = contiguous(x)
    target = result(out, x.shape, np.uint8, x)
    launch_over(x.size, "popcount.cu", "popcount", _integer_type(x), (x, target, x.size))
    return deliver(target, out)


def _integer_type(x: Array) -> tuple[str, ...]:
    return (f"ELEMENT={c_type(x.dtype)}", *(("SIGNED",) if x.dtype.kind == "i" else ()))
