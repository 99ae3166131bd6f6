"""What :func:`fastconv.nn.deploy` puts in the place of layers: packed words in, kernels inside.

Between these modules signs travel as words (uint64, 64 signs each, packed along the last axis): (N, H, W,
ceil(C / 64)) for images, (..., ceil(n / 64)) for rows. A constructor takes what :func:`fastconv.nn.save`
writes beside the tensors, and makes buffers to be filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastconv._backends import Array
from fastconv._checks import flag, integer, sign
from fastconv._epilogue import PARAMETERS
from fastconv.nn import operators
from fastconv.nn.arrays import filters_of
from fastconv.nn.calls import PackedModule
from fastconv.nn.options import check_groups, check_sides, number_of_bits, whole_pair
from fastconv.nn.packing import zero_words
from fastconv.nn.products import (
    ADD,
    Finished,
    Geometry,
    Run,
    check_steps,
    constants_of,
    conv_product,
    linear_product,
)
from fastconv.nn.several_bits import sum_of_products

GIVEN = (["numbers"], ["signs"], ["numbers", "signs"])


class PackedLayer(PackedModule):
    """A binary layer whose filters are packed words, 32 times smaller than float32.

    Parameters
    ----------
    shape : (O, kh, kw)
    signs : int
        In each tap of a filter.
    gives : ["numbers"], ["signs"] or ["numbers", "signs"]
        Float32, words of (v >= ``tau``) xor ``flip``, or both.
    steps : list of str
        Kinds of what becomes of the sums, see docs/xnor.md; their numbers are the rows of ``constants``.
        After "add" a residual is called for. Without any, signs are of the sums.
    activation_bits, weight_bits : int
        Several give the sum of their products, numbers without steps.
    scaled, biased : bool
        Whether that sum has scales of filters, a bias.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        signs: int,
        gives: Sequence[str],
        steps: Sequence[str],
        activation_bits: int,
        weight_bits: int,
        scaled: bool,
        biased: bool,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self._signs, self.gives, self.steps = signs, list(gives), check_steps(name, steps, [*PARAMETERS])
        self.activation_bits = number_of_bits(name, "activation_bits", activation_bits)
        self.weight_bits = number_of_bits(name, "weight_bits", weight_bits)
        self.scaled, self.biased = flag(name, "scaled", scaled), flag(name, "biased", biased)
        self.has_plan = activation_bits == weight_bits == 1
        self.overwrites = ADD in self.steps and "numbers" in self.gives
        if self.gives not in GIVEN or (self.gives != ["signs"] and self.has_plan and not self.steps):
            raise ValueError(f"{name}: gives must be one of {GIVEN}, numbers with steps, got {self.gives!r}")
        if not self.has_plan and (self.steps or self.gives != ["numbers"]):
            raise ValueError(f"{name}: several bits give numbers, without steps, got {gives!r}, {steps!r}")
        self.takes, self.results = 1 + self.steps.count(ADD), len(self.gives)
        for bit in range(weight_bits):  # one buffer for each, since kernels keep their own layout of a tensor
            self.register_buffer(f"words{bit}", zero_words(*shape, signs))
            self.register_buffer(
                f"scale{bit}", torch.zeros(shape[0], dtype=torch.float32) if scaled else None
            )
        self.register_buffer("bias", torch.zeros(shape[0], dtype=torch.float32) if biased else None)
        self.register_buffer("constants", constants_of(self.steps, shape[0]))
        bounds = torch.zeros(shape[0], dtype=torch.float32 if self.steps else torch.int32)
        signed = "signs" in self.gives
        self.register_buffer("tau", bounds if signed else None)
        self.register_buffer("flip", torch.zeros(shape[0], dtype=torch.bool) if signed else None)

    def signs_of_words(self) -> list[tuple[str, int]]:
        """The buffers that hold words, and how many signs each row of them has."""
        return [(f"words{bit}", self._signs) for bit in range(self.weight_bits)]

    def extra_repr(self) -> str:
        return f"gives={self.gives}, steps={self.steps}"

    def _summed(self, x: Tensor) -> Tensor:
        """The sum of the products of several bits."""
        bits = range(self.weight_bits)
        words, scales = ([getattr(self, f"{name}{bit}") for bit in bits] for name in ("words", "scale"))
        return sum_of_products(
            self._product, x, words, scales, activation_bits=self.activation_bits, bias=self.bias
        )

    def _product(
        self, x: Tensor, words: Tensor, scale: Tensor | None, by_window: bool, bias: Tensor | None
    ) -> Tensor:
        raise NotImplementedError

    @property
    def _finished(self) -> Finished:
        return self.steps, self.constants, self.tau, self.flip, "numbers" in self.gives

    def _ending(self, residual: Tensor | None) -> tuple[Any, ...]:
        """The last arguments of an operator."""
        steps, constants, tau, flip, numbers = self._finished
        return steps, constants, residual, tau, flip, numbers


