"""Layers whose inputs and weights are signs: floats that learn while they train, bits afterwards."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fastconv._checks import Pair, integer, pair
from fastconv._checks import sign as one_of
from fastconv.nn import operators
from fastconv.nn.binary_layer import BinaryLayer
from fastconv.nn.gradients import activation_scale, pad
from fastconv.nn.options import check_groups, sides_around, sides_of

ONE_PIXEL = ((1, 1), (0, 0), (1, 1), 1)
"""The geometry of a row that is taken for an image."""


class BinaryConv2d(BinaryLayer):
    """Convolution of the signs of the input with the signs of the weight.

    In floats it computes scale * y + bias with y the whole numbers that :func:`fastconv.xnor_conv2d` gives,
    and passes gradients straight through the signs.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, dilation : int or (rows, columns)
    padding : int, (rows, columns), ((top, bottom), (left, right)), "valid" or "same"
        "same" gives ceil(H / stride) rows, the odd one at the bottom.
    groups : int
        Divides both numbers of channels.
    bias : bool
        Whether to add a bias, after scaling.
    pad_value : {0, 1, -1}
        What lies outside: nothing (exactly: those taps do not count), or a sign.
    scale : {None, "alpha", "xnor", "learned"}
        None: y itself. "alpha": mean(abs(weight)) of each filter. "xnor": that times
        :func:`fastconv.activation_scale`. "learned": a parameter for each filter, ``learned_scale``.
    clip : float
        Gradients pass where abs(input) <= clip and abs(weight) <= clip.
    activation_bits, weight_bits : int
        Several bits approximate the input or the weight by a sum of scaled signs, as
        :func:`fastconv.binarize_residual` does, with scales for each image and for each filter. The first
        scale of a filter is alpha, so that ``scale=None`` and ``"alpha"`` mean the same for several bits;
        "learned" multiplies the sum. Outside, every bit of the input is ``pad_value``.

    Raises
    ------
    ValueError
        For options that do not fit together, an input of another number of channels, or an image that is
        smaller than the window.

    Notes
    -----
    With W~ = alpha * sign(W) and n weights a filter, "alpha" and "xnor" have XNOR-Net's gradient
    dC/dW = dC/dW~ * (1/n + alpha * [abs(W) <= clip]) (Rastegari et al. 2016, section 3.1). Otherwise it is
    dC/dsign(W) * [abs(W) <= clip], and for several bits dC/dW^ * [abs(W) <= clip], W^ being their sum: CNTK's
    if ``clip`` is the number of bits. K, the learned scale and the bias have the gradients they have.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> layer = BinaryConv2d(3, 8, 3, padding=1, scale="alpha")
    >>> x = torch.randn(2, 3, 6, 6)
    >>> layer(x).shape
    torch.Size([2, 8, 6, 6])
    >>> bool((layer(x) == layer.binary_forward(x)).all())
    True
    >>> layer.packed()
    PackedFilters(shape=(8, 3, 3, 3), nbytes=608)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: Any = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = False,
        *,
        pad_value: int = 0,
        scale: str | None = None,
        clip: float = 1.0,
        activation_bits: int = 1,
        weight_bits: int = 1,
    ) -> None:
        name = "BinaryConv2d"
        inputs = integer(name, "in_channels", in_channels, 1)
        outputs = integer(name, "out_channels", out_channels, 1)
        parts = check_groups(name, groups, inputs, outputs)
        kernel = pair(name, "kernel_size", kernel_size, 1)
        shape = (outputs, inputs // parts, *kernel)
        super().__init__(shape, bias, scale, clip, activation_bits, weight_bits)
        self.in_channels, self.out_channels, self.groups = inputs, outputs, parts
        self.kernel_size = kernel
        self.stride = pair(name, "stride", stride, 1)
        self.dilation = pair(name, "dilation", dilation, 1)
        self.padding = padding
        self.sides = sides_of(name, padding, kernel, self.dilation)
        self.pad_value = one_of(name, "pad_value", pad_value, (0, 1, -1))

    def extra_repr(self) -> str:
        geometry = [f"{name}={getattr(self, name)!r}" for name in ("stride", "padding", "dilation", "groups")]
        head = [str(self.in_channels), str(self.out_channels), f"kernel_size={self.kernel_size}"]
        return ", ".join([*head, *geometry, f"pad_value={self.pad_value}", super().extra_repr()])

    def _rows(self, x: Tensor) -> Tensor:
        if x.ndim not in (3, 4) or x.shape[-3] != self.in_channels or not x.is_floating_point():
            raise ValueError(
                f"BinaryConv2d: x must be floats of shape (N, {self.in_channels}, H, W) or "
                f"({self.in_channels}, H, W), got {x.dtype} of shape {tuple(x.shape)}"
            )
        images = x if x.ndim == 4 else x[None]
        self._sides_around(images)  # where both forms refuse an image smaller than the window
        return images

    def _like(self, y: Tensor, x: Tensor) -> Tensor:
        return (y if x.ndim == 4 else y[0]).to(x.dtype)

    def _window_scale(self, x: Tensor) -> Tensor:
        """K, along the axis of filters."""
        k = activation_scale(x, self.kernel_size, self._sides_around(x), self._geometry((0, 0)))
        return k if self.groups == 1 else k.repeat_interleave(self.out_channels // self.groups, dim=1)

    def _product(self, signs: Tensor, outside: Tensor | float, k: Tensor | None) -> Tensor:
        top, bottom, left, right = sides = self._sides_around(signs)
        whole = self.activation_bits == self.weight_bits == 1
        if whole and not self.pad_value and (top, left) == (bottom, right):
            return self._weighted(signs, k, self._geometry((top, left)))
        value = self.pad_value * outside if self.pad_value else 0
        return self._weighted(pad(signs, sides, value), k, self._geometry((0, 0)))

    def _geometry(self, padding: Pair) -> tuple[Pair, Pair, Pair, int]:
        return self.stride, padding, self.dilation, self.groups

    def _sides_around(self, x: Tensor) -> list[int]:
        return sides_around(
            "BinaryConv2d", self.sides, x.shape[2:], self.kernel_size, self.stride, self.dilation
        )

    def _binary_product(
        self, x: Tensor, words: Tensor, scale: Tensor | None, by_window: bool, bias: Tensor | None
    ) -> Tensor:
        y: Tensor = operators.xnor_conv2d(
            x,
            words,
            self.in_channels // self.groups,
            self.stride,
            self.sides,
            self.dilation,
            self.groups,
            self.pad_value,
            scale,
            by_window,
            bias,
        )
        return y


class BinaryLinear(BinaryLayer):
    """Product of the signs of the input with the signs of the weight.

    Parameters
    ----------
    in_features, out_features : int
    bias, scale, clip, activation_bits, weight_bits
        As in :class:`BinaryConv2d`, a row of the input being an image: K is mean(abs(x)) of each row, and
        so is the first scale of several bits.

    Raises
    ------
    ValueError
        For options that do not fit together, or an input of another number of features.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> layer = BinaryLinear(100, 10, activation_bits=2, weight_bits=2)
    >>> x = torch.randn(5, 100)
    >>> torch.allclose(layer(x), layer.binary_forward(x), atol=1e-4)
    True
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        *,
        scale: str | None = None,
        clip: float = 1.0,
        activation_bits: int = 1,
        weight_bits: int = 1,
    ) -> None:
        inputs = integer("BinaryLinear", "in_features", in_features, 1)
        outputs = integer("BinaryLinear", "out_features", out_features, 1)
        super().__init__((outputs, inputs), bias, scale, clip, activation_bits, weight_bits)
        self.in_features, self.out_features = inputs, outputs

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {super().extra_repr()}"

    def _rows(self, x: Tensor) -> Tensor:
        if x.ndim == 0 or x.shape[-1] != self.in_features or not x.is_floating_point():
            raise ValueError(
                f"BinaryLinear: x must be floats of shape (..., {self.in_features}), "
                f"got {x.dtype} of shape {tuple(x.shape)}"
            )
        return x.flatten(0, -2) if x.ndim > 1 else x[None]

    def _like(self, y: Tensor, x: Tensor) -> Tensor:
        return y.reshape(*x.shape[:-1], self.out_features).to(x.dtype)

    def _window_scale(self, x: Tensor) -> Tensor:
        """K of each row."""
        return activation_scale(x[..., None, None], (1, 1), [0, 0, 0, 0], ONE_PIXEL).flatten(1)

    def _product(self, signs: Tensor, outside: Tensor | float, k: Tensor | None) -> Tensor:
        return self._weighted(signs, k, None)

    def _binary_product(
        self, x: Tensor, words: Tensor, scale: Tensor | None, by_window: bool, bias: Tensor | None
    ) -> Tensor:
        y: Tensor = operators.xnor_linear(x, words, self.in_features, scale, by_window, bias)
        return y
