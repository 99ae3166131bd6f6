"""Layers of several bits, as sums of products of one bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from fastconv.nn import operators
from fastconv.nn.fakes import float_result
from fastconv.nn.gradients import per_filter

SignsProduct = Callable[[Tensor, Tensor, Tensor | None, bool, Tensor | None], Tensor]
"""``product(x, filters, scale, by_window, bias)``: an operator with its geometry given."""


def sum_of_products(
    product: SignsProduct,
    x: Tensor,
    filters: Sequence[Tensor],
    scales: Sequence[Tensor | None],
    *,
    activation_bits: int = 1,
    window_scale: Callable[[Tensor], Tensor] | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """A layer of binary products: k * sum over i and j of m_i * scale_j * (b_i . filters_j) + bias.

    Parameters
    ----------
    product : callable
        Of signs ``x`` and one of ``filters``.
    x : Tensor, shape (N, C, H, W) or (N, C)
        Real; b_i and m_i are its residual terms, or its signs and 1 for one bit.
    filters : sequence of words, one for each bit of the weights
    scales : sequence of Tensor (O,) or None
    activation_bits : int
    window_scale : callable, optional
        XNOR-Net's K of ``x``; takes ``activation_bits`` 1. For one bit the operator knows it, too.
    bias : Tensor, shape (O,), optional

    Returns
    -------
    Tensor
        int32 if there are neither scales nor bias, and one bit; else as float as ``x``, float32 at least.
    """
    if activation_bits == len(filters) == 1:
        return product(x, filters[0], scales[0], window_scale is not None, bias)
    dtype = float_result(x.dtype)
    total: Tensor | None = None
    for m, signs in _terms(x, activation_bits):
        for words, scale in zip(filters, scales, strict=True):
            y = product(signs, words, None, False, None).to(dtype)
            if scale is not None:
                y = y * per_filter(scale.to(dtype), y.ndim)
            if m is not None:
                y = y * m.to(dtype).reshape(-1, *(1,) * (y.ndim - 1))
            total = y if total is None else total + y
    assert total is not None
    if window_scale is not None:
        total = total * window_scale(x)
    return total if bias is None else total + per_filter(bias.to(dtype), total.ndim)


def _terms(x: Tensor, bits: int) -> list[tuple[Tensor | None, Tensor]]:
    """(m_i, words of b_i) of ``x`` (N, C, ...)."""
    if bits == 1:
        return [(None, operators.pack_signs(x, 1))]
    scales, words = operators.binarize_residual(x.movedim(1, -1), bits)
    return list(zip(scales, words, strict=True))
