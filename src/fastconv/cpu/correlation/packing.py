"""Weights of layers packed for vectors of 16 filters."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import carray

from fastconv.cpu.arrays import Array, aligned, native
from fastconv.cpu.correlation.lanes import LANES
from fastconv.cpu.kernels import Job, kernel, record, share
from fastconv.cpu.simd import transpose_block
from fastconv.cpu.threads import SMALL, chunks_of

PACKING = record("weights packed", "groups filters depth blocks wide overlap")
"""Filters (groups * ``filters``, ``depth``). Each group has so many ``blocks`` of 16 filters, the last of
which has lanes of nobody, or, with ``overlap``, filters of the block before. ``wide`` blocks are a tile."""


class Packing:
    """Weights (groups * filters, depth) as vectors: of each group, of each tile of ``wide`` blocks of 16
    filters, the first weights of all of its filters side by side, then the second ones."""

    def __init__(
        self, dtype: np.dtype[Any], groups: int, filters: int, depth: int, *, wide: int = 1, overlap: bool
    ) -> None:
        blocks = -(-filters // LANES)
        self.dtype, self.shape = dtype, (groups, blocks, depth, LANES)
        self.job = Job(
            pack,
            chunks_of(groups * blocks, serially=groups * blocks * depth * LANES * dtype.itemsize <= SMALL),
            {"weights": dtype, "packed": dtype},
            groups=groups, filters=filters, depth=depth, blocks=blocks, wide=wide, overlap=overlap,
        )  # fmt: skip

    def __call__(self, weight: Array) -> Array:
        packed = aligned(self.shape, self.dtype)
        self.job(weights=native(weight.astype(self.dtype, copy=False)), packed=packed)
        return packed


@kernel(PACKING)
def pack(p, chunk, worker):
    """See :class:`Packing`."""
    weights = carray(p.weights, p.groups * p.filters * p.depth)
    packed = carray(p.packed, p.groups * p.blocks * p.depth * LANES)
    begin, end = share(p, chunk, p.groups * p.blocks)
    for index in range(begin, end):
        group, block = divmod(index, p.blocks)
        first = block // p.wide * p.wide
        step = min(p.wide, p.blocks - first) * LANES
        filter = max(0, min(block * LANES, p.filters - LANES)) if p.overlap != 0 else block * LANES
        source = (group * p.filters + filter) * p.depth
        target = (group * p.blocks + first) * p.depth * LANES + (block - first) * LANES
        _turn(p, weights[source:], min(LANES, p.filters - filter), packed[target:], step)


@numba.njit(error_model="numpy")
def _turn(p, weights, count, packed, step):
    """packed[k * step + f] = weights[f * depth + k] of ``count`` filters, 0 of those up to 16."""
    if count == LANES and p.depth >= LANES:
        for k in range(0, p.depth, LANES):
            i = min(k, p.depth - LANES)
            transpose_block(weights, i, p.depth, packed, i * step, step)
        return
    for k in range(p.depth):
        for f in range(LANES):
            packed[k * step + f] = weights[f * p.depth + k] if f < count else packed.dtype.type(0)
