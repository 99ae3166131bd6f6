"""Operators that pack signs, and unpack them."""

from __future__ import annotations

import torch
from torch import Tensor

import fastconv
from fastconv._backends import undisturbed
from fastconv.adapters.torch_tensors import placed, to_tensor
from fastconv.nn.arrays import comparison, lent
from fastconv.nn.fakes import (
    float_result,
    packed_like,
)
from fastconv.nn.operators.registering import operator
from fastconv.packed import PackedSigns


@operator("pack_signs", "(Tensor x, int axis) -> Tensor")
def pack_signs(x: Tensor, axis: int) -> Tensor:
    """The words of the signs of ``x`` along ``axis``, which becomes the last."""
    with placed(x.device):
        return to_tensor(fastconv.pack_signs(lent(x), axis=axis).words)


@pack_signs.register_fake
def _(x: Tensor, axis: int) -> Tensor:
    return packed_like(x, axis)


@operator("compare", "(Tensor x, int axis, Tensor tau, Tensor flip) -> Tensor")
@undisturbed
def compare(x: Tensor, axis: int, tau: Tensor, flip: Tensor) -> Tensor:
    """The words of (x >= tau) xor flip, and 0 for NaN, along ``axis``, which becomes the last.

    ``tau`` and ``flip`` (n,) have one for each index of ``axis``.
    """
    with placed(x.device):
        array = lent(x)
        return to_tensor(comparison(array, axis, tau, flip)(array))


@compare.register_fake
def _(x: Tensor, axis: int, tau: Tensor, flip: Tensor) -> Tensor:
    return packed_like(x, axis)


@operator("unpack_signs", "(Tensor words, int length, ScalarType dtype) -> Tensor")
def unpack_signs(words: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """The signs (..., length) in ``words``, as +1 and -1 of ``dtype``."""
    with placed(words.device):
        return to_tensor(PackedSigns(lent(words), length).unpack()).to(dtype)


@unpack_signs.register_fake
def _(words: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    return words.new_empty((*words.shape[:-1], length), dtype=dtype)


@operator("binarize_residual", "(Tensor x, int bits) -> (Tensor, Tensor)")
def binarize_residual(x: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Scales (bits, N) and words (bits, N, ...) of ``x`` (N, ..., n): each of its N parts for itself.

    See :func:`fastconv.binarize_residual`; here ``axis`` is 0.
    """
    # the order in which a sum is rounded must not depend on how x came to lie in memory
    with placed(x.device):
        terms = fastconv.binarize_residual(lent(x.contiguous()), bits, axis=0)
        scales, words = zip(*((to_tensor(m), to_tensor(signs.words)) for m, signs in terms), strict=True)
        return torch.stack(scales), torch.stack([w.view(torch.int64) for w in words]).view(torch.uint64)


@binarize_residual.register_fake
def _(x: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    words = x.new_empty((bits, *x.shape[:-1], (x.shape[-1] + 63) // 64), dtype=torch.uint64)
    return x.new_empty((bits, x.shape[0]), dtype=float_result(x.dtype)), words
