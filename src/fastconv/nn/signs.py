"""Signs, and max-pooling of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fastconv._checks import Pair, check_signs, pair
from fastconv.nn import operators
from fastconv.nn.gradients import pad, straight_through
from fastconv.nn.options import check_clip, sides_around, sides_of

UNSIGNED = {torch.uint8, torch.uint16, torch.uint32, torch.uint64}


class Sign(nn.Module):
    """The sign of v: +1 if v >= 0, else -1, with a straight-through gradient.

    Parameters
    ----------
    clip : float
        The gradient is that of the identity where abs(v) <= clip, and 0 elsewhere.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([-2.0, -0.5, 0.0, 0.5], requires_grad=True)
    >>> signs = Sign()(x)
    >>> signs.tolist()
    [-1.0, -1.0, 1.0, 1.0]
    >>> signs.sum().backward()
    >>> x.grad.tolist()
    [0.0, 1.0, 1.0, 1.0]
    """

    def __init__(self, clip: float = 1.0) -> None:
        super().__init__()
        self.clip = check_clip("Sign", clip)

    def forward(self, x: Tensor) -> Tensor:
        """Signs of the shape and dtype of ``x``."""
        if x.dtype in UNSIGNED:
            check_signs("Sign", "x", np.dtype(str(x.dtype).removeprefix("torch.")), cure="")
        return straight_through(x, x.dtype, self.clip)

    def extra_repr(self) -> str:
        return f"clip={self.clip:g}"


class BinaryMaxPool2d(nn.Module):
    """Max-pooling of signs: floats of +1 and -1, as :class:`Sign` makes them.

    Parameters
    ----------
    kernel_size : int or (rows, columns)
    stride : int or (rows, columns), optional
        ``kernel_size`` by default.
    padding : int, (rows, columns), ((top, bottom), (left, right)), "valid" or "same"
        What lies outside counts as -1.

    Examples
    --------
    >>> import torch
    >>> signs = Sign()(torch.tensor([[[[-3.0, 2.0], [-1.0, -1.0]]]]))
    >>> BinaryMaxPool2d((1, 2))(signs).tolist()
    [[[[1.0], [-1.0]]]]
    """

    def __init__(self, kernel_size: int | Pair, stride: int | Pair | None = None, padding: Any = 0) -> None:
        super().__init__()
        name = "BinaryMaxPool2d"
        self.kernel_size = pair(name, "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else pair(name, "stride", stride, 1)
        self.padding = padding
        self.sides = sides_of(name, padding, self.kernel_size, (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``x`` of shape (N, C, H, W) or (C, H, W), pooled."""
        return functional.max_pool2d(pad(x, self._sides_around(x), -1.0), self.kernel_size, self.stride)

    @torch.no_grad()
    def binary_forward(self, x: Tensor) -> Tensor:
        """The same, by the kernel on packed bits."""
        self._sides_around(x)  # where both forms refuse an image smaller than the window
        images = x if x.ndim == 4 else x[None]
        words = operators.pack_signs(images, 1)
        pooled = operators.binary_max_pool2d(words, self.kernel_size, self.stride, self.sides)
        signs = operators.unpack_signs(pooled, images.shape[1], x.dtype).movedim(-1, 1)
        return signs if x.ndim == 4 else signs[0]

    def _sides_around(self, x: Tensor) -> list[int]:
        name = "BinaryMaxPool2d"
        return sides_around(name, self.sides, x.shape[-2:], self.kernel_size, self.stride, (1, 1))

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, stride={self.stride}, padding={self.padding!r}"
