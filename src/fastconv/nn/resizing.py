"""Deployed modules that make images of packed signs smaller, or larger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastconv._backends import Array, backend_of
from fastconv._checks import flag, integer
from fastconv._specs.xnor import pool_spec
from fastconv.nn import operators
from fastconv.nn.arrays import Planned, lent
from fastconv.nn.calls import PackedModule
from fastconv.nn.options import check_sides, whole_pair
from fastconv.nn.packing import zero_words
from fastconv.nn.products import pair, sides
from fastconv.packed import PackedSigns


class PackedMaxPool2d(PackedModule):
    """Max-pooling of packed signs.

    Parameters
    ----------
    channels : int
    kernel_size, stride : [rows, columns]
    padding : [top, bottom, left, right], or [] for "same"
        What lies outside never wins.
    inverting : bool
        Whether some channels come in as the opposite of what goes out, so that the least of their signs
        does. ``inverted`` has a bit for each channel.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        inverting: bool = False,
    ) -> None:
        super().__init__()
        name = "PackedMaxPool2d"
        self.channels = integer(name, "channels", channels, 1)
        self.inverting = flag(name, "inverting", inverting)
        self.kernel_size = whole_pair(name, "kernel_size", kernel_size)
        self.stride = whole_pair(name, "stride", stride)
        self.padding = check_sides(name, padding)
        self.register_buffer("inverted", zero_words(channels) if inverting else None)

    def signs_of_words(self) -> list[tuple[str, int]]:
        """As of :class:`PackedLayer`."""
        return [("inverted", self.channels)] if self.inverting else []

    def forward(self, words: Tensor) -> Tensor:
        """Words (N, H, W, w) to words (N, Ho, Wo, w)."""
        if words.dim() == 3:
            return self(words[None])[0]
        largest = operators.binary_max_pool2d(words, self.kernel_size, self.stride, self.padding)
        return largest ^ self.inverted if self.inverting else largest

    def planned(self, x: Array) -> Planned:
        """As of :class:`PackedModule`."""
        operation = "binary_max_pool2d"
        signs = PackedSigns(x, 64 * x.shape[-1])  # tails stay 0 whatever the length
        kernel, stride = pair(self.kernel_size), pair(self.stride)
        spec = pool_spec(operation, signs.shape, kernel, stride, sides(self.padding))
        plan: Planned = backend_of(operation, x).plan(spec)
        if not self.inverting:
            return plan
        inverted = lent(self.inverted)
        return lambda words: _turned_over(plan(words), inverted)

    def extra_repr(self) -> str:
        return (
            f"{self.channels}, kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        )


def _turned_over(words: Array, bits: Array) -> Array:
    """words (..., n, w) ^ bits (w,), in place and line by line: w is often 1, and so short would loops be."""
    lines = words.reshape(*words.shape[:-2], words.shape[-2] * words.shape[-1])
    lines ^= np.broadcast_to(bits, words.shape[-2:]).reshape(-1)
    return words


class EnlargeSigns(PackedModule):
    """Words of images whose pixels are repeated.

    Parameters
    ----------
    rows, columns : int
        How often.
    """

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows = integer("EnlargeSigns", "rows", rows, 1)
        self.columns = integer("EnlargeSigns", "columns", columns, 1)

    def forward(self, words: Tensor) -> Tensor:
        """Words (N, H, W, w) to words (N, rows * H, columns * W, w)."""
        n, h, w, depth = words.shape
        parts = words.view(torch.int64)[:, :, None, :, None].expand(n, h, self.rows, w, self.columns, depth)
        return parts.reshape(n, h * self.rows, w * self.columns, depth).view(torch.uint64)

    def planned(self, x: Array) -> Any:
        """As of :class:`PackedModule`."""
        n, h, w, depth = x.shape
        spread = n, h, self.rows, w, self.columns, depth
        shape = n, h * self.rows, w * self.columns, depth
        return lambda words: np.broadcast_to(words[:, :, None, :, None], spread).reshape(shape)

    def extra_repr(self) -> str:
        return f"{self.rows}, {self.columns}"
