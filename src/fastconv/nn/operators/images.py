"""Operators on images, pixel by pixel and window by window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

import fastconv
from fastconv._backends import undisturbed
from fastconv.adapters.torch_tensors import placed, to_tensor
from fastconv.nn.arrays import lent
from fastconv.nn.fakes import (
    channelwise_like,
    float_result,
)
from fastconv.nn.operators.registering import operator, tensors
from fastconv.nn.products import channelwise as channelwise_run
from fastconv.nn.products import output_size, pair, sides
from fastconv.packed import PackedSigns


@operator(
    "channelwise",
    "(Tensor x, int axis, int[] pool, str[] steps, Tensor? parameters, Tensor? tau, Tensor? flip, "
    "bool numbers) -> Tensor[]",
)
@undisturbed
def channelwise(x: Tensor, axis: int, pool: Sequence[int], *finished: Any) -> list[Tensor]:
    """Steps on numbers, channel by channel: numbers like ``x``, and words of signs for each comparison.

    Parameters
    ----------
    x : float32
        With C channels along ``axis``.
    axis : int
        -3 of images.
    pool : list of int
        Of max-pooling kernel, stride (rows and columns each), top, bottom, left, right, and how many steps
        come before it; [] if there is none.
    steps, parameters
        As of :func:`xnor_conv2d_steps`.
    tau, flip : (K, C), optional
        Of K comparisons, (v >= tau) xor flip; the bit of NaN is 0.
    numbers : bool
    """
    with placed(x.device):
        array = lent(x)
        return tensors(channelwise_run(array, axis, pool, finished)(array))


@channelwise.register_fake
def _(x: Tensor, axis: int, pool: Sequence[int], *finished: Any) -> list[Tensor]:
    _steps, _parameters, tau, _flip, numbers = finished
    size = output_size(x.shape[-2:], pool[:2], pool[2:4], pool[4:8], (1, 1)) if pool else None
    return channelwise_like(x, axis, size, numbers, 0 if tau is None else tau.shape[0])


@operator(
    "activation_scale",
    "(Tensor x, int[] kernel_size, int[] stride, int[] padding, int[] dilation, int groups) -> Tensor",
)
def activation_scale(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """XNOR-Net's K (N, groups, Ho, Wo) of ``x`` (N, C, H, W), see :func:`fastconv.activation_scale`."""
    with placed(x.device):
        k = fastconv.activation_scale(
            lent(x),
            pair(kernel_size),
            stride=pair(stride),
            padding=sides(padding),
            dilation=pair(dilation),
            groups=groups,
        )
        return to_tensor(k)


@activation_scale.register_fake
def _(x: Tensor, kernel_size: Sequence[int], *options: Any) -> Tensor:
    *geometry, groups = options
    shape = x.shape[0], groups, *output_size(x.shape[2:], kernel_size, *geometry)
    return x.new_empty(shape, dtype=float_result(x.dtype))


@operator("binary_max_pool2d", "(Tensor words, int[] kernel_size, int[] stride, int[] padding) -> Tensor")
def binary_max_pool2d(
    words: Tensor, kernel_size: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """The largest sign under each window of ``words`` (N, H, W, w); ``padding`` as in :func:`xnor_conv2d`."""
    with placed(words.device):
        signs = PackedSigns(lent(words), 64 * words.shape[-1])  # tails stay 0 whatever the length
        largest = fastconv.binary_max_pool2d(
            signs, pair(kernel_size), stride=pair(stride), padding=sides(padding)
        )
        return to_tensor(largest.words)


@binary_max_pool2d.register_fake
def _(words: Tensor, kernel_size: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> Tensor:
    rows, columns = output_size(words.shape[1:3], kernel_size, stride, padding, (1, 1))
    return words.new_empty((words.shape[0], rows, columns, words.shape[3]))
