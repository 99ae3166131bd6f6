"""XNOR-Net's K: mean magnitudes under windows."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import carray

from fastconv._checks import float_result
from fastconv._geometry import ImageLayout, Window, turned
from fastconv._specs.xnor import BinaryConv, WindowMeans
from fastconv.cpu.arrays import Array, flat_image
from fastconv.cpu.exchange import exchange
from fastconv.cpu.kernels import Job, kernel, own, record, share
from fastconv.cpu.threads import SMALL, chunks_of

LINE_COST = 12
"""Pixels whose magnitudes are added in the time that it takes to begin with another row of them."""

MEANS = record(
    "x out columns windows",
    "size origin image_step channel_step row_step pixel_step images channels groups rows columns_in "
    "kernel_rows kernel_columns stride_rows stride_columns dilation_rows dilation_columns top left "
    "out_rows out_columns",
)


@kernel(MEANS, columns=np.float64, windows=np.float64)
def mean_under_windows(p, chunk, worker):
    """out (N, G, Ho, Wo) = mean of abs(x) under each window and all channels of the group.

    x: flat memory of (N, C, H, W). Sums are float64, so that they do not overflow: first of the columns under
    a row of windows, then of those side by side.
    """
    x, out = carray(p.x, p.size), carray(p.out, p.images * p.groups * p.out_rows * p.out_columns)
    sums, totals = own(p, p.columns, worker, p.columns_in), own(p, p.windows, worker, p.out_columns)
    portion = totals.dtype.type(1 / max(p.channels * p.kernel_rows * p.kernel_columns, 1))
    first, last = share(p, chunk, p.images * p.groups * p.out_rows)
    for line in range(first, last):
        plane, i = divmod(line, p.out_rows)
        image, g = divmod(plane, p.groups)
        sums[:] = 0
        for a in range(p.kernel_rows):
            row = i * p.stride_rows + a * p.dilation_rows - p.top
            if row < 0 or row >= p.rows:
                continue
            start = p.origin + image * p.image_step + g * p.channels * p.channel_step + row * p.row_step
            for c in range(p.channels):
                add_magnitudes(x, start + c * p.channel_step, p.pixel_step, sums)
        totals[:] = 0
        for b in range(p.kernel_columns):
            add_columns(sums, b * p.dilation_columns - p.left, p.stride_columns, totals)
        target = out[line * p.out_columns : (line + 1) * p.out_columns]
        for k in range(target.size):
            target[k] = totals[k] * portion


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
        lines = n * groups * geometry.output[0]
        small = n * channels * geometry.size[0] * geometry.size[1] * self.kind.itemsize <= SMALL
        names = "kernel", "stride", "dilation"
        self.job = Job(
            mean_under_windows,
            chunks_of(lines, serially=small),
            {"x": self.kind, "out": self.result[1]},
            {"columns": geometry.size[1], "windows": geometry.output[1]},
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
        )

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
