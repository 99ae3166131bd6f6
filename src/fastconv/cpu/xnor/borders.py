"""What windows meet at the edges of an image, and what that does to their sums."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastconv._checks import Pair
from fastconv._geometry import Window
from fastconv.cpu.simd import LANES
from fastconv.packed import PackedFilters

Kinds = tuple[Pair, ...]
"""The ranges of taps that lie inside: first (0, taps), the whole, then what borders leave of it."""


def edges(geometry: Window) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[Kinds, Kinds]]:
    """The kind of each row of windows, times the number of kinds of columns, that of each column, and the
    kinds."""
    rows, row_kinds = _edges(geometry, 0)
    columns, column_kinds = _edges(geometry, 1)
    return rows * len(column_kinds), columns, (row_kinds, column_kinds)


def _edges(geometry: Window, axis: int) -> tuple[NDArray[np.int64], Kinds]:
    """For each window along ``axis`` the index of the range of taps that lies inside, and those ranges."""
    taps = geometry.kernel[axis]
    dilation = geometry.dilation[axis]
    start = np.arange(geometry.output[axis]) * geometry.stride[axis] - geometry.padding[axis][0]
    first = np.clip(-(start // dilation), 0, taps)
    last = np.clip((geometry.size[axis] - 1 - start) // dilation + 1, first, taps)
    ranges = [(0, taps), *zip(first.tolist(), last.tolist(), strict=True)]
    index = {pair: i for i, pair in enumerate(dict.fromkeys(ranges))}
    return np.array([index[pair] for pair in ranges[1:]], np.int64), tuple(index)


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
    return lengthened.reshape(len(totals), -1)
