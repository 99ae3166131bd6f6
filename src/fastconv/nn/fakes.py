"""What operators give for tensors without numbers: empty ones, of the right shape and dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def float_result(dtype: torch.dtype) -> torch.dtype:
    """What fastconv computes in for real inputs of ``dtype``."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def packed_like(x: Tensor, axis: int) -> Tensor:
    sizes = list(x.shape)
    length = sizes.pop(axis)
    return x.new_empty((*sizes, (length + 63) // 64), dtype=torch.uint64)


def numbers_dtype(x: Tensor, *epilogue: Any) -> torch.dtype:
    """The dtype of a product, of which scale, by_window and bias say whether it stays an integer."""
    return torch.int32 if all(part is None or part is False for part in epilogue) else float_result(x.dtype)


def image_size(x: Tensor) -> Any:
    return x.shape[1:3] if x.dtype == torch.uint64 else x.shape[2:4]


def steps_like(
    x: Tensor,
    shape: Sequence[Any],
    filters: int,
    options: Sequence[Any],
    axes: Callable[[Tensor], Tensor],
) -> list[Tensor]:
    """Empty tensors like the results of steps."""
    tau, numbers = options[3], options[5]
    found = [axes(x.new_empty((*shape, filters), dtype=torch.float32))] if numbers else []
    if tau is not None:
        found.append(x.new_empty((*shape, (filters + 63) // 64), dtype=torch.uint64))
    return found


def channelwise_like(
    x: Tensor, axis: int, size: Sequence[Any] | None, numbers: bool, comparisons: int
) -> list[Tensor]:
    """Empty tensors like the results of steps on numbers, images of which become of ``size``."""
    moved = x.movedim(axis, -1)
    *outer, channels = moved.shape
    if size is not None:
        outer = [*outer[:-2], *size]
    found = [moved.new_empty((*outer, (channels + 63) // 64), dtype=torch.uint64) for _ in range(comparisons)]
    if numbers:
        like = moved.new_empty((*outer, channels)).movedim(-1, axis)
        found.insert(0, like.contiguous() if x.is_contiguous() and not moved.is_contiguous() else like)
    return found
