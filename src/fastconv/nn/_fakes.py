"""The shapes that operators give, for compilers, which call them without numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastconv._geometry import reach
from fastconv.nn import operators


@operators.pack_signs.register_fake
def _(x: Tensor, axis: int) -> Tensor:
    return _packed(x, axis)


@operators.compare.register_fake
def _(x: Tensor, axis: int, tau: Tensor, flip: Tensor) -> Tensor:
    return _packed(x, axis)


@operators.unpack_signs.register_fake
def _(words: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    return words.new_empty((*words.shape[:-1], length), dtype=dtype)


@operators.binarize_residual.register_fake
def _(x: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    words = x.new_empty((bits, *x.shape[:-1], (x.shape[-1] + 63) // 64), dtype=torch.uint64)
    return x.new_empty((bits, x.shape[0]), dtype=operators.float_result(x.dtype)), words


@operators.xnor_conv2d.register_fake
def _(
    x: Tensor,
    filters: Tensor,
    channels: int,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    pad_value: int,
    scale: Tensor | None = None,
    by_window: bool = False,
    bias: Tensor | None = None,
) -> Tensor:
    rows, columns = _output(_size(x), filters.shape[1:3], stride, padding, dilation)
    shape = (x.shape[0], filters.shape[0], rows, columns)
    return x.new_empty(shape, dtype=_epilogue_dtype(x, scale, bias))


@operators.xnor_conv2d_signs.register_fake
def _(
    x: Tensor,
    filters: Tensor,
    channels: int,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    pad_value: int,
    tau: Tensor,
    flip: Tensor,
) -> Tensor:
    rows, columns = _output(_size(x), filters.shape[1:3], stride, padding, dilation)
    shape = (x.shape[0], rows, columns, (filters.shape[0] + 63) // 64)
    return x.new_empty(shape, dtype=torch.uint64)


@operators.xnor_linear.register_fake
def _(
    x: Tensor,
    filters: Tensor,
    features: int,
    scale: Tensor | None = None,
    by_window: bool = False,
    bias: Tensor | None = None,
) -> Tensor:
    shape = (*x.shape[:-1], filters.shape[0])
    return x.new_empty(shape, dtype=_epilogue_dtype(x, scale, bias))


@operators.xnor_linear_signs.register_fake
def _(x: Tensor, filters: Tensor, features: int, tau: Tensor, flip: Tensor) -> Tensor:
    return x.new_empty((*x.shape[:-1], (filters.shape[0] + 63) // 64), dtype=torch.uint64)


@operators.binary_max_pool2d.register_fake
def _(words: Tensor, kernel_size: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> Tensor:
    rows, columns = _output(words.shape[1:3], kernel_size, stride, padding, (1, 1))
    return words.new_empty((words.shape[0], rows, columns, words.shape[3]))


def _packed(x: Tensor, axis: int) -> Tensor:
    sizes = list(x.shape)
    length = sizes.pop(axis)
    return x.new_empty((*sizes, (length + 63) // 64), dtype=torch.uint64)


def _epilogue_dtype(x: Tensor, scale: Tensor | None, bias: Tensor | None) -> torch.dtype:
    return torch.int32 if scale is None and bias is None else operators.float_result(x.dtype)


def _size(x: Tensor) -> Any:
    return x.shape[1:3] if x.dtype == torch.uint64 else x.shape[2:4]


def _output(
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
