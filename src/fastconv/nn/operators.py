"""fastconv's kernels as PyTorch operators, which ``torch.compile`` and ``torch.export`` keep whole.

They take and return plain tensors, of the CPU or of CUDA. Signs are *words*: uint64, 64 signs each, packed
along the last axis as in :class:`fastconv.PackedSigns`. Wherever ``x`` is wanted, real numbers and words will
both do: what has dtype uint64 is words. Filters are the words (O, kh, kw, ceil(channels / 64)) of
:class:`fastconv.PackedFilters`; those of a linear layer have kh = kw = 1.

Beside each of them is a function of the same arguments that gives an empty tensor of the result's shape, for
compilers, which have no numbers.

No gradient flows through them: ``backward`` says so where numbers come out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

import fastconv
from fastconv._backends import Array, undisturbed
from fastconv.adapters.torch_tensors import placed, to_tensor
from fastconv.nn.arrays import comparison, filters_of, lent, lent_if_any
from fastconv.nn.fakes import (
    channelwise_like,
    float_result,
    image_size,
    numbers_dtype,
    packed_like,
    steps_like,
)
from fastconv.nn.products import channelwise as channelwise_run
from fastconv.nn.products import conv_product, linear_product, output_size, pair, sides
from fastconv.packed import PackedFilters, PackedSigns

GEOMETRY = "int[] stride, int[] padding, int[] dilation, int groups, int pad_value"
EPILOGUE = "Tensor? scale=None, bool by_window=False, Tensor? bias=None"
STEPS = "str[] steps, Tensor? parameters, Tensor? residual, Tensor? tau, Tensor? flip, bool numbers"


def operator(name: str, schema: str) -> Any:
    """Register what is decorated; older PyTorch cannot read a schema from annotations kept as strings."""
    return custom_op(f"fastconv::{name}", mutates_args=(), schema=schema)


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
        return _tensors(run(array) if residual is None else run(array, lent(residual)))


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
        return _tensors(run(array) if residual is None else run(array, lent(residual)))


@xnor_linear_steps.register_fake
def _(x: Tensor, filters: Tensor, features: int, *options: Any) -> list[Tensor]:
    return steps_like(x, x.shape[:-1], filters.shape[0], options, lambda numbers: numbers)


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
        return _tensors(channelwise_run(array, axis, pool, finished)(array))


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


def _tensors(results: Any) -> list[Tensor]:
    return [to_tensor(result) for result in (results if isinstance(results, tuple) else (results,))]