class PackedConv2d(PackedLayer):
    """A binary convolution on packed words.

    Parameters
    ----------
    in_channels, out_channels, groups, pad_value : int
    kernel_size, stride, dilation : [rows, columns]
    padding : [top, bottom, left, right], or [] for "same"
    gives, steps, activation_bits, weight_bits, scaled, biased
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
        gives: Sequence[str] = ("signs",),
        steps: Sequence[str] = (),
        activation_bits: int = 1,
        weight_bits: int = 1,
        scaled: bool = False,
        biased: bool = False,
    ) -> None:
        name = "PackedConv2d"
        inputs = integer(name, "in_channels", in_channels, 1)
        outputs = integer(name, "out_channels", out_channels, 1)
        parts = check_groups(name, groups, inputs, outputs)
        kernel = whole_pair(name, "kernel_size", kernel_size)
        signs = inputs // parts
        super().__init__(
            (outputs, *kernel), signs, gives, steps, activation_bits, weight_bits, scaled, biased
        )
        self.in_channels, self.out_channels, self.groups, self.kernel_size = inputs, outputs, parts, kernel
        self.stride = whole_pair(name, "stride", stride)
        self.dilation = whole_pair(name, "dilation", dilation)
        self.padding = check_sides(name, padding)
        self.pad_value = sign(name, "pad_value", pad_value, (0, 1, -1))

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Any:
        """Numbers (N, C, H, W) or words (N, H, W, w), and the residual (N, O, Ho, Wo) if there is one, to
        numbers (N, O, Ho, Wo), words (N, Ho, Wo, w), or both."""
        if x.dim() == 3:
            given = self(x[None], None if residual is None else residual[None])
            return tuple(part[0] for part in given) if isinstance(given, tuple) else given[0]
        if not self.has_plan:
            return self._summed(x)
        channels = self.in_channels // self.groups
        ending = self._ending(residual)
        given = operators.xnor_conv2d_steps(x, self.words0, channels, *self._geometry, *ending)
        return given[0] if len(given) == 1 else tuple(given)

    def planned(self, x: Array, residual: Array | None = None) -> Run:
        """As of :class:`PackedModule`."""
        return conv_product(x, filters_of(self.words0, self._signs), self._geometry, self._finished)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, groups={self.groups}, {super().extra_repr()}"
        )

    def _product(
        self, x: Tensor, words: Tensor, scale: Tensor | None, by_window: bool, bias: Tensor | None
    ) -> Tensor:
        channels = self.in_channels // self.groups
        y: Tensor = operators.xnor_conv2d(x, words, channels, *self._geometry, scale, by_window, bias)
        return y

    @property
    def _geometry(self) -> Geometry:
        return self.stride, self.padding, self.dilation, self.groups, self.pad_value


class PackedLinear(PackedLayer):
    """A binary linear layer on packed words.

    Parameters
    ----------
    in_features, out_features : int
    gives, steps, activation_bits, weight_bits, scaled, biased
        As in :class:`PackedLayer`.
    rows_only : bool
        Whether a module was folded into it that takes channels along axis 1, so that x must have 2 axes.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        gives: Sequence[str] = ("signs",),
        steps: Sequence[str] = (),
        activation_bits: int = 1,
        weight_bits: int = 1,
        scaled: bool = False,
        biased: bool = False,
        rows_only: bool = False,
    ) -> None:
        name = "PackedLinear"
        inputs = integer(name, "in_features", in_features, 1)
        shape = integer(name, "out_features", out_features, 1), 1, 1
        super().__init__(shape, inputs, gives, steps, activation_bits, weight_bits, scaled, biased)
        self.in_features, self.out_features = inputs, shape[0]
        self.rows_only = flag(name, "rows_only", rows_only)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Any:
        """Numbers (..., in) or words (..., w), and the residual (..., out) if there is one, to numbers
        (..., out), words (..., w), or both."""
        self._check(x.shape)
        if not self.has_plan:
            return self._summed(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], self.out_features)
        given = operators.xnor_linear_steps(x, self.words0, self.in_features, *self._ending(residual))
        return given[0] if len(given) == 1 else tuple(given)

    def planned(self, x: Array, residual: Array | None = None) -> Run:
        """As of :class:`PackedModule`."""
        self._check(x.shape)
        return linear_product(x, filters_of(self.words0, self._signs), self._finished)

    def _check(self, shape: Sequence[int]) -> None:
        if self.rows_only and len(shape) != 2:
            raise ValueError(f"PackedLinear: x must have shape (N, in) here, got {tuple(shape)}")

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {super().extra_repr()}"

    def _product(
        self, x: Tensor, words: Tensor, scale: Tensor | None, by_window: bool, bias: Tensor | None
    ) -> Tensor:
        y: Tensor = operators.xnor_linear(x, words, self.in_features, scale, by_window, bias)
        return y
