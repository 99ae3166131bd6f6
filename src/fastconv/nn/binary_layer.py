"""What binary layers share: a weight, what becomes of its signs, and what is made of their products."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from fastconv._checks import integer, warn
from fastconv.nn import operators
from fastconv.nn.calls import is_followed
from fastconv.nn.fakes import float_result
from fastconv.nn.gradients import (
    Geometry,
    SignProduct,
    approximated,
    gradient_wanted,
    per_filter,
    product,
    residual,
    scaled_product,
    sign,
    straight_through,
)
from fastconv.nn.kept import Kept, Made, keep, key_of
from fastconv.nn.options import check_clip, check_scale
from fastconv.nn.several_bits import sum_of_products
from fastconv.packed import PackedFilters


class BinaryLayer(nn.Module):
    """A layer with ``weight`` (O, C, ...), which knows how its signs are multiplied by those of an input.

    In ``eval()`` it keeps what it made of its weight while :func:`fastconv.nn.kept.key_of` stays the same,
    until a gradient of the weight is wanted: fused optimizers write without counting. Copies of the layer,
    its files and its state do without.
    """

    _kept: Kept | None = None
    _may_keep = False

    def __init__(
        self,
        shape: tuple[int, ...],
        bias: bool,
        scale: Any,
        clip: Any,
        activation_bits: Any,
        weight_bits: Any,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.activation_bits = integer(name, "activation_bits", activation_bits, 1)
        self.weight_bits = integer(name, "weight_bits", weight_bits, 1)
        check_scale(name, scale, self.activation_bits)
        self.scale: str | None = scale
        self.clip = check_clip(name, clip)
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(shape[0])) if bias else None
        self.learned_scale = nn.Parameter(torch.empty(shape[0])) if scale == "learned" else None
        self._batches_seen: list[torch.Size] = []  # a list, because replicas share it
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """New weights and bias, as PyTorch's own layers draw them; a learned scale starts as alpha."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)
        if self.learned_scale is not None:
            with torch.no_grad():
                self.learned_scale.copy_(self.alpha() if self.weight_bits == 1 else torch.ones(()))

    def alpha(self) -> Tensor:
        """mean(abs(weight)) of each filter, (O,), in float32, for training and inference alike."""
        magnitudes = self.weight.detach().flatten(1).abs()
        return magnitudes.mean(dim=1, dtype=torch.float64).float()

    def packed(self) -> PackedFilters:
        """The signs of the weights as they are now, and alpha; of a layer with ``weight_bits=1``."""
        if self.weight_bits > 1:
            raise ValueError(
                f"{type(self).__name__}: packed() is for weight_bits=1, got {self.weight_bits}; "
                "filters() gives every bit"
            )
        return PackedFilters(self._words(), self.weight.shape[1], self.alpha())

    @torch.no_grad()
    def filters(self) -> tuple[list[Tensor], list[Tensor | None]]:
        """Words (O, kh, kw, w) of each bit of the weights as they are now, and what each is multiplied by."""
        if self.weight_bits > 1:
            alphas, words = operators.binarize_residual(self._channels_last(), self.weight_bits)
            learned = self.learned_scale
            return list(words), list(alphas if learned is None else alphas.double() * learned)
        fixed = self.alpha() if self.scale in ("alpha", "xnor") else None
        return [self._words()], [fixed if self.learned_scale is None else self.learned_scale.detach()]

    @torch.no_grad()
    def binary_forward(self, x: Tensor) -> Tensor:
        """What ``forward`` computes, by the kernels on packed bits.

        Equal to ``forward`` where the results are whole numbers; within rounding elsewhere.
        """
        rows = self._rows(x)
        words, scales = self.filters()
        y = sum_of_products(
            self._binary_product,
            rows,
            words,
            scales,
            activation_bits=self.activation_bits,
            window_scale=self._window_scale if self.scale == "xnor" else None,
            bias=self.bias,
        )
        return self._like(y, x)

    def forward(self, x: Tensor) -> Tensor:
        """The layer in floats, with the signs that the kernels see, and gradients."""
        rows = self._rows(x)
        self._look_for_negative_numbers(rows)
        dtype = float_result(x.dtype)
        with _full_precision(x.device.type):
            signs, outside = self._binarized(rows, dtype)
            k = self._window_scale(rows) if self.scale == "xnor" else None
            y = self._product(signs, outside, k)
            if self.learned_scale is not None:
                y = y * per_filter(self.learned_scale.to(dtype), y.ndim)
            if self.bias is not None:
                y = y + per_filter(self.bias.to(dtype), y.ndim)
        return self._like(y, x)

    def train(self, mode: bool = True) -> BinaryLayer:
        """As in any module. What was kept of the weight is forgotten."""
        self._may_keep, self._kept = not mode, None
        super().train(mode)
        return self

    def extra_repr(self) -> str:
        options = [f"bias={self.bias is not None}", f"scale={self.scale!r}", f"clip={self.clip:g}"]
        options += [f"{name}={getattr(self, name)}" for name in ("activation_bits", "weight_bits")]
        return ", ".join(options)

    def _binarized(self, x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | float]:
        """The signs of ``x``, or their sum of several bits; and what stands for the sign +1 outside."""
        if self.activation_bits == 1:
            return straight_through(x, dtype, self.clip), 1
        approximation, total = approximated(x, self.activation_bits, dtype, self.clip)
        return approximation, total.reshape(-1, *(1,) * (x.ndim - 1))

    def _weighted(self, x: Tensor, k: Tensor | None, geometry: Geometry) -> Tensor:
        """The product of ``x`` with the weights, scaled by alpha and K."""
        if self.weight_bits > 1:
            learning = gradient_wanted(self.weight)
            bits, clip = self.weight_bits, self.clip
            weight = approximated(self.weight, bits, x.dtype, clip)[0] if learning else self._factors(x)[0]
            y = product(x, weight, geometry)
            return y if k is None else y * k
        signs, alpha = self._factors(x)
        whole = self.activation_bits == 1
        if not gradient_wanted(x, self.weight, k):
            return scaled_product(x, signs, alpha, k, whole, geometry)[1]
        how = self.clip, whole, geometry
        scaled: Tensor = SignProduct.apply(x, self.weight, signs, alpha, k, how)
        return scaled

    def _factors(self, x: Tensor) -> Made:
        """The signs of the weight and alpha, as they are multiplied with ``x``; kept in ``eval()``."""
        weight = self.weight
        state = key_of(weight, x) if self._may_keep and not self.training else None
        if state is None:
            return self._made(x.dtype)
        if gradient_wanted(weight):
            self._may_keep, self._kept = False, None
            return self._made(x.dtype)
        key = state, x.dtype, self.weight_bits, self.scale
        known = self._kept
        if known is None or known.weight is not weight or known.key != key:
            known = keep(weight, key, lambda: self._made(x.dtype))
            if weight.is_cuda or not weight.is_shared():  # another process counts versions of its own
                self._kept = known
        return known.made

    def _made(self, dtype: torch.dtype) -> Made:
        weight = self.weight.detach()
        if self.weight_bits > 1:
            return residual(weight, self.weight_bits, dtype)[0], None
        alpha = self.alpha().to(dtype) if self.scale in ("alpha", "xnor") else None
        return sign(weight, dtype), alpha

    def _look_for_negative_numbers(self, x: Tensor) -> None:
        """Warn if the first batch that the layer is trained on has none."""
        if torch.compiler.is_compiling() or not self.training or self._batches_seen:
            return
        if is_followed(x) or not x.numel():
            return
        self._batches_seen.append(x.shape)
        if (x.detach() >= 0).all():
            warn(
                f"{type(self).__name__}: no number of a batch of shape {tuple(x.shape)} is negative, so the "
                "sign of each is +1 and the layer learns nothing from its input. The usual cause is a ReLU "
                "before the layer: leave it out, or put a batch normalization between the two."
            )

    def _apply(self, *args: Any, **kwargs: Any) -> BinaryLayer:
        self._kept = None
        super()._apply(*args, **kwargs)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_kept"}

    def _words(self) -> Tensor:
        words: Tensor = operators.pack_signs(self._channels_last(), 3)
        return words

    def _channels_last(self) -> Tensor:
        weight = self.weight.detach()
        return weight.reshape(*weight.shape[:2], *(weight.shape[2:] or (1, 1))).permute(0, 2, 3, 1)

    def _rows(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _like(self, y: Tensor, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _window_scale(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _product(self, signs: Tensor, outside: Tensor | float, k: Tensor | None) -> Tensor:
        raise NotImplementedError

    def _binary_product(
        self, x: Tensor, words: Tensor, scale: Tensor | None, by_window: bool, bias: Tensor | None
    ) -> Tensor:
        raise NotImplementedError


def _full_precision(device: str) -> AbstractContextManager[Any]:
    """No autocast: sums of signs beyond 2048 are not whole numbers of float16 any more."""
    if not torch.is_autocast_enabled(device):
        return nullcontext()
    without: AbstractContextManager[Any] = torch.autocast(device, enabled=False)
    return without
