"""Between a caller's arrays and the kernels'.

Kernels read native numbers, one run of them or flat memory by strides, and write to C-contiguous arrays that
overlap no input. What is not like that is copied, whole or by :func:`blocks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import accumulate, product
from math import prod
from operator import mul
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv._geometry import ImageLayout
from fastconv._specs.bits import Memory

Array = NDArray[Any]

LINE = 64
"""Bytes of a line of the cache."""


def native(x: Array) -> Array:
    """``x`` if it is :func:`readable`, else a copy: what a job takes."""
    return x if readable(x) else np.require(x, x.dtype.newbyteorder("="), ["C", "A"])


def aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """An empty array that starts where a line of the cache does: vectors that straddle lines load at half
    the rate."""
    dtype = np.dtype(dtype)
    memory = np.empty(prod(shape) * dtype.itemsize + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    whole: Array = memory[start : memory.size - LINE + start].view(dtype)
    return whole.reshape(shape)


def key_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The integers that :func:`fastconv.cpu.bits.vectors.in_range` takes for ``dtype``."""
    kind = f"{'i' if dtype.kind == 'f' else 'u'}{dtype.itemsize}"
    return np.dtype(kind).newbyteorder(dtype.byteorder)


def sign_keys(x: Array) -> tuple[Array, Any, Any]:
    """Keys of ``x``, and the least and the length of the range of those whose sign is +1: False is -1, zeros
    are +1, NaNs -1."""
    kind, low, span = _sign_range(x.dtype)
    return x.view(kind), low, span


@cache
def _sign_range(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], Any, Any]:
    kind = key_type(dtype)
    if dtype.kind == "f":
        largest = np.array(np.inf, dtype.newbyteorder("=")).view(kind.newbyteorder("="))[()]
    else:
        largest = kind.type(255 - 1 if dtype == np.bool_ else np.iinfo(dtype).max)
    return kind, kind.type(dtype == np.bool_), largest


def computable(x: Array) -> Array:
    """:func:`native` in a dtype numba has: float16 as float32, bool as uint8."""
    if x.dtype.newbyteorder("=") == np.float16:
        return native(x.astype(np.float32))
    return native(x.view(np.uint8) if x.dtype == np.bool_ else x)


def stacked(x: Array, rank: int) -> Array:
    """``x`` with all but its last ``rank`` dimensions flattened into one."""
    return x.reshape(prod(x.shape[:-rank]), *x.shape[-rank:])


def result(out: Array | None, shape: tuple[int, ...], dtype: Any, *inputs: Array) -> Array:
    """Where a kernel may write: ``out`` if that is safe, else a new array. Pair with :func:`deliver`."""
    if (
        out is None
        or not (out.flags.c_contiguous and out.flags.aligned)
        or any(np.may_share_memory(out, x) for x in inputs)
    ):
        return np.empty(shape, dtype)
    return out


def deliver(target: Array, out: Array | None) -> Array:
    """``target``, copied into ``out`` if the caller gave one and the kernel could not write to it."""
    if out is None:
        return target
    if target is not out:
        np.copyto(out, target, casting="same_kind")
    return out


def flat_memory(x: Array) -> tuple[Array, int, tuple[int, ...]]:
    """The memory under ``x`` as one flat array, with the index of the first element and
    the strides in elements, 1 along axes of length 1. Copies only if the elements themselves are
    unaligned or byte-swapped.
    """
    if readable(x):
        return native(x.reshape(-1)), 0, contiguous_steps(x.shape)
    if not lies_in_steps(x):
        x = native(x)
    strides = tuple(1 if n == 1 else s // x.dtype.itemsize for n, s in zip(x.shape, x.strides, strict=True))
    if x.size == 0:
        return native(x.reshape(-1)), 0, strides
    lowest = x[tuple(slice(None, None, -1 if s < 0 else 1) for s in strides)]
    reach = [(n - 1) * abs(s) for n, s in zip(x.shape, strides, strict=True)]
    flat = np.lib.stride_tricks.as_strided(lowest, (sum(reach) + 1,), (x.dtype.itemsize,), writeable=False)
    origin = sum(r for r, s in zip(reach, strides, strict=True) if s < 0)
    return flat, origin, strides


@lru_cache(256)
def contiguous_steps(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of a contiguous array, 1 along axes of length 1."""
    steps = list(accumulate(shape[:0:-1], mul, initial=1))[::-1]
    return tuple(1 if n == 1 else step for n, step in zip(shape, steps, strict=False))


def flat_image(x: Array, layout: ImageLayout) -> tuple[Array, int, tuple[int, int, int, int]]:
    """:func:`flat_memory` of images in any layout, the strides in the order N, C, H, W."""
    flat, origin, steps = flat_memory(x)
    return flat, origin, layout.sizes(steps)


def lies_in_steps(x: Array) -> bool:
    """Whether kernels can read ``x`` where it is, by strides."""
    return x.flags.aligned and x.dtype.isnative and all(step % x.itemsize == 0 for step in x.strides)


def readable(x: Array) -> bool:
    """Whether kernels can read ``x`` where it is, as one run of native numbers."""
    return x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative


def one_run(memory: Memory) -> bool:
    """:func:`readable` of arrays with such memory."""
    step = memory.dtype.itemsize
    for n, stride in zip(reversed(memory.shape), reversed(memory.strides), strict=True):
        if n != 1 and stride != step:
            return 0 in memory.shape and memory.aligned and memory.dtype.isnative
        step *= n
    return memory.aligned and memory.dtype.isnative


def blocks(shape: tuple[int, ...], size: int, axis: int | None = None) -> Iterator[tuple[Any, ...]]:
    """Slices that cut ``shape`` into blocks of about ``size`` elements, by multiples of 64 along ``axis``."""
    steps = []
    for dimension, n in enumerate(shape):
        step = max(1, min(n, size // max(1, prod(shape[dimension + 1 :]))))
        if dimension == axis:
            step = -(-step // 64) * 64
        size = max(1, size // step)
        steps.append(step)
    starts = (range(0, n, step) for n, step in zip(shape, steps, strict=True))
    for corner in product(*starts):
        # of one number, "..." gives an array, nothing would give that number
        yield tuple(slice(i, i + step) for i, step in zip(corner, steps, strict=True)) or (...,)
