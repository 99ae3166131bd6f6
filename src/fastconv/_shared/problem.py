"""A binary product as the kernels of every backend see it: sizes and strides, by name."""

from __future__ import annotations

from typing import NamedTuple

from fastconv._geometry import Window

FIELDS = (
    "pixels positions output_columns "  # of all images, of one, of a row
    "groups filters channels words "  # of a group; of a tap
    "rows columns "  # of the input
    "kernel_rows kernel_columns stride_rows stride_columns dilation_rows dilation_columns top left "
    "image_step group_step row_step column_step "  # of the input, in words
    "image_stride group_stride filter_stride pixel_stride "  # of the result
    "outside"  # what the sum of a filter's signs outside the image is to be multiplied by and added
)
"""The names, in the order of ``struct Problem`` in cuda/kernels/binary_problem.cuh."""


class Strides(NamedTuple):
    """Of an array of pixels, from one image, group, row or filter, and column or pixel to the next."""

    image: int
    group: int
    line: int
    pixel: int


def by_group(groups: int, size: tuple[int, int], depth: int) -> Strides:
    """Of words (N, groups, H, W, depth)."""
    h, w = size
    return Strides(groups * h * w * depth, h * w * depth, w * depth, depth)


def by_pixel(groups: int, size: tuple[int, int], depth: int) -> Strides:
    """Of words (N, H, W, groups, depth)."""
    h, w = size
    return Strides(h * w * groups * depth, depth, w * groups * depth, groups * depth)


def result_strides(groups: int, filters: int, positions: int, channels_last: bool) -> Strides:
    """Of numbers (N, O, Ho, Wo), or (N, Ho, Wo, O); ``filters`` of a group."""
    every = groups * filters
    if channels_last:
        return Strides(every * positions, filters, 1, every)
    return Strides(every * positions, filters * positions, positions, 1)


def problem_of(
    geometry: Window, images: int, steps: Strides, strides: Strides, **others: int
) -> dict[str, int]:
    """The fields of all windows of ``images``, given the strides of input and result; ``others`` by name."""
    (top, _), (left, _) = geometry.padding
    values = (
        images * geometry.positions, geometry.positions, geometry.output[1], 1, 1, 1, 1,
        *geometry.size, *geometry.kernel, *geometry.stride, *geometry.dilation, top, left,
        *steps, *strides, 0,
    )  # fmt: skip
    return {**dict(zip(FIELDS.split(), values, strict=True)), **others}
