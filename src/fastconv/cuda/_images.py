"""Images as the XNOR kernels take them: packed by group, pooled, and the means of their magnitudes."""

from __future__ import annotations

import cupy
import numpy as np

from fastconv._geometry import ImageLayout, Window
from fastconv._layer import Layer
from fastconv.cuda import bits
from fastconv.cuda._problem import Strides, by_group, by_pixel, by_value, problem_of
from fastconv.cuda.arrays import Array, contiguous
from fastconv.cuda.compile import c_type, launch_over
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
        words = bits.pack_signs(x.reshape(n, h, w, groups, channels), 4)
        return words, by_pixel(groups, layer.geometry, depth)
    words = bits.pack_signs(x.reshape(n, groups, channels, h, w), 2)
    return words, by_group(groups, layer.geometry, depth)


def _regrouped(words: Array, pixels: int, groups: int, channels: int) -> Array:
    grouped = cupy.empty((pixels, groups, -(-channels // 64)), np.uint64)
    arguments = (words, grouped, pixels, words.shape[-1], groups, channels)
    launch_over(grouped.size, "binary_words.cu", "regroup", (), arguments)
    return grouped


def max_pool(words: Array, geometry: Window, pooled: Array) -> None:
    """pooled (..., Ho, Wo, w) = the OR of ``words`` (..., H, W, w) under each window."""
    if not pooled.size:
        return
    depth = words.shape[-1]
    images = pooled.size // (geometry.positions * depth)
    steps, none = by_pixel(1, geometry, depth), Strides(0, 0, 0, 0)
    problem = problem_of(geometry, images, steps, none, words=depth)
    arguments = (contiguous(words), pooled, by_value(problem))
    launch_over(pooled.size, "binary_words.cu", "max_pool", (), arguments)


def mean_magnitudes(
    x: Array, layout: ImageLayout, geometry: Window, groups: int, means: Array, *, channels_last: bool
) -> None:
    """means (N, G, Ho, Wo), or (N, Ho, Wo, G) with ``channels_last``, = mean(abs(x)) under each window and
    all channels of the group."""
    if not means.size:
        return
    planes = _floats(x)
    n, c, h, w = layout.sizes(x.shape)
    channels, positions = c // groups, geometry.positions
    last = layout.channels_last and layout.rank > 2
    steps = by_pixel(c, geometry, 1) if last else by_group(c, geometry, 1)
    if channels != 1:
        x, planes = planes, cupy.empty((n, groups, h, w), np.float64)
        lanes = 32 if last else 1
        arguments = (x, planes, n, groups, channels, h, w, *steps)
        launch_over(planes.size * lanes, "magnitudes.cu", "channel_sums", _types(x, means), arguments)
        steps = by_group(groups, geometry, 1)
    strides = Strides(groups * positions, positions, 0, 1)
    if channels_last:
        strides = Strides(groups * positions, 1, 0, groups)
    problem = problem_of(geometry, n, steps, strides, groups=groups, channels=channels)
    types = _types(planes, means)
    launch_over(means.size, "magnitudes.cu", "window_means", types, (planes, means, by_value(problem)))


def _floats(x: Array) -> Array:
    """Integers in a float type that holds them, signs for bool; so kernels are compiled for three types."""
    if x.dtype == np.bool_:
        return cupy.ones(x.shape, np.float32)
    if x.dtype.kind == "f":
        return contiguous(x)
    return contiguous(x.astype(np.float32 if x.itemsize <= 2 else np.float64))


def _types(x: Array, means: Array) -> tuple[str, ...]:
    return f"ELEMENT={c_type(x.dtype)}", f"RESULT={c_type(means.dtype)}"
