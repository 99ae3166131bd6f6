"""Layers of several bits, as sums of products of one bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from fastconv.nn import operators
from fastconv.nn.gradients import per_filter

SignsProduct = Callable[[Tensor, Tensor, Tensor | None, bool, Tensor | None], Tensor]
"""``product(x, filters, scale, by_window, bias)``: an operator whose geometry is settled."""


def sum_of_products(
    product: SignsProduct,
    x: Tensor,
    filters: Sequence[Tensor],
    scales: Sequence[Tensor | None],
    *,
    activation_bits: int = 1,
    by_window: bool = False,
    bias: Tensor | None = None,
) -> Tensor:
    """A layer of binary products: sum over i and j of m_i * scale_j * (b_i . filters_j) + bias.

    Parameters
    ----------
    product : callable
        Of signs ``x`` and one of ``filters``.
    x : Tensor, shape (N, C, H, W) or (N, C)
        Real; b_i and m_i are its residual terms, or its signs and 1 for one bit.
    filters : sequence of words, one for each bit of the weights
    scales : sequence of Tensor (O,) or None
    activation_bits : int
    by_window : bool
        Multiply by XNOR-Net's K; takes ``activation_bits`` 1.
    bias : Tensor, shape (O,), optional

    Returns
    -------
    Tensor
        int32 if there are neither scales nor bias, and one bit; else as float as ``x``, float32 at least.
    """
    if activation_bits == 1:
        parts = [
            product(x, words, scale, by_window, bias if len(filters) == 1 else None)
            for words, scale in zip(filters, scales, strict=True)
        ]
        if len(parts) == 1:
            return parts[0]
        total = sum(parts[1:], start=parts[0])
    else:
        total = None
        for m, signs in zip(*operators.binarize_residual(x.movedim(1, -1), activation_bits), strict=True):
            for words, scale in zip(filters, scales, strict=True):
                y = product(signs, words, None, False, None).to(m.dtype)
                y = y if scale is None else y * per_filter(scale.to(m.dtype), y.ndim)
                y = y * m.reshape(-1, *(1,) * (y.ndim - 1))
                total = y if total is None else total + y
    return total if bias is None else total + per_filter(bias.to(total.dtype), total.ndim)
