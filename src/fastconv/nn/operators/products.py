"""Operators of binary layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import fastconv
from fastconv._backends import Array
from fastconv.adapters.torch_tensors import placed, to_tensor
from fastconv.nn.arrays import filters_of, lent, lent_if_any
from fastconv.nn.fakes import (
    image_size,
    numbers_dtype,
    steps_like,
)
from fastconv.nn.operators.registering import operator, tensors
from fastconv.nn.products import conv_product, linear_product, output_size, pair, sides
from fastconv.packed import PackedFilters, PackedSigns

GEOMETRY = "int[] stride, int[] padding, int[] dilation, int groups, int pad_value"
EPILOGUE = "Tensor? scale=None, bool by_window=False, Tensor? bias=None"
STEPS = "str[] steps, Tensor? parameters, Tensor? residual, Tensor? tau, Tensor? flip, bool numbers"


@operator("xnor_conv2d", f"(Tensor x, Tensor filters, int channels, {GEOMETRY}, {EPILOGUE}) -> Tensor")
def xnor_conv2d(
    x: Tensor,
    filters: Tensor,
    channels: int,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    pad_value: int,
    scale: Tensor | None = None,
    by_window: bool = False,
    bias: Tensor | None = None,
) -> Tensor:
    """scale * y + bias (N, O, Ho, Wo), y the convolution of the signs of ``x`` with ``filters``.

    Parameters
    ----------
    x : real (N, C, H, W), or words (N, H, W, ceil(C / 64))
    filters : words (O, kh, kw, ceil(channels / 64))
    channels : int
        C / groups.
    stride, dilation : [rows, columns]
    padding : [top, bottom, left, right], or [] for "same"
    scale, bias : (O,), optional
        int32 without either; otherwise float32, or float64 for float64 ``x``.
    by_window : bool
        Multiply ``scale`` by XNOR-Net's K, which takes real ``x``.
    """
    with placed(x.device):
        known = filters_of(filters, channels, scale if by_window else None)
        geometry = stride, padding, dilation, groups, pad_value
        factor = "xnor" if by_window else lent_if_any(scale)
        return to_tensor(_convolved(x, known, *geometry, scale=factor, bias=lent_if_any(bias)))


@xnor_conv2d.register_fake
def _(x: Tensor, filters: Tensor, channels: int, *options: Any) -> Tensor:
    *geometry, _groups, _pad_value = options[:5]
    rows, columns = output_size(image_size(x), filters.shape[1:3], *geometry)
    return x.new_empty((x.shape[0], filters.shape[0], rows, columns), dtype=numbers_dtype(x, *options[5:]))


@operator(
    "xnor_conv2d_steps",
    f"(Tensor x, Tensor filters, int channels, {GEOMETRY}, {STEPS}) -> Tensor[]",
)
def xnor_conv2d_steps(x: Tensor, filters: Tensor, channels: int, *options: Any) -> list[Tensor]:
    """What steps make of y, which is that of :func:`xnor_conv2d`: numbers, words of signs, or both.

    Parameters
    ----------
    x, filters, channels, geometry
        As in :func:`xnor_conv2d`.
    steps : list of str
        Kinds of steps, see docs/xnor.md. Without any, signs are of y itself.
    parameters : (P, O), optional
        Of the steps, in their order.
    residual : (N, O, Ho, Wo), optional
        What the step "add" adds.
    tau, flip : (O,), optional
        Signs of (v >= tau) xor flip are wanted.
    numbers : bool
        Whether numbers are wanted: float32 (N, O, Ho, Wo), channels_last.
    """
    geometry, (steps, parameters, residual, tau, flip, numbers) = options[:5], options[5:]
    with placed(x.device):
        array = lent(x)
        finished = steps, parameters, tau, flip, numbers
        run = conv_product(array, filters_of(filters, channels), geometry, finished)
        return tensors(run(array) if residual is None else run(array, lent(residual)))


@xnor_conv2d_steps.register_fake
def _(x: Tensor, filters: Tensor, channels: int, *options: Any) -> list[Tensor]:
    rows, columns = output_size(image_size(x), filters.shape[1:3], *options[:3])
    shape = x.shape[0], rows, columns
    return steps_like(x, shape, filters.shape[0], options[5:], lambda numbers: numbers.permute(0, 3, 1, 2))


@operator("xnor_linear", f"(Tensor x, Tensor filters, int features, {EPILOGUE}) -> Tensor")
def xnor_linear(
    x: Tensor,
    filters: Tensor,
    features: int,
    scale: Tensor | None = None,
    by_window: bool = False,
    bias: Tensor | None = None,
) -> Tensor:
    """scale * y + bias (..., O), y the products of the signs of ``x`` with ``filters``.

    Parameters
    ----------
    x : real (..., features), or words (..., ceil(features / 64))
    filters : words (O, 1, 1, ceil(features / 64))
    features : int
    scale, by_window, bias
        As in :func:`xnor_conv2d`; here K is the mean of abs(x) over each row.
    """
    with placed(x.device):
        y = fastconv.xnor_linear(
            _signs(x, features),
            filters_of(filters, features, scale if by_window else None),
            lent_if_any(bias),
            scale="xnor" if by_window else lent_if_any(scale),
        )
        return to_tensor(y)


@xnor_linear.register_fake
def _(x: Tensor, filters: Tensor, features: int, *epilogue: Any) -> Tensor:
    return x.new_empty((*x.shape[:-1], filters.shape[0]), dtype=numbers_dtype(x, *epilogue))


@operator("xnor_linear_steps", f"(Tensor x, Tensor filters, int features, {STEPS}) -> Tensor[]")
def xnor_linear_steps(x: Tensor, filters: Tensor, features: int, *options: Any) -> list[Tensor]:
    """What steps make of y (..., O), as in :func:`xnor_conv2d_steps`, y as in :func:`xnor_linear`."""
    steps, parameters, residual, tau, flip, numbers = options
    with placed(x.device):
        array = lent(x)
        run = linear_product(array, filters_of(filters, features), (steps, parameters, tau, flip, numbers))
        return tensors(run(array) if residual is None else run(array, lent(residual)))


@xnor_linear_steps.register_fake
def _(x: Tensor, filters: Tensor, features: int, *options: Any) -> list[Tensor]:
    return steps_like(x, x.shape[:-1], filters.shape[0], options, lambda numbers: numbers)


def _signs(x: Tensor, length: int) -> Array | PackedSigns:
    return PackedSigns(lent(x), length) if x.dtype == torch.uint64 else lent(x)


def _convolved(
    x: Tensor,
    filters: PackedFilters,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    pad_value: int,
    **asked: Any,
) -> Any:
    return fastconv.xnor_conv2d(
        _signs(x, filters.channels * groups),
        filters,
        stride=pair(stride),
        padding=sides(padding),
        dilation=pair(dilation),
        groups=groups,
        pad_value=pad_value,
        **asked,
    )
