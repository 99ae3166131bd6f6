"""What deployed layers compute: plans of the kernels, held with all that they take but the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastconv._backends import Array, backend_of
from fastconv._checks import float_result, integer, real_array
from fastconv._epilogue import INTEGERS, PARAMETERS, Epilogue, Outcome, Step
from fastconv._geometry import reach, window
from fastconv._specs.xnor import BinaryLinear, Channelwise, completed, conv_spec, linear_shape
from fastconv.nn.arrays import lent, lent_if_any, of_signs
from fastconv.packed import PackedFilters, PackedSigns

Geometry = tuple[Sequence[int], Sequence[int], Sequence[int], int, int]
"""Stride, padding, dilation, groups and pad_value, as operators take them."""

Finished = tuple[Sequence[str], Tensor | None, Tensor | None, Tensor | None, bool]
"""Kinds of steps, their parameters (P, O), tau and flip (O,) if signs are wanted, and whether numbers are."""

Pool = Sequence[int]
"""Of max-pooling: kernel, stride (rows and columns each), top, bottom, left, right, and how many steps come
before it; nothing if there is none."""

IMAGE_AXIS = -3
"""Of channels."""

Run = Callable[..., Any]
"""Takes x, and the residual if there is one; gives numbers, words, or both. With ``over=True`` the numbers
come to lie where the residual was, which then has to be like the result."""

ADD = "add"
"""The step that adds a residual."""

SAME: list[int] = []
"""``padding`` of the operators that means "same"."""


def conv_product(x: Array, filters: PackedFilters, geometry: Geometry, finished: Finished) -> Run:
    """The convolution of images like ``x``: numbers (N, C, H, W) in any layout, or words (N, H, W, w).

    Numbers come out as (N, O, Ho, Wo) whose channels are neighbours in memory, and so a residual should be.
    """
    operation = "xnor_conv2d"
    dtype = _dtype_of(operation, x)
    stride, padding, dilation, groups, pad_value = geometry
    options = "NHWC", pair(stride), sides(padding), pair(dilation), groups, pad_value
    shape = PackedSigns(x, filters.channels * groups).shape if dtype is None else channels_last(x).shape
    spec = conv_spec(options, operation, shape, dtype is None, filters.shape)
    epilogue = epilogue_of(finished, dtype)
    plan = backend_of(operation, x, filters.words).plan(completed(spec, dtype, epilogue.outcome))
    fitted = partial(_fitting, shape=spec.shape, dtype=epilogue.outcome.dtype)
    adds = ADD in epilogue.outcome.steps

    def run(x: Array, residual: Array | None = None, over: bool = False) -> Any:
        _check_residual(operation, adds, residual)
        x = x if dtype is None else channels_last(x)
        added = None if residual is None else fitted(channels_last(residual))
        whole = epilogue if added is None else epilogue.adding(added)
        return _given(plan(x, filters, whole, added if over else None), channels_first)

    return of_signs(run, operation, dtype)


def linear_product(x: Array, filters: PackedFilters, finished: Finished) -> Run:
    """The product of rows like ``x`` (..., in), numbers or words."""
    operation = "xnor_linear"
    dtype = _dtype_of(operation, x)
    shape = PackedSigns(x, filters.channels).shape if dtype is None else x.shape
    result = linear_shape(operation, shape, filters.shape[:2])
    epilogue = epilogue_of(finished, dtype)
    spec = BinaryLinear(shape, dtype, filters.shape[0], epilogue.outcome)
    plan = backend_of(operation, x, filters.words).plan(spec)
    fitted = partial(_fitting, shape=result, dtype=epilogue.outcome.dtype)
    adds = ADD in epilogue.outcome.steps

    def run(x: Array, residual: Array | None = None, over: bool = False) -> Any:
        _check_residual(operation, adds, residual)
        added = None if residual is None else fitted(residual)
        whole = epilogue if added is None else epilogue.adding(added)
        return _given(plan(x, filters, whole, added if over else None), lambda numbers: numbers)

    return of_signs(run, operation, dtype)


def channelwise(x: Array, axis: int, pool: Pool, finished: Finished) -> Run:
    """Steps on numbers like ``x``, channel by channel along ``axis``, with pooling in between.

    Numbers come out in the memory order of x, words of each comparison with channels last; tau and flip are
    (comparisons, channels).
    """
    operation = "channelwise"
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(f"{operation}: x must be float32 or float64, got {x.dtype}")
    pool = check_pool(operation, pool)
    kinds, parameters, tau, flip, numbers = finished
    steps = _steps(kinds, parameters, x.dtype)
    outcome = Outcome(x.dtype, tuple(kinds), numbers, tau is not None)
    epilogue = Epilogue(outcome, steps, lent_if_any(tau), lent_if_any(flip))
    moved = np.moveaxis(x, axis, -1)
    *images, h, w = moved.shape[:-1] if axis == IMAGE_AXIS else (*moved.shape[:-1], 1, 1)
    kernel, stride, padding = (pool[:2], pool[2:4], pool[4:8]) if pool else ((1, 1), (1, 1), (0, 0, 0, 0))
    geometry = window(operation, (h, w), pair(kernel), pair(stride), sides(padding), 1)
    before, comparisons = pool[8] if pool else 0, 0 if tau is None else len(tau)
    spec = Channelwise(prod(images), x.shape[axis], geometry, outcome, before, comparisons)
    plan = backend_of(operation, x).plan(spec)
    source = prod(images), h, w, x.shape[axis]
    outer = (*images, *geometry.output) if axis == IMAGE_AXIS else tuple(images)
    planar = x.flags.c_contiguous and not moved.flags.c_contiguous

    def run(x: Array) -> Any:
        given = [
            part.reshape(*outer, part.shape[-1])
            for part in plan(np.moveaxis(x, axis, -1).reshape(source), epilogue)
        ]
        if numbers:
            moved = np.moveaxis(given[0], -1, axis)
            given[0] = moved.copy() if planar else moved
        return given[0] if len(given) == 1 else tuple(given)

    return run


def check_steps(operation: str, steps: Sequence[str], known: Sequence[str]) -> list[str]:
    """Kinds of steps, one of which may add a residual."""
    kinds = list(steps)
    if any(kind not in known for kind in kinds) or kinds.count(ADD) > 1:
        raise ValueError(f"{operation}: steps must be of {known}, got {kinds!r}")
    return kinds


def constants_of(kinds: Sequence[str], channels: int) -> Tensor | None:
    """Room for the numbers of steps, a row of channels for each; None if they have none."""
    rows = sum(PARAMETERS[kind] for kind in kinds)
    return torch.zeros(rows, channels, dtype=torch.float32) if rows else None


def check_pool(operation: str, pool: Any) -> list[int]:
    """``pool`` of :func:`channelwise`, every window of which holds a pixel of the image."""
    if not isinstance(pool, (list, tuple)) or len(pool) not in (0, 9):
        raise ValueError(f"{operation}: pool must be nine numbers, or none, got {pool!r}")
    sizes = [integer(operation, "pool", size, 1 if at < 4 else 0) for at, size in enumerate(pool)]
    rows, columns = (size // 2 for size in sizes[:2] or (0, 0))
    if max(sizes[4:6], default=0) > rows or max(sizes[6:8], default=0) > columns:
        raise ValueError(f"{operation}: padding must be at most half of the kernel, got {sizes}")
    return sizes


def epilogue_of(finished: Finished, dtype: np.dtype[Any] | None) -> Epilogue:
    """What becomes of the sums of signs, or of numbers of ``dtype``."""
    kinds, parameters, tau, flip, numbers = finished
    floats = np.dtype(np.float32) if dtype is None else float_result(dtype)
    outcome = Outcome(floats if kinds else INTEGERS, tuple(kinds), numbers, tau is not None)
    return Epilogue(outcome, _steps(kinds, parameters, floats), lent_if_any(tau), lent_if_any(flip))


def _steps(kinds: Sequence[str], parameters: Tensor | None, floats: np.dtype[Any]) -> tuple[Step, ...]:
    rows = iter(() if parameters is None else lent(parameters).astype(floats, copy=False))
    return tuple(Step(kind, tuple(next(rows) for _ in range(PARAMETERS[kind]))) for kind in kinds)


def channels_last(x: Array) -> Array:
    """(N, C, H, W) or (C, H, W) as a view (N, H, W, C) or (H, W, C)."""
    return x.transpose(*range(x.ndim - 3), x.ndim - 2, x.ndim - 1, x.ndim - 3)


def channels_first(x: Array) -> Array:
    """(N, H, W, C) or (H, W, C) as a view (N, C, H, W) or (C, H, W)."""
    return x.transpose(*range(x.ndim - 3), x.ndim - 1, x.ndim - 3, x.ndim - 2)


def pair(sizes: Sequence[int]) -> tuple[int, int]:
    rows, columns = sizes
    return rows, columns


def sides(sides: Sequence[int]) -> str | tuple[tuple[int, int], tuple[int, int]]:
    """``padding`` of an operator, as faces take it."""
    if not sides:
        return "same"
    top, bottom, left, right = sides
    return (top, bottom), (left, right)


def output_size(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> list[int]:
    """Rows and columns of a result, in arithmetic that symbolic sizes can follow."""
    if not padding:
        return [(n + step - 1) // step for n, step in zip(size, stride, strict=True)]
    added = padding[0] + padding[1], padding[2] + padding[3]
    extents = reach(kernel, dilation)
    return [(n + a - r) // step + 1 for n, a, r, step in zip(size, added, extents, stride, strict=True)]


def _dtype_of(operation: str, x: Array) -> np.dtype[Any] | None:
    """The dtype of numbers; None for words."""
    return None if x.dtype == np.uint64 else real_array(operation, "x", x).dtype


def _check_residual(operation: str, adds: bool, residual: Array | None) -> None:
    """Kernels that add read what they add, whatever there is."""
    if adds == (residual is None):
        got = f"the step {ADD!r}" if adds else "a residual"
        raise ValueError(f"{operation}: a residual and a step that adds it come together, got only {got}")


def _fitting(residual: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """A residual as numbers of the result's shape, which it may have to be broadcast to."""
    residual = residual.astype(dtype, copy=False)
    return residual if residual.shape == shape else np.broadcast_to(residual, shape)


def _given(result: Any, numbers_first: Callable[[Array], Array]) -> Any:
    """What a plan gave: numbers in float32, in the order of PyTorch's axes."""
    if isinstance(result, tuple):
        return _given(result[0], numbers_first), result[1]
    if result.dtype == np.uint64:
        return result
    return numbers_first(result.astype(np.float32, copy=False))
