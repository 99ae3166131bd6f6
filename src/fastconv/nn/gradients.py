"""Signs and their products in floats, and the gradients that pass straight through them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad
from torch.nn import functional

from fastconv.nn import operators
from fastconv.nn.fakes import float_result

Geometry = tuple[tuple[int, int], tuple[int, int], tuple[int, int], int] | None
"""(stride, padding, dilation, groups) of a convolution, padding with zeros; None for a linear layer."""


def gradient_wanted(*tensors: Tensor | None) -> bool:
    """Whether what is computed of ``tensors`` must know its gradient.

    What is no tensor stands for one in a graph, and a graph is made to be used in every mode. Tangents go
    forward in every mode, too; a Function refuses them, where operators alone would lose them in silence.
    """
    if forward_ad._current_level >= 0 or torch.jit.is_tracing():
        return True
    given = [x for x in tensors if x is not None]
    return torch.is_grad_enabled() and any(not isinstance(x, Tensor) or x.requires_grad for x in given)


def sign(x: Tensor, dtype: torch.dtype) -> Tensor:
    """+1 where x >= 0, else -1: 0 and -0.0 are +1, NaN is -1, as :func:`fastconv.pack_signs` has it.

    In place of zeros, and without a branch: ``torch.where`` branches at every number, and takes ten times as
    long. ``x`` is compared as it is, because what is too small for ``dtype`` has a sign as well.
    """
    signs = torch.zeros_like(x, dtype=dtype).le_(x)
    return torch.threshold_(signs, 0, -1)


def straight_through(x: Tensor, dtype: torch.dtype, clip: float) -> Tensor:
    """``sign(x)``, with the gradient of :class:`StraightThrough` if one is wanted."""
    if not gradient_wanted(x):
        return sign(x, dtype)
    signs: Tensor = StraightThrough.apply(x, dtype, clip)
    return signs


def approximated(x: Tensor, bits: int, dtype: torch.dtype, clip: float) -> tuple[Tensor, Tensor]:
    """``residual(x)``, with the gradient of :class:`Residual` if one is wanted."""
    if not gradient_wanted(x):
        return residual(x, bits, dtype)
    approximation, total = Residual.apply(x, bits, dtype, clip)
    return approximation, total


def residual(x: Tensor, bits: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """sum(m_i * b_i), the approximation of ``x`` (N, C, ...) by ``bits`` signs, and sum(m_i) (N,).

    Scales and signs are those of inference.
    """
    scales, words = operators.binarize_residual(x.movedim(1, -1), bits)
    signs, scales = operators.unpack_signs(words, x.shape[1], dtype), scales.to(dtype)
    terms = signs * scales.reshape(bits, x.shape[0], *(1,) * (x.ndim - 1))
    return terms.sum(dim=0).movedim(-1, 1), scales.sum(dim=0)


def per_filter(values: Tensor, rank: int) -> Tensor:
    """``values`` (O,) along axis 1 of ``rank``."""
    return values.reshape(-1, *(1,) * (rank - 2))


def product(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    if geometry is None:
        return functional.linear(x, weight)
    return functional.conv2d(x, weight, None, *geometry)


def scaled_product(
    x: Tensor, signs: Tensor, alpha: Tensor | None, k: Tensor | None, whole: bool, geometry: Geometry
) -> tuple[Tensor, Tensor]:
    """``alpha * k * product(x, signs)``, and before it the product alone, overwritten unless there is ``k``.

    There is no ``k`` without ``alpha``. It broadcasts against the result. ``whole`` says that ``x`` holds
    signs and zeros, so that the sums are whole numbers: they are rounded, since some convolutions, Winograd's
    among them, take them through fractions, and the sign of 0 must not hang on that.
    """
    y = product(x, signs, geometry)
    if whole:
        y.round_()
    if alpha is None:
        return y, y
    scale = per_filter(alpha, y.ndim)
    return y, y.mul_(scale) if k is None else (y * scale).mul_(k)


def product_gradients(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, needed: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of :func:`product` with respect to ``x`` and ``weight``, those that are ``needed``."""
    if geometry is None:
        return grad @ weight if needed[0] else None, grad.T @ x if needed[1] else None
    stride, padding, dilation, groups = geometry
    grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, dilation, False, [0, 0], groups, [*needed, False]
    )
    return grad_x, grad_weight


def _passed(ctx: Any, grad: Tensor) -> Tensor:
    """``grad`` where abs(x) <= clip, and 0 elsewhere, in the dtype of the x that ``ctx`` has."""
    (x,) = ctx.saved_tensors
    return x.detach().abs().le_(ctx.clip).mul_(grad)


