"""Patches on CuPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from math import gcd, prod

import cupy
import numpy as np

from fastconv._geometry import Window
from fastconv._specs.patches import Col2im, Im2col
from fastconv.cuda.arrays import Array, contiguous, deliver, result
from fastconv.cuda.compile import BLOCKS_PER_MULTIPROCESSOR, THREADS, c_type, launch_over, multiprocessors

WINDOWS = 4
"""Windows of a thread, one above the other."""

NARROW = 2**30
"""Pixels of a padded image up to which 32 bits hold their places: half the instructions of 64."""


def im2col(spec: Im2col, x: Array, out: Array | None) -> Array:
    x, geometry = contiguous(x), spec.window
    target = result(out, spec.shape, x.dtype, x)
    if target.size:
        rows, (out_rows, out_columns) = geometry.kernel[0], geometry.output
        planes = prod(x.shape[:-2])
        threads = planes * -(-out_rows // WINDOWS) * out_columns
        wanted = BLOCKS_PER_MULTIPROCESSOR * THREADS * multiprocessors(cupy.cuda.Device().id)
        share = -(-rows // -(-wanted // threads))
        shares = -(-rows // share)
        types = f"ELEMENT={_carrier(x)}", f"INDEX={'int' if prod(geometry.padded) <= NARROW else 'i64'}"
        arguments = (x, target, planes, shares, share, *geometry.size, *_sliding(geometry))
        launch_over(threads * shares, "im2col.cu", "im2col", (*types, f"WINDOWS={WINDOWS}"), arguments)
    return deliver(target, out)


def col2im(spec: Col2im, cols: Array, out: Array | None) -> Array:
    cols, geometry = contiguous(cols), spec.window
    target = result(out, spec.shape, cols.dtype, cols)
    common = [gcd(s, d) for s, d in zip(geometry.stride, geometry.dilation, strict=True)]
    inverse = [
        pow(d // c, -1, s // c) for s, d, c in zip(geometry.stride, geometry.dilation, common, strict=True)
    ]
    arguments = (
        cols, target, prod(spec.shape[:-2]), *geometry.size, *_sliding(geometry), *common, *inverse
    )  # fmt: skip
    launch_over(target.size, "col2im.cu", "col2im", _sum_types(cols.dtype), arguments)
    return deliver(target, out)


def _sliding(geometry: Window) -> tuple[int, ...]:
    (top, _), (left, _) = geometry.padding
    return (*geometry.kernel, *geometry.stride, *geometry.dilation, top, left, *geometry.output)


def _carrier(x: Array) -> str:
    """A type that moves the bits of ``x`` unchanged."""
    return "uint4" if x.itemsize == 16 else f"u{8 * x.itemsize}"


def _sum_types(dtype: np.dtype) -> tuple[str, ...]:
    """What the elements are, and are added as: integers of a size have one sum, for they wrap around."""
    if dtype == np.bool_:
        return "ELEMENT=u8", "SUM=u32", "LOGICAL"
    if dtype == np.float16:
        return "ELEMENT=half", "SUM=float", "HALF"
    name = f"u{8 * dtype.itemsize}" if dtype.kind in "iu" else c_type(dtype)
    return f"ELEMENT={name}", f"SUM={name}"


PLANNERS: dict[type, Callable[..., Array]] = {Im2col: im2col, Col2im: col2im}


@lru_cache(maxsize=256, typed=True)
def plan(spec: Im2col | Col2im) -> Callable[..., Array]:
    """What computes ``spec``, called with an array and ``out``."""
    return partial(PLANNERS[type(spec)], spec)
