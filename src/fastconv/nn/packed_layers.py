"""What :func:`fastconv.nn.deploy` puts in the place of layers: packed words in, kernels inside.

Between these modules signs travel as words (uint64, 64 signs each, packed along the last axis): (N, H, W,
ceil(C / 64)) for images, (..., ceil(n / 64)) for rows. A constructor takes what :func:`fastconv.nn.save`
writes beside the tensors, and makes buffers to be filled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

import fastconv
from fastconv._backends import Array, backend_of
from fastconv._epilogue import Epilogue
from fastconv._layer import layer
from fastconv.nn import operators
from fastconv.nn._lent import Step, filters_of, lent_if_any, threshold_of
from fastconv.nn.inference import sum_of_products
from fastconv.nn.packed_signs import zero_words
from fastconv.packed import PackedSigns

RESULTS = ("signs", "numbers")


class PackedLayer(nn.Module):
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
        for bit in range(weight_bits):  # one buffer for each, since kernels keep their own layout of a tensor
            self.register_buffer(f"words{bit}", zero_words(*shape, signs))
            self.register_buffer(f"scale{bit}", torch.zeros(shape[0]) if scaled else None)
        folded = result == "signs"
        self.register_buffer("tau", torch.zeros(shape[0], dtype=torch.int32) if folded else None)
        self.register_buffer("flip", torch.zeros(shape[0], dtype=torch.bool) if folded else None)
        self.register_buffer("bias", torch.zeros(shape[0]) if biased else None)

    @property
    def takes_words(self) -> bool:
        """Whether words are all that the layer needs of its input."""
        return self.activation_bits == self.weight_bits == 1 and not self.by_window

    def signs_of_words(self) -> list[tuple[str, int]]:
        """The buffers that hold words, and how many signs each row of them has."""
        return [(f"words{bit}", self._signs) for bit in range(self.weight_bits)]

    def _numbers(self, x: Tensor) -> Tensor:
        if self.activation_bits == self.weight_bits == 1:
            return self._product(x, self.words0, self.scale0, self.by_window, self.bias).float()
        bits = range(self.weight_bits)
        words, scales = ([getattr(self, f"{name}{bit}") for bit in bits] for name in ("words", "scale"))
        return sum_of_products(
            self._product, x, words, scales, activation_bits=self.activation_bits, bias=self.bias
        )

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

    def settled(self, words: Array) -> Step:
        """``forward`` of arrays like ``words``, of NumPy or CuPy."""
        if words.ndim == 3:
            step_of_one = self.settled(words[None])
            return lambda words: step_of_one(words[None])[0]
        operation, signs = "xnor_conv2d", PackedSigns(words, self.in_channels)
        filters = filters_of(self.words0, self.in_channels // self.groups, None)
        pairs = operators.pair(self.stride), operators.sides(self.padding), operators.pair(self.dilation)
        options = *pairs, self.groups, self.pad_value
        asked = layer(operation, signs.shape, True, filters.shape, "NCHW", *options)
        if self.result == "signs":
            threshold = threshold_of(self.words0, self.tau, self.flip)
            epilogue = Epilogue(np.dtype(np.uint64), None, False, None, threshold)
        else:
            numbers = np.dtype(np.float32)
            epilogue = Epilogue(numbers, lent_if_any(self.scale0), False, lent_if_any(self.bias), None)
        backend = backend_of(operation, words, filters.words)
        step: Step = backend.module("xnor").settled_conv2d(filters, asked, epilogue)
        return step

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

    def settled(self, words: Array) -> Step:
        """``forward`` of arrays like ``words``, of NumPy or CuPy."""
        self._check(words.shape)
        features, filters = self.in_features, filters_of(self.words0, self.in_features, None)
        if self.result == "signs":
            threshold = threshold_of(self.words0, self.tau, self.flip)
            return lambda words: (
                fastconv.xnor_linear(PackedSigns(words, features), filters, threshold=threshold).words
            )
        scale, bias = lent_if_any(self.scale0), lent_if_any(self.bias)

        def numbers(words: Array) -> Array:
            y: Array = fastconv.xnor_linear(PackedSigns(words, features), filters, bias, scale=scale)
            return y.astype(np.float32, copy=False)

        return numbers

    def _check(self, shape: Sequence[int]) -> None:
        if self.rows_only and len(shape) != 2:
            raise ValueError(f"PackedLinear: x must have shape (N, in) here, got {tuple(shape)}")

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, result={self.result!r}"

    def _product(
        self, x: Tensor, words: Tensor, scale: Tensor | None, by_window: bool, bias: Tensor | None
    ) -> Tensor:
        return operators.xnor_linear(x, words, self.in_features, scale, by_window, bias)