class StraightThrough(Function):
    """``sign(x)``, whose gradient is taken for 1 where abs(x) <= clip, and for 0 elsewhere."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dtype: torch.dtype, clip: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.clip = clip
        return sign(x, dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _passed(ctx, grad), None, None


class Residual(Function):
    """``residual(x)``, whose gradient is that of :class:`StraightThrough`; CNTK's has the number of bits for
    ``clip``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bits: int, dtype: torch.dtype, clip: float) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x)
        ctx.clip = clip
        approximation, total = residual(x, bits, dtype)
        ctx.mark_non_differentiable(total)
        return approximation, total

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return _passed(ctx, grad), None, None, None


class SignProduct(Function):
    """``scaled_product(x, signs)`` with the ``signs`` of ``weight``, and XNOR-Net's gradient of the weight.

    ``how`` is the clip, whether the product is ``whole``, and its geometry.

    With W~ = alpha * sign(W) and n weights a filter, dC/dW = dC/dW~ * (1/n + alpha * [abs(W) <= clip])
    (Rastegari et al. 2016, section 3.1); without ``alpha``, dC/dW = dC/dsign(W) * [abs(W) <= clip].
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        signs: Tensor,
        alpha: Tensor | None,
        k: Tensor | None,
        how: tuple[float, bool, Geometry],
    ) -> Tensor:
        ctx.clip, whole, ctx.geometry = how
        y, scaled = scaled_product(x, signs, alpha, k, whole, ctx.geometry)
        ctx.save_for_backward(x, weight, signs, alpha, k, None if k is None else y)
        return scaled

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, signs, alpha, k, y = ctx.saved_tensors
        grad_k = None
        if k is not None:
            grad_k = (grad * y * per_filter(alpha, y.ndim)).sum_to_size(k.shape)
            grad = grad * k
        each = None if alpha is None else alpha.reshape(-1, *(1,) * (weight.ndim - 1))
        scaled = signs if each is None else signs * each
        grad_x, grad_weight = product_gradients(grad, x, scaled, ctx.geometry, ctx.needs_input_grad[:2])
        if grad_weight is not None:
            passes = weight.detach().abs().le_(ctx.clip).to(x.dtype)
            if each is not None:
                passes.mul_(each).add_(1 / weight[0].numel())
            grad_weight = passes.mul_(grad_weight).to(weight.dtype)
        return grad_x, grad_weight, None, None, grad_k, None


def activation_scale(
    x: Tensor, kernel: tuple[int, int], sides: list[int], geometry: tuple[Any, Any, Any, int]
) -> Tensor:
    """K of XNOR-Net, (N, groups, Ho, Wo): see :func:`fastconv.activation_scale`. Its gradient is its own.

    On the CPU it is the kernel's, so that deployed layers have the same to the last bit.
    """
    if x.device.type != "cpu":
        return _mean_under_windows(x, kernel, sides, geometry)
    if not gradient_wanted(x):
        return WindowScale.forward(None, x, kernel, sides, geometry)
    k: Tensor = WindowScale.apply(x, kernel, sides, geometry)
    return k


class WindowScale(Function):
    """K of XNOR-Net, by its kernel."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, kernel: tuple[int, int], sides: list[int], geometry: tuple[Any, Any, Any, int]
    ) -> Tensor:
        stride, _, dilation, groups = geometry
        if ctx is not None:
            ctx.save_for_backward(x)
            ctx.kernel, ctx.sides, ctx.geometry = kernel, sides, geometry
        k: Tensor = operators.activation_scale(x, kernel, stride, sides, dilation, groups)
        return k

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,), (stride, _, dilation, groups) = ctx.saved_tensors, ctx.geometry
        (n, channels, height, width), (top, _, left, _) = x.shape, ctx.sides
        means = pad(x.new_zeros((n, groups, height, width), dtype=torch.float64), ctx.sides, 0)
        window = means.new_full((groups, 1, *ctx.kernel), 1 / (ctx.kernel[0] * ctx.kernel[1]))
        how = stride, [0, 0], dilation, False, [0, 0], groups, [True, False, False]
        around, _, _ = torch.ops.aten.convolution_backward(grad.double(), means, window, None, *how)
        inside = around[:, :, top : top + height, left : left + width]
        each = inside.repeat_interleave(channels // groups, dim=1) / (channels // groups)
        return (each * x.sign()).to(x.dtype), None, None, None


def _mean_under_windows(
    x: Tensor, kernel: tuple[int, int], sides: list[int], geometry: tuple[Any, Any, Any, int]
) -> Tensor:
    """K by PyTorch's operators alone: training of one bit needs no CuPy."""
    stride, _, dilation, groups = geometry
    magnitudes = x.abs().unflatten(1, (groups, -1)).mean(dim=2, dtype=torch.float64)
    window = magnitudes.new_ones(groups, 1, *kernel)
    sums = functional.conv2d(pad(magnitudes, sides, 0), window, None, stride, 0, dilation, groups)
    return (sums / (kernel[0] * kernel[1])).to(float_result(x.dtype))


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
