"""XNOR-Net's K: mean magnitudes under windows."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import carray

from fastconv._checks import float_result
from fastconv._geometry import ImageLayout, Window, turned
from fastconv._specs.xnor import BinaryConv, WindowMeans
from fastconv.cpu import threads
from fastconv.cpu.arrays import Array, flat_image
from fastconv.cpu.exchange import exchange
from fastconv.cpu.kernels import Job, kernel, own, record, share
from fastconv.cpu.threads import SMALL, chunks_of

LINE_COST = 12
"""Pixels whose magnitudes are added in the time that it takes to begin with another row of them."""

BLOCK_BYTES = 128 * 1024
"""Of the sums over channels that a worker keeps: a part of L2, with room for the pixels that are read."""

TASKS_EACH = 4
"""Blocks of rows for each thread, so that all end together; every block looks at some rows of the next."""

MEANS = record(
    "x out pixels columns windows",
    "size origin image_step channel_step row_step pixel_step images channels groups rows columns_in "
    "kernel_rows kernel_columns stride_rows stride_columns dilation_rows dilation_columns top left "
    "out_rows out_columns block kept_rows",
)


@kernel(MEANS, pixels=np.float64, columns=np.float64, windows=np.float64)
def mean_under_windows(p, chunk, worker):
    """out (N, G, Ho, Wo) = mean of abs(x) under each window and all channels of the group.

    x: flat memory of (N, C, H, W). Sums are float64, so that they do not overflow: of the channels of each
    pixel, for a block of rows of the result, then of the columns under a row of windows, then of those side
    by side.
    """
    x, out = carray(p.x, p.size), carray(p.out, p.images * p.groups * p.out_rows * p.out_columns)
    width, down = p.columns_in, -(-p.out_rows // p.block)
    pixels = own(p, p.pixels, worker, p.kept_rows * width)
    columns, totals = own(p, p.columns, worker, width), own(p, p.windows, worker, p.out_columns)
    portion = totals.dtype.type(1 / max(p.channels * p.kernel_rows * p.kernel_columns, 1))
    first, last = share(p, chunk, p.images * p.groups * down)
    for task in range(first, last):
        plane, part = divmod(task, down)
        begin = part * p.block
        end = min(begin + p.block, p.out_rows)
        above = begin * p.stride_rows - p.top
        if p.channels > 1:
            sum_channels(p, x, plane, above, above + (end - 1 - begin) * p.stride_rows, pixels)
        for i in range(begin, end):
            columns[:] = 0
            for a in range(p.kernel_rows):
                row = i * p.stride_rows - p.top + a * p.dilation_rows
                if 0 <= row < p.rows and p.channels > 1:
                    add_magnitudes(pixels, (row - above) * width, 1, columns)
                elif 0 <= row < p.rows and p.channels == 1:
                    add_magnitudes(x, row_of(p, plane, row), p.pixel_step, columns)
            totals[:] = 0
            for b in range(p.kernel_columns):
                add_columns(columns, b * p.dilation_columns - p.left, p.stride_columns, totals)
            at = (plane * p.out_rows + i) * p.out_columns
            target = out[at : at + p.out_columns]
            for k in range(target.size):
                target[k] = totals[k] * portion


@numba.njit(error_model="numpy")
def sum_channels(p, x, plane, above, below, pixels):
    """pixels[row, k] = the sum over the channels of a group, for the rows of the image under windows whose
    first rows are ``above`` to ``below``."""
    width = p.columns_in
    for row in range(max(above, 0), min(below + (p.kernel_rows - 1) * p.dilation_rows + 1, p.rows)):
        sums = pixels[(row - above) * width : (row - above + 1) * width]
        start = row_of(p, plane, row)
        if p.channel_step == 1:
            for k in range(width):
                first = start + k * p.pixel_step
                sums[k] = sum_of_magnitudes(x[first : first + p.channels])
        else:
            sums[:] = 0
            for c in range(p.channels):
                add_magnitudes(x, start + c * p.channel_step, p.pixel_step, sums)


@numba.njit(error_model="numpy")
def row_of(p, plane, row):
    """Where a row of the first channel of a group begins."""
    image, g = divmod(plane, p.groups)
    return p.origin + image * p.image_step + g * p.channels * p.channel_step + row * p.row_step


@numba.njit(error_model="numpy", fastmath={"reassoc"})
def sum_of_magnitudes(x):
    """The sum of abs(x), in any order."""
    total = 0.0
    for k in range(x.size):  # of indices: LLVM makes vectors of this
        total += abs(np.float64(x[k]))
    return total


@numba.njit(error_model="numpy")
def add_magnitudes(x, first, step, sums):
    """sums[k] += abs(x[first + k * step])."""
    if step == 1:
        row = x[first : first + sums.size]
        for k in range(sums.size):
            sums[k] += abs(sums.dtype.type(row[k]))
    else:
        for k in range(sums.size):
            sums[k] += abs(sums.dtype.type(x[first + k * step]))


@numba.njit(error_model="numpy")
def add_columns(sums, column, stride, totals):
    """totals[j] += sums[column + j * stride], where there is such a column."""
    lo = min(max(-(column // stride), 0), totals.size)
    hi = max(min((sums.size - 1 - column) // stride + 1, totals.size), lo)
    if stride == 1:
        source, target = sums[column + lo : column + hi], totals[lo:hi]
        for k in range(target.size):
            target[k] += source[k]
    else:
        for k in range(lo, hi):
            totals[k] += sums[k * stride + column]


class Means:
    """Means (N, G, L) of images of one shape and layout."""

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], layout: ImageLayout, geometry: Window, groups: int
    ) -> None:
        self.layout, self.shape = layout, shape
        n, channels, height, width = layout.sizes(shape)
        # few long columns take less time than many short rows, though their pixels are apart
        self.turned = width * (LINE_COST + height) < height * (LINE_COST + width / 4)
        self.size = geometry.output
        geometry = turned(geometry) if self.turned else geometry
        self.signs = dtype == np.bool_
        exact = np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)  # holds any integer or float16
        self.kind = dtype.newbyteorder("=") if dtype.kind == "f" and dtype.itemsize > 2 else exact
        self.planes = n * groups
        self.result = (n, groups, geometry.positions), float_result(dtype)
        (top, _), (left, _) = geometry.padding
        block, kept = self._blocks(geometry)
        tasks = n * groups * -(-geometry.output[0] // block)
        small = n * channels * geometry.size[0] * geometry.size[1] * self.kind.itemsize <= SMALL
        names = "kernel", "stride", "dilation"
        self.job = Job(
            mean_under_windows,
            chunks_of(tasks, serially=small),
            {"x": self.kind, "out": self.result[1]},
            {
                "pixels": kept * geometry.size[1],
                "columns": geometry.size[1],
                "windows": geometry.output[1],
            },
            images=n,
            channels=channels // groups,
            groups=groups,
            rows=geometry.size[0],
            columns_in=geometry.size[1],
            **{f"{name}_rows": getattr(geometry, name)[0] for name in names},
            **{f"{name}_columns": getattr(geometry, name)[1] for name in names},
            top=top,
            left=left,
            out_rows=geometry.output[0],
            out_columns=geometry.output[1],
            block=block,
            kept_rows=kept,
        )

    def _blocks(self, geometry: Window) -> tuple[int, int]:
        """Rows of the result in a block, and rows of the image under them."""
        rows, width = geometry.output[0], geometry.size[1]
        reached = geometry.dilation[0] * (geometry.kernel[0] - 1) + 1
        fit = (BLOCK_BYTES // (8 * max(width, 1)) - reached) // geometry.stride[0] + 1
        few = -(-rows * self.planes // (TASKS_EACH * threads.threads()))
        block = max(min(rows, max(few, reached), fit), 1)
        return block, (block - 1) * geometry.stride[0] + reached

    def __call__(self, x: Array, means: Array | None = None) -> Array:
        """The means, or ``means``, contiguous, filled with them."""
        if self.signs:
            x = np.broadcast_to(np.float32(1), self.shape)
        flat, origin, steps = flat_image(x.astype(self.kind, copy=False), self.layout)
        means = np.empty(*self.result) if means is None else means
        image, channel, row, pixel = steps
        if self.turned:
            row, pixel = pixel, row
        in_place = not self.turned or 1 in self.size
        sums = means if in_place else np.empty(*self.result)
        self.job(
            x=flat, out=sums, size=flat.size, origin=origin,
            image_step=image, channel_step=channel, row_step=row, pixel_step=pixel,
        )  # fmt: skip
        if not in_place:
            columns = sums.reshape(self.planes, *self.size[::-1])
            exchange(columns, means.reshape(self.planes, *self.size))
        return means


def window_means(spec: BinaryConv) -> Means | None:
    """K of a binary convolution, if its steps want it."""
    if "window" not in spec.outcome.steps or spec.dtype is None:
        return None
    shape = spec.source.shape(spec.images, spec.channels * spec.groups, *spec.geometry.size)
    return Means(shape, spec.dtype, spec.source, spec.geometry, spec.groups)


class MeansPlan:
    """The plan of :func:`fastconv.activation_scale`."""

    def __init__(self, spec: WindowMeans) -> None:
        self.spec = spec
        self.means = Means(spec.x, spec.dtype, spec.source, spec.geometry, spec.groups)

    def __call__(self, x: Array) -> Array:
        spec = self.spec
        found = np.empty(spec.shape, self.means.result[1])
        if spec.source.channels_last and spec.source.rank > 2:
            by_pixel = found.reshape(-1, spec.geometry.positions, spec.groups)
            by_pixel[...] = self.means(x).transpose(0, 2, 1)
            return found
        return self.means(x, found)
