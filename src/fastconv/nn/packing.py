"""Deployed modules that pack and unpack signs, between those that compute with them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastconv._backends import Array, backend_of
from fastconv._checks import flag, integer, real_array
from fastconv._specs import bits
from fastconv.nn import operators
from fastconv.nn.arrays import Planned, comparison, of_signs
from fastconv.nn.calls import PackedModule
from fastconv.packed import PackedSigns


class PackSigns(PackedModule):
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
        self.length = integer("PackSigns", "length", length, 1)
        self.image = flag("PackSigns", "image", image)
        self.comparing = flag("PackSigns", "comparing", comparing)
        self.register_buffer("tau", torch.zeros(length, dtype=torch.float32) if comparing else None)
        self.register_buffer("flip", torch.zeros(length, dtype=torch.bool) if comparing else None)

    def forward(self, x: Tensor) -> Tensor:
        """Numbers (N, C, H, W) to words (N, H, W, w), or (N, C) to (N, w)."""
        self._check(x.shape)
        if self.comparing:
            return operators.compare(x, self._axis, self.tau, self.flip)
        return operators.pack_signs(x, self._axis)

    def planned(self, x: Array) -> Planned:
        """As of :class:`PackedModule`."""
        self._check(x.shape)
        if self.comparing:
            return comparison(x, self._axis, self.tau, self.flip)
        real_array("pack_signs", "x", x)
        plan: Planned = backend_of("pack_signs", x).plan(
            bits.PackSigns(bits.memory_of(x), self._axis % x.ndim)
        )
        return of_signs(plan, "pack_signs", x.dtype)

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


class UnpackSigns(PackedModule):
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
        self.length = integer("UnpackSigns", "length", length, 1)
        self.image = flag("UnpackSigns", "image", image)

    def forward(self, words: Tensor) -> Tensor:
        """Words (N, H, W, w) to (N, C, H, W), or (..., w) to (..., length)."""
        signs = operators.unpack_signs(words, self.length, torch.float32)
        return signs.movedim(-1, -3).contiguous() if self.image else signs

    def planned(self, x: Array) -> Planned:
        """As of :class:`PackedModule`."""
        unpack, image = _unpacking(x, self.length), self.image
        order = *range(x.ndim - 3), x.ndim - 1, x.ndim - 3, x.ndim - 2

        def run(words: Array) -> Array:
            signs = unpack(words, None).astype(np.float32) * 2 - 1
            return signs.transpose(order).copy() if image else signs

        return run

    def extra_repr(self) -> str:
        return f"{self.length}, image={self.image}"


class JoinSigns(PackedModule):
    """Words of several images as one with the channels of all.

    Parameters
    ----------
    lengths : list of int
        Channels of each.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        super().__init__()
        self.lengths = [integer("JoinSigns", "lengths", length, 1) for length in lengths]
        self.takes = len(self.lengths)

    def forward(self, *words: Tensor) -> Tensor:
        """Words (N, H, W, w) of each to words (N, H, W, w of all)."""
        parts = [part.view(torch.int64) for part in words]
        joined = parts[0].new_zeros((*parts[0].shape[:-1], -(-sum(self.lengths) // 64)))
        for part, first in zip(parts, self._firsts, strict=True):
            at, shift = divmod(first, 64)
            joined[..., at : at + part.shape[-1]] |= part << shift
            over = joined[..., at + 1 : at + 1 + part.shape[-1]]
            if shift and over.shape[-1]:  # a word's bits beyond its 64 - shift first, which may be none
                over |= (part[..., : over.shape[-1]] >> (64 - shift)) & ((1 << shift) - 1)
        return joined.view(torch.uint64)

    def planned(self, *given: Array) -> Any:
        """As of :class:`PackedModule`."""
        firsts = self._firsts
        if not any(first % 64 for first in firsts):
            return lambda *words: np.concatenate(words, -1)
        width = -(-sum(self.lengths) // 64)
        return lambda *words: _joined(words, firsts, width)

    @property
    def _firsts(self) -> list[int]:
        """Where the first channel of each comes to lie."""
        return [0, *accumulate(self.lengths[:-1])]

    def extra_repr(self) -> str:
        return f"{self.lengths}"


class PackedFlatten(PackedModule):
    """Words of images to words of rows, in the order H, W, C: the weight that follows is permuted to it.

    Parameters
    ----------
    channels : int
    features : int
        H * W * channels.
    """

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.channels = integer("PackedFlatten", "channels", channels, 1)
        self.features = integer("PackedFlatten", "features", features, 1)

    def forward(self, words: Tensor) -> Tensor:
        """Words (N, H, W, w) to words (N, w) of H * W * channels signs."""
        self._check(words.shape)
        if self.channels % 64 == 0:
            return words.flatten(1)
        signs = operators.unpack_signs(words, self.channels, torch.int8)
        return operators.pack_signs(signs.flatten(1), -1)

    def planned(self, x: Array) -> Planned:
        """As of :class:`PackedModule`."""
        self._check(x.shape)
        images = x.shape[0]
        if self.channels % 64 == 0:
            width = self.features // 64
            return lambda words: words.reshape(images, width)
        unpack = _unpacking(x, self.channels)
        rows = unpack(x, None).reshape(images, self.features)
        pack = backend_of("PackedFlatten", x).plan(bits.PackBits(bits.memory_of(rows), 1))
        return lambda words: pack(unpack(words, None).reshape(rows.shape), None)

    def _check(self, shape: Sequence[int]) -> None:
        if len(shape) != 4:
            raise ValueError(f"PackedFlatten: words must have shape (N, H, W, w), got {tuple(shape)}")
        if shape[1] * shape[2] * self.channels != self.features:
            raise ValueError(
                f"PackedFlatten: images of {self.channels} channels must have {self.features} numbers, "
                f"got {shape[1]} rows of {shape[2]}"
            )

    def extra_repr(self) -> str:
        return f"{self.channels}, {self.features}"


def zero_words(*shape: int) -> Tensor:
    """Words for signs of ``shape``, packed along the last axis."""
    return torch.zeros((*shape[:-1], -(-shape[-1] // 64)), dtype=torch.uint64)


def _unpacking(words: Array, length: int) -> Any:
    """The plan that makes 0 and 1 (..., length) of words like ``words``."""
    signs = PackedSigns(words, length)
    return backend_of("unpack_signs", words).plan(
        bits.UnpackBits(bits.memory_of(words), words.ndim - 1, signs.length)
    )


def _joined(parts: Sequence[Array], firsts: Sequence[int], width: int) -> Array:
    """Words side by side, each shifted to where its first bit belongs."""
    joined = np.zeros_like(parts[0], shape=(*parts[0].shape[:-1], width))
    for part, first in zip(parts, firsts, strict=True):
        at, shift = divmod(first, 64)
        joined[..., at : at + part.shape[-1]] |= part << np.uint64(shift)
        over = joined[..., at + 1 : at + 1 + part.shape[-1]]
        if shift and over.shape[-1]:  # a word's bits beyond its 64 - shift first, which may be none
            over |= part[..., : over.shape[-1]] >> np.uint64(64 - shift)
    return joined
