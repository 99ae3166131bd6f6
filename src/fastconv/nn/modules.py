"""What :func:`fastconv.nn.deploy` puts in the place of layers: packed words in, kernels inside.

Between these modules signs travel as words (uint64, 64 signs each, packed along the last axis): (N, H, W,
ceil(C / 64)) for images, (..., ceil(n / 64)) for rows. A constructor takes what :func:`fastconv.nn.save`
writes beside the tensors, and makes buffers to be filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastconv._backends import Array, backend_of
from fastconv._checks import real_array
from fastconv._epilogue import Asked, Epilogue, epilogue_of
from fastconv._specs.xnor import BinaryLinear, completed, conv_spec, linear_shape, pool_spec
from fastconv.nn import operators
from fastconv.nn.arrays import Planned, filters_of, lent, lent_if_any, of_signs
from fastconv.nn.packing import zero_words
from fastconv.nn.sequential import PackedModule
from fastconv.nn.several_bits import sum_of_products
from fastconv.packed import PackedFilters, PackedSigns, Threshold

RESULTS = ("signs", "numbers")


class PackedLayer(PackedModule):
    """A binary layer whose filters are packed words, 32 times smaller than float32.

    Parameters
    ----------
    shape : (O, kh, kw)
    signs : int
        In each tap of a filter.
    result : {"signs", "numbers"}
        Words of what ``tau`` and ``flip`` say, or scale * y + bias in float32.
    activation_bits, weight_bits : int
    scaled, biased : bool
        Whether numbers have scales, a bias.
    by_window : bool
        Whether the scale is multiplied by XNOR-Net's K, which takes numbers; of one bit.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        signs: int,
        result: str,
        activation_bits: int,
        weight_bits: int,
        scaled: bool,
        biased: bool,
        by_window: bool,
    ) -> None:
        super().__init__()
        if result not in RESULTS:
            raise ValueError(f"{type(self).__name__}: result must be one of {RESULTS}, got {result!r}")
        self._signs = signs
        self.result, self.activation_bits, self.weight_bits = result, activation_bits, weight_bits
        self.scaled, self.biased, self.by_window = scaled, biased, by_window
        self.has_plan = activation_bits == weight_bits == 1
        for bit in range(weight_bits):  # one buffer for each, since kernels keep their own layout of a tensor
            self.register_buffer(f"words{bit}", zero_words(*shape, signs))
            self.register_buffer(f"scale{bit}", torch.zeros(shape[0]) if scaled else None)
        folded = result == "signs"
        self.register_buffer("tau", torch.zeros(shape[0], dtype=torch.int32) if folded else None)
        self.register_buffer("flip", torch.zeros(shape[0], dtype=torch.bool) if folded else None)
        self.register_buffer("bias", torch.zeros(shape[0]) if biased else None)

    def signs_of_words(self) -> list[tuple[str, int]]:
        """The buffers that hold words, and how many signs each row of them has."""
        return [(f"words{bit}", self._signs) for bit in range(self.weight_bits)]

    def _numbers(self, x: Tensor) -> Tensor:
        if self.has_plan:
            return self._product(x, self.words0, self.scale0, self.by_window, self.bias).float()
        bits = range(self.weight_bits)
        words, scales = ([getattr(self, f"{name}{bit}") for bit in bits] for name in ("words", "scale"))
        return sum_of_products(
            self._product, x, words, scales, activation_bits=self.activation_bits, bias=self.bias
        )

    def _operands(self, operation: str, x: Array, length: int) -> tuple[Any, Any, PackedFilters]:
        """Numbers and their dtype, or the signs in words and None; and the filters."""
        real_array(operation, "x", x)
        filters = filters_of(self.words0, self._signs, self.scale0 if self.by_window else None)
        return (PackedSigns(x, length), None, filters) if x.dtype == np.uint64 else (x, x.dtype, filters)

    def _epilogue(self, operation: str, x: Any, filters: PackedFilters, shape: tuple[int, ...]) -> Epilogue:
        """What becomes of the sums; if nothing does, a scale of 1 makes float32 of them."""
        if self.result == "signs":
            asked = Asked(threshold=Threshold(lent(self.tau), lent(self.flip)))
        elif self.by_window:
            asked = Asked("xnor", lent_if_any(self.bias))
        else:
            nothing = self.scale0 is None and self.bias is None
            scale = torch.ones(filters.shape[0], device=self.words0.device) if nothing else self.scale0
            asked = Asked(lent_if_any(scale), lent_if_any(self.bias))
        return epilogue_of(operation, x, filters, shape, asked)

    def _product(
        self, x: Tensor, words: Tensor, scale: Tensor | None, by_window: bool, bias: Tensor | None
    ) -> Tensor:
        raise NotImplementedError


