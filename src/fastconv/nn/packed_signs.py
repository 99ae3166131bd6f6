"""Modules that pack signs, pool, flatten and unpack them, between those of ``packed_layers``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

import fastconv
from fastconv._backends import Array, backend_of
from fastconv._geometry import window
from fastconv.nn import operators
from fastconv.nn._lent import Step, comparison, lent


class PackedMaxPool2d(nn.Module):
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
        self.channels, self.inverting = channels, inverting
        self.kernel_size, self.stride, self.padding = list(kernel_size), list(stride), list(padding)
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

    def settled(self, words: Array) -> Step:
        """``forward`` of arrays like ``words``, of NumPy or CuPy."""
        if words.ndim == 3:
            of_one = self.settled(words[None])
            return lambda words: of_one(words[None])[0]
        operation, (images, height, width, depth) = "binary_max_pool2d", words.shape
        kernel, stride = operators.pair(self.kernel_size), operators.pair(self.stride)
        geometry = window(operation, (height, width), kernel, stride, operators.sides(self.padding), 1)
        pool = backend_of(operation, words).module("xnor").binary_max_pool2d
        shape = images, *geometry.output, 64 * depth  # tails stay 0 whatever the length
        inverted = lent(self.inverted) if self.inverting else None

        def run(words: Array) -> Array:
            largest: Array = pool(words, geometry, shape)
            return largest if inverted is None else _turned_over(largest, inverted)

        return run

    def extra_repr(self) -> str:
        return (
            f"{self.channels}, kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        )


class PackSigns(nn.Module):
    """Numbers to the words of their signs.

    Parameters
    ----------
    length : int
        Channels of images, or features of rows.
    image : bool
        Whether numbers come as (N, C, H, W), else as (N, C).
    comparing : bool
        Whether they are signs of (v >= tau) xor flip, each channel with its own, in the place of v >= 0. NaN
        gives -1 either way.
    """

    def __init__(self, length: int, image: bool = True, comparing: bool = False) -> None:
        super().__init__()
        self.length, self.image, self.comparing = length, image, comparing
        self.register_buffer("tau", torch.zeros(length) if comparing else None)
        self.register_buffer("flip", torch.zeros(length, dtype=torch.bool) if comparing else None)

    def forward(self, x: Tensor) -> Tensor:
        """Numbers (N, C, H, W) to words (N, H, W, w), or (N, C) to (N, w)."""
        self._check(x.shape)
        if self.comparing:
            return operators.compare(x, self._axis, self.tau, self.flip)
        return operators.pack_signs(x, self._axis)

    def settled(self, x: Array) -> Step:
        """``forward`` of arrays like ``x``, of NumPy or CuPy."""
        self._check(x.shape)
        if self.comparing:
            return comparison(x, self._axis, self.tau, self.flip)
        axis = self._axis
        return lambda x: fastconv.pack_signs(x, axis=axis).words

    @property
    def _axis(self) -> int:
        return -3 if self.image else -1

    def _check(self, shape: Sequence[int]) -> None:
        """What a batch normalization would say to numbers that do not fit it."""
        allowed = (2,) if not self.image else (4,) if self.comparing else (3, 4)
        if len(shape) not in allowed or shape[self._axis] != self.length:
            wanted = f"(N, {self.length}, H, W)" if self.image else f"(N, {self.length})"
            raise ValueError(f"PackSigns: x must have shape {wanted} here, got {tuple(shape)}")

    def extra_repr(self) -> str:
        return f"{self.length}, image={self.image}, comparing={self.comparing}"


class UnpackSigns(nn.Module):
    """Words as +1 and -1 of float32, for a module that takes numbers.

    Parameters
    ----------
    length : int
        Signs along the last axis of the words.
    image : bool
        Whether this becomes axis -3.
    """

    def __init__(self, length: int, image: bool) -> None:
        super().__init__()
        self.length, self.image = length, image

    def forward(self, words: Tensor) -> Tensor:
        """Words (N, H, W, w) to (N, C, H, W), or (..., w) to (..., length)."""
        signs = operators.unpack_signs(words, self.length, torch.float32)
        return signs.movedim(-1, -3).contiguous() if self.image else signs

    def extra_repr(self) -> str:
        return f"{self.length}, image={self.image}"


class PackedFlatten(nn.Module):
    """Words of images to words of rows, in the order H, W, C: the weight that follows is permuted to it.

    Parameters
    ----------
    channels : int
    features : int
        H * W * channels.
    """

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.channels, self.features = channels, features

    def forward(self, words: Tensor) -> Tensor:
        """Words (N, H, W, w) to words (N, w) of H * W * channels signs."""
        if words.dim() != 4:
            raise ValueError(f"PackedFlatten: words must have shape (N, H, W, w), got {tuple(words.shape)}")
        if words.shape[1] * words.shape[2] * self.channels != self.features:
            raise ValueError(
                f"PackedFlatten: images of {self.channels} channels must have {self.features} numbers, "
                f"got {words.shape[1]} rows of {words.shape[2]}"
            )
        if self.channels % 64 == 0:
            return words.flatten(1)
        signs = operators.unpack_signs(words, self.channels, torch.int8)
        return operators.pack_signs(signs.flatten(1), -1)

    def extra_repr(self) -> str:
        return f"{self.channels}, {self.features}"


def _turned_over(words: Array, bits: Array) -> Array:
    """words (..., n, w) ^ bits (w,), in place and line by line: w is often 1, and so short would loops be."""
    lines = words.reshape(*words.shape[:-2], words.shape[-2] * words.shape[-1])
    lines ^= np.broadcast_to(bits, words.shape[-2:]).reshape(-1)
    return words


def zero_words(*shape: int) -> Tensor:
    """Words for signs of ``shape``, packed along the last axis."""
    return torch.zeros((*shape[:-1], -(-shape[-1] // 64)), dtype=torch.uint64)
