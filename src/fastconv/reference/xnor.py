"""The plain-NumPy meaning of :mod:`fastconv.xnor`."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv._backends import unfollowed
from fastconv._checks import check_signs, float_result, normalize_axis
from fastconv._geometry import ImageLayout, Window, image_layout, window
from fastconv.packed import PackedFilters, PackedSigns, Threshold
from fastconv.reference._out import write
from fastconv.reference.bits import pack_signs, packbits64, unpackbits64
from fastconv.reference.patches import tap_slices


@unfollowed
def xnor_matmul(a: Any, b: Any, /, *, out: Any = None) -> Any:
    """As :func:`fastconv.xnor_matmul`."""
    left, right = signs_of(a, "xnor_matmul", "a"), signs_of(b, "xnor_matmul", "b")
    if isinstance(b, PackedSigns) and right.ndim > 1:
        right = np.swapaxes(right, -1, -2)
    return write(left.astype(np.int32) @ right.astype(np.int32), out)


@unfollowed
def xnor_linear(
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    scale: Any = None,
    threshold: Any = None,
    residual: Any = None,
    activation: Any = None,
    signs: Any = None,
    out: Any = None,
) -> Any:
    """As :func:`fastconv.xnor_linear`."""
    if isinstance(weight, PackedFilters):
        rows, magnitudes = signs_of(weight)[:, :, 0, 0], weight.alpha
    else:
        rows = signs_of(weight, "xnor_linear", "weight")
        magnitudes = None if isinstance(weight, PackedSigns) else mean_magnitude(np.asarray(weight))
    y = signs_of(x, "xnor_linear").astype(np.int32) @ rows.T.astype(np.int32)
    k = None
    if isinstance(scale, str):
        if scale == "xnor":
            totals = np.abs(real(x).astype(np.float64)).sum(axis=-1, keepdims=True)
            k = (totals / max(rows.shape[1], 1)).astype(result_dtype(x))
        scale = magnitudes
    if threshold is not None:
        return compared(y, threshold.tau, threshold.flip, out)
    numbers = finish(y, result_dtype(x), Steps(scale, k, bias, residual, activation))
    if signs is None:
        return write(numbers, out)
    return write(numbers, out), compared(numbers, *tau_and_flip(signs, numbers.dtype), None)


@unfollowed
def pack_filters(weight: Any, /, *, zero: int = 1) -> PackedFilters:
    """As :func:`fastconv.pack_filters`."""
    weight = np.asarray(weight)
    check_signs("pack_filters", "weight", weight.dtype, zero, cure="")
    packed = pack_signs(weight, axis=1, zero=zero, threshold=np.int64(0))
    return PackedFilters(packed.words, packed.length, mean_magnitude(weight))


@unfollowed
def xnor_conv2d(
    x: Any,
    weight: Any,
    /,
    *,
    stride: Any = 1,
    padding: Any = 0,
    pad_value: int = 0,
    dilation: Any = 1,
    groups: int = 1,
    scale: Any = None,
    bias: Any = None,
    threshold: Any = None,
    residual: Any = None,
    activation: Any = None,
    signs: Any = None,
    data_format: str = "NCHW",
    out: Any = None,
) -> Any:
    """As :func:`fastconv.xnor_conv2d`."""
    packed = isinstance(x, PackedSigns)
    image = signs_of(x, "xnor_conv2d")
    source = image_layout("xnor_conv2d", image.shape, "NHWC" if packed else data_format, (2, 4))
    kernel = signs_of(weight, "xnor_conv2d", "weight", cure="")
    if kernel.ndim == 2:
        kernel = kernel[None, None]
    w = window("xnor_conv2d", source.sizes(image.shape)[2:], kernel.shape[2:], stride, padding, dilation)
    padded = np.pad(nchw(image, source), [(0, 0), (0, 0), *w.padding], constant_values=pad_value)
    n, c = padded.shape[:2]
    o = kernel.shape[0]
    inputs = padded.reshape(n, groups, c // groups, *w.padded).astype(np.int32)
    filters = kernel.reshape(groups, o // groups, c // groups, w.taps).astype(np.int32)
    y = np.zeros((n, groups, o // groups, *w.output), np.int32)
    for tap, taken in enumerate(tap_slices(w)):
        y += np.einsum("ngchw,goc->ngohw", inputs[(..., *taken)], filters[..., tap])
    y = y.reshape(n, o, *w.output).transpose(0, 2, 3, 1)  # filters last, as scale and threshold want them

    k = None
    if isinstance(scale, str):
        if scale == "xnor":
            k = window_means(nchw(real(x), source), w, groups).astype(result_dtype(x))
            k = np.repeat(k, o // groups, axis=1).transpose(0, 2, 3, 1)
        packed_weight = isinstance(weight, PackedFilters)
        scale = weight.alpha if packed_weight else mean_magnitude(np.asarray(weight).reshape(kernel.shape))
    layout = ImageLayout(source.rank, data_format == "NHWC")
    logical = ImageLayout(max(source.rank, 3), True).shape(n, o, *w.output)
    if threshold is not None:
        return compared(y.reshape(logical), threshold.tau, threshold.flip, out)
    if residual is not None:
        residual = nchw(np.asarray(residual), layout).transpose(0, 2, 3, 1)
    values = finish(y, result_dtype(x), Steps(scale, k, bias, residual, activation))
    moved = values if layout.channels_last else values.transpose(0, 3, 1, 2)
    numbers = write(moved.reshape(layout.shape(n, o, *w.output)), out)
    if signs is None:
        return numbers
    return numbers, compared(values.reshape(logical), *tau_and_flip(signs, values.dtype), None)


@unfollowed
def activation_scale(
    x: Any,
    kernel_size: Any,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    data_format: str = "NCHW",
) -> Any:
    """As :func:`fastconv.activation_scale`."""
    x = np.asarray(x)
    layout = image_layout("activation_scale", x.shape, data_format, (2, 4))
    w = window("activation_scale", layout.sizes(x.shape)[2:], kernel_size, stride, padding, dilation)
    k = window_means(nchw(real(x), layout), w, groups).astype(float_result(x.dtype))
    moved = k.transpose(0, 2, 3, 1) if layout.channels_last else k
    return write(moved.reshape(layout.shape(k.shape[0], groups, *w.output)), None)


@unfollowed
def fold_batchnorm(
    gamma: Any,
    beta: Any,
    mean: Any,
    var: Any,
    eps: float = 1e-5,
    *,
    alpha: Any = None,
    bias: Any = None,
    n: int,
) -> Threshold:
    """As :func:`fastconv.fold_batchnorm`, by looking at every integer: the bit changes once at most."""
    gamma, beta, mean, var = (np.asarray(p, np.float32) for p in (gamma, beta, mean, var))
    alpha, bias = (
        np.asarray(p, np.float32) for p in (1 if alpha is None else alpha, 0 if bias is None else bias)
    )
    y = np.arange(-n, n + 1, dtype=np.float32)[:, None]
    slope = gamma * (np.float32(1) / np.sqrt(var + np.float32(eps)))
    bit = (alpha * y + bias) * slope + (beta - mean * slope) >= 0
    rises, falls = bit[-1] & ~bit[0], bit[0] & ~bit[-1]
    step = (bit != bit[0]).argmax(axis=0) - n
    tau = np.where(rises | falls, step, np.iinfo(np.int32).min)
    return Threshold(tau.astype(np.int32), ~bit[-1])


@unfollowed
def binary_max_pool2d(x: Any, kernel_size: Any, *, stride: Any = None, padding: Any = 0) -> PackedSigns:
    """As :func:`fastconv.binary_max_pool2d`."""
    image = signs_of(x, "binary_max_pool2d", cure="")
    layout = image_layout("binary_max_pool2d", image.shape, "NHWC", (3, 4))
    n, c, *size = layout.sizes(image.shape)
    w = window(
        "binary_max_pool2d",
        (size[0], size[1]),
        kernel_size,
        kernel_size if stride is None else stride,
        padding,
        1,
    )
    padded = np.pad(nchw(image, layout), [(0, 0), (0, 0), *w.padding], constant_values=-1)
    largest = np.max([padded[(..., *taken)] for taken in tap_slices(w)], axis=0)
    return pack_signs(largest.transpose(0, 2, 3, 1).reshape(layout.shape(n, c, *w.output)))


@np.errstate(over="ignore", invalid="ignore")
@unfollowed
def binarize_residual(x: Any, bits: int, *, axis: int | None = None) -> list[tuple[Any, PackedSigns]]:
    """As :func:`fastconv.binarize_residual`."""
    check_signs("binarize_residual", "x", np.asarray(x).dtype, cure="")
    rest = real(x).astype(result_dtype(x))
    kept = None if axis is None else normalize_axis("", axis, rest.ndim)
    others = None if axis is None else tuple(d for d in range(rest.ndim) if d != kept)
    terms = []
    for _ in range(bits):
        mean = (
            np.abs(rest).mean(axis=others, dtype=np.float64, keepdims=True)
            if rest.size
            else np.zeros([n if d == kept else 1 for d, n in enumerate(rest.shape)])
        )
        scale = mean.astype(rest.dtype)
        terms.append((scale.reshape(() if axis is None else -1), pack_signs(rest)))
        rest = rest - scale * np.where(rest >= 0, 1, -1).astype(rest.dtype)
    return terms


def signs_of(x: Any, operation: str = "", name: str = "x", cure: str | None = None) -> Any:
    """+1 and -1 as int8, whatever ``x`` holds them in; the other arguments are for :func:`check_signs`."""
    if isinstance(x, PackedSigns):
        return unpackbits64(x.words, count=x.length).astype(np.int8) * np.int8(2) - np.int8(1)
    if isinstance(x, PackedFilters):
        return signs_of(PackedSigns(x.words, x.channels)).transpose(0, 3, 1, 2)
    x = real(x)
    check_signs(operation, name, x.dtype, cure=cure)
    return np.where(x >= 0, np.int8(1), np.int8(-1))


def real(x: Any) -> Any:
    """``x`` as numbers: bool is +1 and -1."""
    x = np.asarray(x)
    return np.where(x, np.int8(1), np.int8(-1)) if x.dtype == np.bool_ else x


def result_dtype(x: Any) -> Any:
    return np.dtype(np.float32) if isinstance(x, PackedSigns) else float_result(np.asarray(x).dtype)


def nchw(x: Any, layout: ImageLayout) -> Any:
    n, c, h, w = layout.sizes(x.shape)
    if layout.channels_last and layout.rank > 2:
        return x.reshape(n, h, w, c).transpose(0, 3, 1, 2)
    return x.reshape(n, c, h, w)


def mean_magnitude(weight: Any) -> Any:
    """alpha: mean(abs) of each filter (0 for a filter without weights)."""
    totals = np.abs(real(weight).astype(np.float64)).sum(axis=tuple(range(1, weight.ndim)))
    return (totals / max(prod(weight.shape[1:]), 1)).astype(np.float32)


def window_means(image: Any, w: Window, groups: int) -> Any:
    """Mean of abs(image) (N, C, H, W) under each window and over the channels of each group."""
    n, c = image.shape[:2]
    magnitude = np.abs(image.astype(np.float64)).reshape(n, groups, c // groups, *w.size).sum(axis=2)
    padded = np.pad(magnitude, [(0, 0), (0, 0), *w.padding])
    return sum(padded[(..., *taken)] for taken in tap_slices(w)) / max(w.taps * (c // groups), 1)


class Steps(NamedTuple):
    """What becomes of sums whose filters lie along the last axis, in this order."""

    scale: Any
    k: Any
    bias: Any
    residual: Any
    activation: Any


def finish(y: Any, dtype: Any, steps: Steps) -> Any:
    """The steps on ``y``, each rounded to ``dtype``; the integers if there are none."""
    if all(step is None for step in steps[:4]) and not steps.activation:
        return y.astype(np.int32)
    v = y.astype(dtype)
    if steps.scale is not None:
        v = v * np.asarray(steps.scale).astype(dtype)
    if steps.k is not None:
        v = v * steps.k
    if steps.bias is not None:
        v = v + np.asarray(steps.bias).astype(dtype)
    if steps.residual is not None:
        v = v + np.asarray(steps.residual).astype(dtype)
    for step in steps.activation if isinstance(steps.activation, list) else [steps.activation]:
        v = activated(v, step)
    return v


def activated(v: Any, step: Any) -> Any:
    """One activation; NaN stays NaN."""
    if step is None:
        return v
    name, *numbers = (step,) if isinstance(step, str) else step
    given = [np.asarray(number).astype(v.dtype) for number in numbers]
    if name == "relu":
        return np.where(v < 0, v.dtype.type(0), v)
    if name == "prelu":
        return np.where(v < 0, given[0] * v, v)
    if name == "shift":
        return v + given[0]
    low, high = given
    v = np.where(v < low, low, v)
    return np.where(v > high, high, v)


def tau_and_flip(signs: Any, dtype: Any) -> tuple[Any, Any]:
    """``signs`` as what to compare with, in the type of floats, and whether to turn over."""
    tau, flip = signs if isinstance(signs, tuple) else (signs, False)
    tau = np.asarray(tau)
    return (tau.astype(dtype) if dtype.kind == "f" else tau), np.asarray(flip)


def compared(v: Any, tau: Any, flip: Any, out: Any) -> PackedSigns:
    """The signs of (v >= tau) xor flip, filters along the last axis."""
    return PackedSigns(write(packbits64((v >= tau) ^ flip), out), v.shape[-1])
