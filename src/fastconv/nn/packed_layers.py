"""What :func:`fastconv.nn.deploy` puts in the place of layers: packed words in, kernels inside.

Between these modules signs travel as words (uint64, 64 signs each, packed along the last axis): (N, H, W,
ceil(C / 64)) for images, (..., ceil(n / 64)) for rows. A constructor takes what :func:`fastconv.nn.save`
writes beside the tensors, and makes buffers to be filled.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fastconv.nn import operators
from fastconv.nn.inference import sum_of_products

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
            self.register_buffer(f"words{bit}", _words(*shape, signs))
            self.register_buffer(f"scale{bit}", torch.zeros(shape[0]) if scaled else None)
        folded = result == "signs"
        self.register_buffer("tau", torch.zeros(shape[0], dtype=torch.int32) if folded else None)
        self.register_buffer("flip", torch.zeros(shape[0], dtype=torch.bool) if folded else None)
        self.register_buffer("bias", torch.zeros(shape[0]) if biased else None)

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
        if self.rows_only and x.dim() != 2:
            raise ValueError(f"PackedLinear: x must have shape (N, in) here, got {tuple(x.shape)}")
        if self.result == "signs":
            return operators.xnor_linear_signs(x, self.words0, self.in_features, self.tau, self.flip)
        rows = x.reshape(-1, x.shape[-1])
        return self._numbers(rows).reshape(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, result={self.result!r}"

    def _product(
        self, x: Tensor, words: Tensor, scale: Tensor | None, by_window: bool, bias: Tensor | None
    ) -> Tensor:
        return operators.xnor_linear(x, words, self.in_features, scale, by_window, bias)


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
        self.register_buffer("inverted", _words(channels) if inverting else None)

    def signs_of_words(self) -> list[tuple[str, int]]:
        """As of :class:`PackedLayer`."""
        return [("inverted", self.channels)] if self.inverting else []

    def forward(self, words: Tensor) -> Tensor:
        """Words (N, H, W, w) to words (N, Ho, Wo, w)."""
        largest = operators.binary_max_pool2d(words, self.kernel_size, self.stride, self.padding)
        return largest ^ self.inverted if self.inverting else largest

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
        Whether each channel has a number ``tau`` to compare with, in the place of 0.
    flipping : bool
        Whether signs of some channels are turned over then. ``flip`` has a bit for each channel.
    """

    def __init__(
        self, length: int, image: bool = True, comparing: bool = False, flipping: bool = False
    ) -> None:
        super().__init__()
        self.length, self.image, self.comparing, self.flipping = length, image, comparing, flipping
        self.register_buffer("tau", torch.zeros(length) if comparing else None)
        self.register_buffer("flip", _words(length) if flipping else None)

    def signs_of_words(self) -> list[tuple[str, int]]:
        """As of :class:`PackedLayer`."""
        return [("flip", self.length)] if self.flipping else []

    def forward(self, x: Tensor) -> Tensor:
        """Numbers (N, C, H, W) to words (N, H, W, w), or (N, C) to (N, w)."""
        if not self.image and x.dim() != 2:
            raise ValueError(f"PackSigns: x must have shape (N, {self.length}) here, got {tuple(x.shape)}")
        words = operators.pack_signs(x, -3 if self.image else -1, self.tau)
        return words ^ self.flip if self.flipping else words

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
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, words: Tensor) -> Tensor:
        """Words (N, H, W, w) to words (N, w) of H * W * channels signs."""
        if words.dim() != 4:
            raise ValueError(f"PackedFlatten: words must have shape (N, H, W, w), got {tuple(words.shape)}")
        if self.channels % 64 == 0:
            return words.flatten(1)
        signs = operators.unpack_signs(words, self.channels, torch.int8)
        return operators.pack_signs(signs.flatten(1), -1)

    def extra_repr(self) -> str:
        return str(self.channels)


def _words(*shape: int) -> Tensor:
    """Words for signs of ``shape``, packed along the last axis."""
    return torch.zeros((*shape[:-1], -(-shape[-1] // 64)), dtype=torch.uint64)
