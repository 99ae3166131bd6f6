"""Between a caller's arrays and the kernels': contiguous memory, and where results go."""

from __future__ import annotations

from typing import Any

import cupy

Array = Any  # cupy.ndarray


def contiguous(x: Array) -> Array:
    """``x`` as a C-contiguous array on the device; nested lists and scalars are sent there."""
    return cupy.ascontiguousarray(cupy.asarray(x))


def by_memory(x: Array) -> tuple[Array, list[int]]:
    """``x`` contiguous, with its axes in the order in which they lie in memory if that saves a copy, and
    that order."""
    order = sorted(range(x.ndim), key=lambda d: -x.strides[d])
    if x.flags.c_contiguous or not x.transpose(order).flags.c_contiguous:
        order = list(range(x.ndim))
    return contiguous(x.transpose(order)), order


def reordered(x: Array, axes: list[int], wanted: list[int]) -> Array:
    """``x``, whose axes are called ``axes``, with those in the order ``wanted``; itself if they are."""
    return x if axes == wanted else contiguous(x.transpose([axes.index(axis) for axis in wanted]))


def result(out: Array | None, shape: tuple[int, ...], dtype: Any, *inputs: Array) -> Array:
    """Where a kernel may write: ``out`` if that is safe, else a new array. Pair with :func:`deliver`."""
    if (
        out is None
        or not out.flags.c_contiguous
        or any(isinstance(x, cupy.ndarray) and cupy.may_share_memory(out, x) for x in inputs)
    ):
        return cupy.empty(shape, dtype)
    return out


def deliver(target: Array, out: Array | None) -> Array:
    """``target``, copied into ``out`` if the caller gave one and the kernel could not write to it."""
    if out is None:
        return target
    if target is not out:
        cupy.copyto(out, target)
    return out
