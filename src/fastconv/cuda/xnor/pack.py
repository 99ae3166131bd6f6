"""Images and filters as the kernels of binary products take them: packed, each group by itself."""

from __future__ import annotations

import cupy
import numpy as np

from fastconv._shared import expressions
from fastconv._shared.problem import Strides, by_group, by_pixel
from fastconv._specs.xnor import BinaryConv, PackFilters
from fastconv.cuda import bits
from fastconv.cuda.arrays import Array, contiguous
from fastconv.cuda.compile import launch_over
from fastconv.packed import PackedFilters


def by_pixels(spec: BinaryConv) -> bool:
    """Whether the words of all groups of a pixel are neighbours, else those of all pixels of a group."""
    return spec.dtype is None or (spec.source.channels_last and spec.source.rank > 2)


def word_steps(spec: BinaryConv) -> Strides:
    """Where the words that :func:`grouped_words` gives lie."""
    steps = by_pixel if by_pixels(spec) else by_group
    return steps(spec.groups, spec.geometry.size, -(-spec.channels // 64))


def grouped_words(spec: BinaryConv, x: Array) -> Array:
    """Signs of ``x`` (or words of them) as words in which each group is packed by itself."""
    n, groups, channels, (h, w) = spec.images, spec.groups, spec.channels, spec.geometry.size
    if spec.dtype is None:
        words = contiguous(x)
        return words if groups == 1 or channels % 64 == 0 else _regrouped(words, n * h * w, groups, channels)
    if by_pixels(spec):
        return bits.pack_signs(x.reshape(n, h, w, groups, channels), 4)
    return bits.pack_signs(x.reshape(n, groups, channels, h, w), 2)


def _regrouped(words: Array, pixels: int, groups: int, channels: int) -> Array:
    grouped = cupy.empty((pixels, groups, -(-channels // 64)), np.uint64)
    arguments = (words, grouped, pixels, words.shape[-1], groups, channels)
    launch_over(grouped.size, "binary_words.cu", "regroup", (), arguments)
    return grouped


def pack_filters(spec: PackFilters, weight: Array) -> tuple[Array, Array]:
    return bits.pack_signs(weight, 1, spec.zero), expressions.mean_magnitude(cupy, weight)


def filter_sums(words: Array, channels: int) -> Array:
    """Sums of signs over all rectangles of taps that start at the first: (O, kh + 1, kw + 1), from words
    (O, kh, kw, w)."""
    o, kh, kw, depth = words.shape
    sums = cupy.empty((o, kh + 1, kw + 1), np.int32)
    arguments = (contiguous(words), sums, o, kh, kw, depth, channels)
    launch_over(32 * o * (kw + 1), "binary_words.cu", "filter_sums", (), arguments)
    return sums


def kept_sums(filters: PackedFilters) -> Array:
    """:func:`filter_sums`, made once for each stream, since another may read them only after waiting for the
    one that makes them."""
    key = ("sums", cupy.cuda.get_current_stream().ptr)
    return filters.derived(key, lambda: filter_sums(filters.words, filters.channels))
