"""A problem as the XNOR kernels take it: one structure of sizes and strides, passed by value."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv._geometry import Window


class Problem(NamedTuple):
    """``struct Problem`` of kernels/binary_problem.cuh, field by field."""

    pixels: int
    positions: int
    output_columns: int
    groups: int
    filters: int
    channels: int
    words: int
    rows: int
    columns: int
    kernel_rows: int
    kernel_columns: int
    stride_rows: int
    stride_columns: int
    dilation_rows: int
    dilation_columns: int
    top: int
    left: int
    image_step: int
    group_step: int
    row_step: int
    column_step: int
    image_stride: int
    group_stride: int
    filter_stride: int
    pixel_stride: int
    outside: int


FIELDS = np.dtype([(name, np.int64) for name in Problem._fields])


@lru_cache(256)
def by_value(problem: Problem) -> Any:
    """Arrays of one element are what CuPy passes to kernels by value."""
    return np.array([tuple(problem)], FIELDS)


class Strides(NamedTuple):
    """Of an array of pixels, from one image, group, row or filter, and column or pixel to the next."""

    image: int
    group: int
    line: int
    pixel: int


def by_group(groups: int, geometry: Window, depth: int) -> Strides:
    """Of words (N, groups, H, W, depth)."""
    h, w = geometry.size
    return Strides(groups * h * w * depth, h * w * depth, w * depth, depth)


def by_pixel(groups: int, geometry: Window, depth: int) -> Strides:
    """Of words (N, H, W, groups, depth)."""
    h, w = geometry.size
    return Strides(h * w * groups * depth, depth, w * groups * depth, groups * depth)


def problem_of(
    geometry: Window,
    images: int,
    steps: Strides,
    strides: Strides,
    *,
    groups: int = 1,
    filters: int = 1,
    channels: int = 1,
    words: int = 1,
    outside: int = 0,
) -> Problem:
    """The problem of all windows of ``images``, given the strides of input and result."""
    (top, _), (left, _) = geometry.padding
    return Problem(
        images * geometry.positions, geometry.positions, geometry.output[1], groups, filters, channels, words,
        *geometry.size, *geometry.kernel, *geometry.stride, *geometry.dilation, top, left, *steps, *strides,
        outside,
    )  # fmt: skip