class PackedConv2d(PackedLayer):
    """A binary convolution on packed words.

    Parameters
    ----------
    in_channels, out_channels, groups, pad_value : int
    kernel_size, stride, dilation : [rows, columns]
    padding : [top, bottom, left, right], or [] for "same"
    result, activation_bits, weight_bits, scaled, biased, by_window
        As in :class:`PackedLayer`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        groups: int = 1,
        pad_value: int = 0,
        result: str = "numbers",
        activation_bits: int = 1,
        weight_bits: int = 1,
        scaled: bool = False,
        biased: bool = False,
        by_window: bool = False,
    ) -> None:
        rows, columns = kernel_size
        shape = out_channels, rows, columns
        super().__init__(
            shape, in_channels // groups, result, activation_bits, weight_bits, scaled, biased, by_window
        )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = list(kernel_size), list(stride), list(dilation)
        self.padding, self.pad_value = list(padding), pad_value

    def forward(self, x: Tensor) -> Tensor:
        """Numbers (N, C, H, W) or words (N, H, W, w) to numbers (N, O, Ho, Wo) or words (N, Ho, Wo, w)."""
        if x.dim() == 3:
            return self(x[None])[0]
        if self.result == "numbers":
            return self._numbers(x)
        options = self._options()
        return operators.xnor_conv2d_signs(x, self.words0, *options, self.tau, self.flip)

    def planned(self, x: Array) -> Planned:
        """As of :class:`PackedModule`."""
        operation = "xnor_conv2d"
        signs, dtype, filters = self._operands(operation, x, self.in_channels)
        pairs = operators.pair(self.stride), operators.sides(self.padding), operators.pair(self.dilation)
        options = "NCHW", *pairs, self.groups, self.pad_value
        spec = conv_spec(options, operation, signs.shape, dtype is None, filters.shape)
        epilogue = self._epilogue(operation, signs, filters, spec.shape)
        spec = completed(spec, dtype, epilogue.outcome)
        plan = _bound(backend_of(operation, x, filters.words).plan(spec), filters, epilogue)
        return of_signs(plan, operation, dtype)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, groups={self.groups}, result={self.result!r}"
        )

    def _product(
        self, x: Tensor, words: Tensor, scale: Tensor | None, by_window: bool, bias: Tensor | None
    ) -> Tensor:
        return operators.xnor_conv2d(x, words, *self._options(), scale, by_window, bias)

    def _options(self) -> tuple[int, list[int], list[int], list[int], int, int]:
        channels = self.in_channels // self.groups
        return channels, self.stride, self.padding, self.dilation, self.groups, self.pad_value


class PackedLinear(PackedLayer):
    """A binary linear layer on packed words.

    Parameters
    ----------
    in_features, out_features : int
    result, activation_bits, weight_bits, scaled, biased, by_window
        As in :class:`PackedLayer`.
    rows_only : bool
        Whether a module was folded into it that takes channels along axis 1, so that x must have 2 axes.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        result: str = "numbers",
        activation_bits: int = 1,
        weight_bits: int = 1,
        scaled: bool = False,
        biased: bool = False,
        by_window: bool = False,
        rows_only: bool = False,
    ) -> None:
        super().__init__(
            (out_features, 1, 1), in_features, result, activation_bits, weight_bits, scaled, biased, by_window
        )
        self.in_features, self.out_features, self.rows_only = in_features, out_features, rows_only

    def forward(self, x: Tensor) -> Tensor:
        """Numbers (..., in) or words (..., w) to numbers (..., out) or words (..., w)."""
        self._check(x.shape)
        if self.result == "signs":
            return operators.xnor_linear_signs(x, self.words0, self.in_features, self.tau, self.flip)
        rows = x.reshape(-1, x.shape[-1])
        return self._numbers(rows).reshape(*x.shape[:-1], self.out_features)

    def planned(self, x: Array) -> Planned:
        """As of :class:`PackedModule`."""
        operation = "xnor_linear"
        self._check(x.shape)
        signs, dtype, filters = self._operands(operation, x, self.in_features)
        shape = linear_shape(operation, signs.shape, filters.shape[:2])
        epilogue = self._epilogue(operation, signs, filters, shape)
        spec = BinaryLinear(signs.shape, dtype, filters.shape[0], epilogue.outcome)
        plan = _bound(backend_of(operation, x, filters.words).plan(spec), filters, epilogue)
        return of_signs(plan, operation, dtype)

    def _check(self, shape: Sequence[int]) -> None:
        if self.rows_only and len(shape) != 2:
            raise ValueError(f"PackedLinear: x must have shape (N, in) here, got {tuple(shape)}")

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, result={self.result!r}"

    def _product(
        self, x: Tensor, words: Tensor, scale: Tensor | None, by_window: bool, bias: Tensor | None
    ) -> Tensor:
        return operators.xnor_linear(x, words, self.in_features, scale, by_window, bias)


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

    def planned(self, x: Array) -> Planned:
        """As of :class:`PackedModule`."""
        operation = "binary_max_pool2d"
        signs = PackedSigns(x, 64 * x.shape[-1])  # tails stay 0 whatever the length
        kernel, stride = operators.pair(self.kernel_size), operators.pair(self.stride)
        spec = pool_spec(operation, signs.shape, kernel, stride, operators.sides(self.padding))
        plan: Planned = backend_of(operation, x).plan(spec)
        if not self.inverting:
            return plan
        inverted = lent(self.inverted)
        return lambda words: _turned_over(plan(words), inverted)

    def extra_repr(self) -> str:
        return (
            f"{self.channels}, kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        )


def _bound(plan: Any, filters: PackedFilters, epilogue: Epilogue) -> Planned:
    """The plan of a product with all but its x; numbers are float32 whatever x is."""
    bound: Planned = partial(plan, filters=filters, epilogue=epilogue, out=None)
    if epilogue.outcome.dtype == np.float64:
        return lambda x: bound(x).astype(np.float32)
    return bound


def _turned_over(words: Array, bits: Array) -> Array:
    """words (..., n, w) ^ bits (w,), in place and line by line: w is often 1, and so short would loops be."""
    lines = words.reshape(*words.shape[:-2], words.shape[-2] * words.shape[-1])
    lines ^= np.broadcast_to(bits, words.shape[-2:]).reshape(-1)
    return words
