"""Max-pooling of signs: the OR of their words."""

from __future__ import annotations

from math import prod

import numba
import numpy as np
from numba import carray

from fastconv._geometry import turned
from fastconv._specs.xnor import MaxPool
from fastconv.cpu.arrays import Array, native
from fastconv.cpu.kernels import Job, kernel, own, record, share
from fastconv.cpu.threads import SMALL, chunks_of

NARROW = 16
"""Words of a row up to which rows and columns exchange places: to begin with a row takes as long as copying
them."""

POOL = record(
    "words out line",
    "images rows columns depth kernel_rows kernel_columns stride_rows stride_columns top left "
    "out_rows out_columns",
)


@kernel(POOL, words=np.uint64, out=np.uint64, line=np.uint64)
def max_pool(p, chunk, worker):
    """out (N, Ho, Wo, w) = the OR of words (N, H, W, w) under each window; line: a row of the image joined
    from those under a row of windows."""
    width, out_width = p.columns * p.depth, p.out_columns * p.depth
    words, out = carray(p.words, p.images * p.rows * width), carray(p.out, p.images * p.out_rows * out_width)
    line = own(p, p.line, worker, width)
    first, last = share(p, chunk, p.images * p.out_rows)
    for target_row in range(first, last):
        image, i = divmod(target_row, p.out_rows)
        line[:] = 0
        for a in range(p.kernel_rows):
            row = i * p.stride_rows + a - p.top
            if 0 <= row < p.rows:
                source = words[(image * p.rows + row) * width : (image * p.rows + row + 1) * width]
                for k in range(width):
                    line[k] |= source[k]
        target = out[target_row * out_width : (target_row + 1) * out_width]
        target[:] = 0
        for b in range(p.kernel_columns):
            join_columns(p, line, b - p.left, target)


@numba.njit(error_model="numpy")
def join_columns(p, line, column, target):
    """target[j * depth + k] |= line[(column + j * stride) * depth + k], where there is such a column."""
    stride, depth = p.stride_columns, p.depth
    for j in range(max(-(column // stride), 0), min((p.columns - 1 - column) // stride + 1, p.out_columns)):
        at, to = (column + j * stride) * depth, j * depth
        for k in range(depth):
            target[to + k] |= line[at + k]


class PoolPlan:
    """The plan of :func:`fastconv.binary_max_pool2d`."""

    def __init__(self, spec: MaxPool) -> None:
        self.shape, geometry = spec.shape, spec.geometry
        *outer, rows, columns, depth = spec.x
        self.turned = columns * depth <= NARROW and columns < rows
        if self.turned:
            geometry, rows, columns = turned(geometry), columns, rows
        self.pooled = (*outer, *geometry.output, depth)
        images, ((top, _), (left, _)) = prod(outer), geometry.padding
        small = 8 * prod(spec.x) <= SMALL
        self.job = Job(
            max_pool,
            chunks_of(images * geometry.output[0], serially=small),
            {},
            {"line": columns * depth},
            images=images,
            rows=rows,
            columns=columns,
            depth=depth,
            kernel_rows=geometry.kernel[0],
            kernel_columns=geometry.kernel[1],
            stride_rows=geometry.stride[0],
            stride_columns=geometry.stride[1],
            top=top,
            left=left,
            out_rows=geometry.output[0],
            out_columns=geometry.output[1],
        )

    def __call__(self, words: Array) -> Array:
        pooled = np.empty(self.shape, np.uint64)
        if pooled.size and not self.turned:
            self.job(words=native(words), out=pooled)
        elif pooled.size:
            in_place = 1 in self.pooled[-3:-1]  # a column lies in memory as a row does
            columns = pooled.reshape(self.pooled) if in_place else np.empty(self.pooled, np.uint64)
            self.job(words=native(words.swapaxes(-3, -2)), out=columns)
            if not in_place:
                pooled[...] = columns.swapaxes(-3, -2)
        return pooled
