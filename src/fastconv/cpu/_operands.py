"""Images and filters as the XNOR kernels take them: packed, padded, side by side."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from fastconv._layer import Layer
from fastconv._shared import expressions
from fastconv.cpu import bits
from fastconv.cpu._binary import lay_tiles
from fastconv.cpu._images import pack_image
from fastconv.cpu._plans import Kinds, remembered
from fastconv.cpu._threads import SMALL, scratch
from fastconv.cpu.arrays import Array, aligned, flat_image, native, sign_keys
from fastconv.cpu.simd import BLOCK, LANES
from fastconv.packed import PackedFilters, PackedSigns


def filter_tiles(words: Array, groups: int) -> Array:
    """Filters (O, kh, kw, w) as blocks of 8 side by side: (groups, blocks, kh * kw * w, 8), flat."""
    o, depth = words.shape[0] // groups, prod(words.shape[1:])
    tiles = aligned((groups, -(-o // LANES), depth, LANES), np.uint64)
    lay_tiles(native(words).reshape(groups, o, depth), tiles, serially=words.nbytes <= SMALL)
    return native(tiles).reshape(-1)


def edge_totals(
    filters: PackedFilters, kinds: tuple[Kinds, Kinds], groups: int, pad_value: int
) -> NDArray[np.int32]:
    """The sums of windows that differ nowhere from each filter, where padding counts as -1 in comparing
    but shall count as ``pad_value``, for each pair of ranges of taps inside: (pairs, O), each group's filters
    padded to blocks of 8."""
    o, c, kh, kw = filters.shape
    signs = 2 * np.bitwise_count(filters.words).sum(axis=-1, dtype=np.int64) - c
    sums = np.zeros((kh + 1, kw + 1, o), np.int64)  # over all taps above and left of each
    sums[1:, 1:] = signs.transpose(1, 2, 0).cumsum(axis=0).cumsum(axis=1)
    (a0, a1), (b0, b1) = (np.array(pairs).T for pairs in kinds)
    inside = sums[np.ix_(a1, b1)] - sums[np.ix_(a0, b1)] - sums[np.ix_(a1, b0)] + sums[np.ix_(a0, b0)]
    totals = c * kh * kw + (1 + pad_value) * (sums[kh, kw] - inside).reshape(-1, groups, o // groups)
    padded = -(-(o // groups) // LANES) * LANES
    lengthened = np.zeros((len(totals), groups, padded), np.int32)
    lengthened[:, :, : o // groups] = totals
    return native(lengthened.reshape(len(totals), -1))


def tap_order(filters: PackedFilters) -> Array:
    """Of each filter the number of its positive taps, then those, then the negative ones: (O, 1 + T)."""
    o, c, kh, kw = filters.shape
    signs = PackedSigns(filters.words, c).unpack().transpose(0, 3, 1, 2).reshape(o, c * kh * kw)
    order = np.argsort(-signs, axis=1, kind="stable")
    return native(np.concatenate([(signs > 0).sum(axis=1, keepdims=True), order], axis=1).astype(np.int64))


def packed_rows(x: Array | PackedSigns, axis: int) -> Array:
    """Words of ``x`` packed along ``axis``, as a matrix of at least 2 dimensions."""
    words = x.words if isinstance(x, PackedSigns) else bits.pack_signs(x, axis % x.ndim, 1, 0)
    return native(np.atleast_2d(words))


def pack_filters(weight: Array, zero: int) -> PackedFilters:
    """The signs of ``weight`` (O, C, kh, kw) and the mean magnitude of each filter."""
    return PackedFilters(bits.pack_signs(weight, 1, zero, 0), weight.shape[1], mean_magnitude(weight))


def mean_magnitude(weight: Array) -> Array:
    magnitudes: Array = expressions.mean_magnitude(np, weight)
    return magnitudes


def padded_words(x: Array | PackedSigns, layer: Layer) -> Array:
    """Signs of ``x`` as words (N, groups, Hp, Wp, w), each group packed by itself, padding 0."""
    n, groups, channels = layer.images, layer.groups, layer.channels
    h, w = layer.geometry.size
    height, width = layer.geometry.padded
    (top, _), (left, _) = layer.geometry.padding
    depth = -(-channels // 64)
    unpadded = (height, width) == (h, w)
    shape = n, groups, height, width, depth
    if isinstance(x, PackedSigns):
        return bordered(x.words.reshape(n, 1, h, w, -1) if groups == 1 else _regrouped(x, layer), layer)
    words = np.empty(shape, np.uint64) if unpadded else np.zeros(shape, np.uint64)
    if words.size:
        values, low, span = sign_keys(x)
        flat, origin, steps = flat_image(values, layer.source)
        if 1 not in (steps[1], steps[3]):
            flat, origin, steps = flat_image(native(values), layer.source)
        image = remembered(origin, *steps, h, w, channels, top, left)
        serially = values.nbytes <= SMALL
        rows = scratch((BLOCK, np.uint64), serially=serially)
        pack_image(flat, low, span, image, words, *rows, serially=serially)
    return words


def bordered(words: Array, layer: Layer) -> Array:
    """words (N, groups, H, W, w) in the middle of zeros."""
    (height, width), (h, w) = layer.geometry.padded, layer.geometry.size
    if (height, width) == (h, w):
        return native(words)
    (top, _), (left, _) = layer.geometry.padding
    padded = np.zeros((*words.shape[:2], height, width, words.shape[4]), np.uint64)
    padded[:, :, top : top + h, left : left + w] = words
    return padded


def _regrouped(x: PackedSigns, layer: Layer) -> Array:
    """Words packed over all channels, packed anew for each group: (N, groups, H, W, w)."""
    shape = layer.images, *layer.geometry.size, layer.groups, layer.channels
    ones = bits.unpackbits64(x.words, x.words.ndim - 1, layer.groups * layer.channels, "little", None)
    return bits.packbits64(ones.reshape(shape).transpose(0, 3, 1, 2, 4), 4, "little", None)
