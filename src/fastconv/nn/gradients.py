"""Signs and their products in floats, and the gradients that pass straight through them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from fastconv.nn import operators

Geometry = tuple[tuple[int, int], tuple[int, int], int] | None
"""(stride, dilation, groups) of a convolution; None for a linear layer."""


def sign(x: Tensor, dtype: torch.dtype) -> Tensor:
    """+1 where x >= 0, else -1: 0 and -0.0 are +1, NaN is -1, as :func:`fastconv.pack_signs` has it."""
    return torch.where(x >= 0, 1.0, -1.0).to(dtype)


def per_filter(values: Tensor, rank: int) -> Tensor:
    """``values`` (O,) along axis 1 of ``rank``."""
    return values.reshape(-1, *(1,) * (rank - 2))


def product(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    if geometry is None:
        return functional.linear(x, weight)
    stride, dilation, groups = geometry
    return functional.conv2d(x, weight, None, stride, 0, dilation, groups)


def product_gradients(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, needed: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of :func:`product` with respect to ``x`` and ``weight``, those that are ``needed``."""
    if geometry is None:
        return grad @ weight if needed[0] else None, grad.T @ x if needed[1] else None
    stride, dilation, groups = geometry
    grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, [0, 0], dilation, False, [0, 0], groups, [*needed, False]
    )
    return grad_x, grad_weight


class StraightThrough(Function):
    """``sign(x)``, whose gradient is taken for 1 where abs(x) <= clip, and for 0 elsewhere."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dtype: torch.dtype, clip: float) -> Tensor:
        ctx.save_for_backward(x.abs() <= clip)
        ctx.dtype = x.dtype
        return sign(x, dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (passes,) = ctx.saved_tensors
        return (grad * passes).to(ctx.dtype), None, None


class Residual(Function):
    """sum(m_i * b_i), the approximation of ``x`` (N, C, ...) by ``bits`` signs, and sum(m_i) (N,).

    Scales and signs are those of inference. The gradient is that of :class:`StraightThrough`; CNTK's has the
    number of bits for ``clip``.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bits: int, dtype: torch.dtype, clip: float) -> tuple[Tensor, Tensor]:
        scales, words = operators.binarize_residual(x.movedim(1, -1), bits)
        signs, scales = operators.unpack_signs(words, x.shape[1], dtype), scales.to(dtype)
        terms = signs * scales.reshape(bits, x.shape[0], *(1,) * (x.ndim - 1))
        total = scales.sum(dim=0)
        ctx.save_for_backward(x.abs() <= clip)
        ctx.dtype = x.dtype
        ctx.mark_non_differentiable(total)
        return terms.sum(dim=0).movedim(-1, 1), total

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (passes,) = ctx.saved_tensors
        return (grad * passes).to(ctx.dtype), None, None, None


class SignProduct(Function):
    """``alpha * k * product(x, sign(weight))``, with XNOR-Net's gradient of the weight.

    With W~ = alpha * sign(W) and n weights a filter, dC/dW = dC/dW~ * (1/n + alpha * [abs(W) <= clip])
    (Rastegari et al. 2016, section 3.1); without ``alpha``, dC/dW = dC/dsign(W) * [abs(W) <= clip].

    ``whole`` says that ``x`` holds signs and zeros, so that the sums are whole numbers: they are rounded,
    since some convolutions (Winograd's) take them through fractions, and the sign of 0 must not hang on that.
    ``k`` broadcasts against the result.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        alpha: Tensor | None,
        k: Tensor | None,
        clip: float,
        whole: bool,
        geometry: Geometry,
    ) -> Tensor:
        y = product(x, sign(weight, x.dtype), geometry)
        y = y.round() if whole else y
        ctx.save_for_backward(x, weight, alpha, k, None if k is None else y)
        ctx.clip, ctx.geometry = clip, geometry
        if alpha is None:
            return y
        scale = per_filter(alpha, y.ndim)
        return y * (scale if k is None else scale * k)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, alpha, k, y = ctx.saved_tensors
        grad_k = None
        if k is not None:
            grad_k = (grad * y * per_filter(alpha, y.ndim)).sum_to_size(k.shape)
            grad = grad * k
        scaled = sign(weight, x.dtype)
        passes = (weight.abs() <= ctx.clip).to(x.dtype)
        if alpha is not None:
            each = alpha.reshape(-1, *(1,) * (weight.ndim - 1))
            scaled, passes = scaled * each, passes * each + 1 / weight[0].numel()
        grad_x, grad_scaled = product_gradients(grad, x, scaled, ctx.geometry, ctx.needs_input_grad[:2])
        grad_weight = None if grad_scaled is None else (grad_scaled * passes).to(weight.dtype)
        return grad_x, grad_weight, None, grad_k, None, None, None


def activation_scale(
    x: Tensor, kernel: tuple[int, int], sides: list[int], geometry: tuple[Any, Any, int]
) -> Tensor:
    """K of XNOR-Net, (N, groups, Ho, Wo): see :func:`fastconv.activation_scale`. Its gradient is its own."""
    stride, dilation, groups = geometry
    magnitudes = x.abs().unflatten(1, (groups, -1)).mean(dim=2, dtype=torch.float64)
    window = magnitudes.new_ones(groups, 1, *kernel)
    sums = functional.conv2d(pad(magnitudes, sides, 0), window, None, stride, 0, dilation, groups)
    return (sums / (kernel[0] * kernel[1])).to(operators.float_result(x.dtype))


def pad(x: Tensor, sides: list[int], value: float | Tensor) -> Tensor:
    """``x`` (N, C, H, W) with ``value``, a number or (N, 1, 1, 1), on [top, bottom, left, right]."""
    if not any(sides):
        return x
    top, bottom, left, right = sides
    around = left, right, top, bottom
    if not isinstance(value, Tensor):
        return functional.pad(x, around, value=value)
    inside = functional.pad(torch.ones(x.shape[2:], dtype=torch.bool, device=x.device), around)
    return torch.where(inside, functional.pad(x, around), value)
