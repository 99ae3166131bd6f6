"""Images as the XNOR kernels take them: packed by group, pooled, and the means of their magnitudes."""

from __future__ import annotations

import cupy
import numpy as np

from fastconv._arguments import ImageLayout, Window
from fastconv._layer import Layer
from fastconv.cuda import bits
from fastconv.cuda._arrays import Array, contiguous
from fastconv.cuda._compile import c_type, launch_over
from fastconv.cuda._products import Strides, by_group, by_pixel
from fastconv.packed import PackedSigns


def grouped_words(x: Array | PackedSigns, layer: Layer) -> tuple[Array, Strides]:
    """Signs of ``x`` as words in which each group is packed by itself, and where they lie."""
    n, groups, channels, (h, w) = layer.images, layer.groups, layer.channels, layer.geometry.size
    depth = -(-channels // 64)
    if isinstance(x, PackedSigns):
        words = contiguous(x.words)
        if groups > 1 and channels % 64:
            words = _regrouped(words, n * h * w, groups, channels)
        return words, by_pixel(groups, layer.geometry, depth)
    if layer.source.channels_last and layer.source.rank > 2:
        words = bits.pack_signs(contiguous(x).reshape(n, h, w, groups, channels), 4, 1, 0)
        return words, by_pixel(groups, layer.geometry, depth)
    words = bits.pack_signs(contiguous(x).reshape(n, groups, channels, h, w), 2, 1, 0)
    return words, by_group(groups, layer.geometry, depth)


def _regrouped(words: Array, pixels: int, groups: int, channels: int) -> Array:
    grouped = cupy.empty((pixels, groups, -(-channels // 64)), np.uint64)
    arguments = (words, grouped, pixels, words.shape[-1], groups, channels)
    launch_over(grouped.size, "binary_words.cu", "regroup", (), arguments)
    return grouped


def max_pool(words: Array, geometry: Window, pooled: Array) -> None:
    """pooled (..., Ho, Wo, w) = the OR of ``words`` (..., H, W, w) under each window."""
    words = contiguous(words)
    depth, images = words.shape[-1], pooled.size // max(geometry.positions * words.shape[-1], 1)
    (top, _), (left, _) = geometry.padding
    arguments = (
        words, pooled, images, *geometry.output, depth, *geometry.size, *geometry.kernel, *geometry.stride,
        top, left,
    )  # fmt: skip
    launch_over(pooled.size, "binary_words.cu", "max_pool", (), arguments)


def mean_magnitudes(
    x: Array, layout: ImageLayout, geometry: Window, groups: int, means: Array, *, channels_last: bool
) -> None:
    """means (N, G, Ho, Wo), or (N, Ho, Wo, G) with ``channels_last``, = mean(abs(x)) under each window and
    all channels of the group."""
    if not means.size:
        return
    x = cupy.ones(x.shape, np.uint8) if x.dtype == np.bool_ else contiguous(x)
    n, c, h, w = layout.sizes(x.shape)
    channels = c // groups
    last = layout.channels_last and layout.rank > 2
    steps = (h * w * c, 1, w * c, c) if last else (c * h * w, h * w, w, 1)
    planes = x
    if channels != 1:
        planes = cupy.empty((n, groups, h, w), np.float64)
        lanes = 32 if last else 1
        launch_over(
            planes.size * lanes, "magnitudes.cu", "channel_sums", _types(x, means),
            (x, planes, n, groups, channels, h, w, *steps),
        )  # fmt: skip
        steps = (groups * h * w, h * w, w, 1)
    (top, _), (left, _) = geometry.padding
    launch_over(
        means.size, "magnitudes.cu", "window_means", _types(planes, means),
        (
            planes, means, n, groups, *geometry.output, int(channels_last), h, w, *steps, *geometry.kernel,
            *geometry.stride, *geometry.dilation, top, left, geometry.taps * channels,
        ),
    )  # fmt: skip


def _types(x: Array, means: Array) -> tuple[str, ...]:
    return f"ELEMENT={c_type(x.dtype)}", f"RESULT={c_type(means.dtype)}"
