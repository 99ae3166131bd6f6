"""Correlation by direct sums: the tiles, chunks and batches of ``kernels/correlate.cu``."""

from __future__ import annotations

from itertools import accumulate
from math import isqrt, prod
from operator import mul
from typing import Any

import cupy
import numpy as np

from fastconv._checks import Pair
from fastconv._shared.dimensions import merged
from fastconv._specs.correlation import Filter
from fastconv.cuda.arrays import Array, contiguous
from fastconv.cuda.compile import THREADS, c_type, launch

SUMS_BYTES = 64
"""Bytes of sums that a thread has, below one another: 16 registers, and as many for the pixels under them.
With twice as many, too few warps would fit to hide latency; with half as many, loads would double."""

TILE_ROWS = 32
"""Result rows of a tile, at most. It has 128 columns of 4 bytes (or 64 of 8, 32 of 16): with 3 x 3 taps, the
pixels around it are 8 % more to load, most of them from the cache."""

HALO = 16
"""Columns of taps in a chunk at most, and of pixels beside a tile. Rows are at most as many as a thread has
sums. So pixels, taps and the sums kept between chunks fit in 45 KiB: every architecture gives a block 48."""

MOST_BLOCKS = 2**31 - 1
"""Blocks of a grid."""

BATCH_RANK = 4
"""Dimensions of a batch in the kernel, after merging neighbours that broadcast alike."""

BOUNDARIES = ("fill", "wrap", "symm")


def filter_directly(image: Array, kernel: Array, spec: Filter, results: Array) -> None:
    """``results`` = ``image`` correlated with ``kernel`` (..., kh, kw), whose dtype sums are kept in."""
    pixels = contiguous(_readable(image, kernel.dtype, spec.dtype))
    dimensions = _batch(pixels, kernel, spec.batch)
    if len(dimensions) > BATCH_RANK:
        pixels, kernel = (
            contiguous(cupy.broadcast_to(x, (*spec.batch, *x.shape[-2:]))) for x in (pixels, kernel)
        )
        dimensions = _batch(pixels, kernel, spec.batch)
    dimensions = [(1, 0, 0)] * (BATCH_RANK - len(dimensions)) + dimensions
    sizes, image_steps, kernel_steps = zip(*dimensions, strict=True)
    size, itemsize = kernel.shape[-2:], kernel.dtype.itemsize
    rows = SUMS_BYTES // itemsize
    columns = THREADS * rows // TILE_ROWS
    block = min(columns, -(-spec.size[1] // 32) * 32), min(TILE_ROWS // rows, -(-spec.size[0] // rows))
    chunk = _chunk(size, rows, kernel.dtype.kind)
    tile = block[1] * rows, block[0]
    across, down = -(-spec.size[1] // tile[1]), -(-spec.size[0] // tile[0])
    values = chunk[1] * rows + (tile[0] + chunk[0] - 1) * (columns + HALO) + (chunk != size) * prod(tile)
    types = zip(("PIXEL", "SUM", "RESULT"), (pixels, kernel, results), strict=True)
    defines = (
        *(f"{name}={_carrier(array.dtype)}" for name, array in types),
        f"ROWS={rows}", f"HALO={HALO}", f"PITCH={columns + HALO}",
    )  # fmt: skip
    tiles = across * down * prod(spec.batch)
    for first in range(0, tiles, MOST_BLOCKS):
        launch(
            "correlate.cu", "correlate", defines, (min(tiles - first, MOST_BLOCKS),), block,
            (
                pixels, kernel, results, np.asarray(spec.fillvalue).astype(kernel.dtype)[()],
                BOUNDARIES.index(spec.boundary), *pixels.shape[-2:], *size, *spec.before, *spec.size,
                int(spec.mirrored), *chunk, first, across, down, *sizes[1:],
                *image_steps, *kernel_steps,
            ),
            values * itemsize,
        )  # fmt: skip


def _readable(image: Array, work: np.dtype[Any], result: np.dtype[Any]) -> Array:
    """``image`` in a dtype that the kernel reads as numbers of ``work``: its own if that is float16, or the
    result's but for the sign."""
    own = image.dtype == np.float16 and work == np.float32
    if image.dtype.kind in "iu" and result.kind in "iu":
        own = image.dtype.itemsize == result.itemsize
    return image if own else image.astype(work, copy=False)


def _carrier(dtype: np.dtype[Any]) -> str:
    """What the kernel takes ``dtype`` for: sums of integers wrap around, whatever their sign."""
    return c_type(np.dtype(f"u{dtype.itemsize}") if dtype.kind == "i" else dtype)


def _chunk(kernel: Pair, most_rows: int, kind: str) -> Pair:
    """Rows and columns of the chunks of a kernel, all about alike.

    A chain of n products is off by n eps / 2 at most, of complex ones by 2.8 times that. Chunks of 7 (or 2.5)
    sqrt(T) of T taps, and their sums, stay within the 4 sqrt(T) eps that a result may be off; so do 9 taps.
    """
    (kh, kw), most_columns = kernel, HALO
    rows = -(-kh // -(-kh // most_rows))
    if kind in "fc":
        longest = 7 * isqrt(kh * kw) if kind == "f" else max(9, 5 * isqrt(kh * kw) // 2)
        most_columns = max(1, min(HALO, longest // rows))
    return rows, -(-kw // -(-kw // most_columns))


def _batch(image: Array, kernel: Array, batch: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """The dimensions of ``batch``: size, and the steps in elements of images and of kernels."""
    steps = ([step * prod(x.shape[-2:]) for step in _steps(x.shape[:-2], batch)] for x in (image, kernel))
    return merged(batch, *map(tuple, steps))


def _steps(own: tuple[int, ...], batch: tuple[int, ...]) -> tuple[int, ...]:
    """How many arrays of a batch of shape ``own`` a step along each dimension of ``batch`` passes."""
    steps = list(accumulate(own[:0:-1], mul, initial=1))[::-1] if own else []
    return (0,) * (len(batch) - len(own)) + tuple(
        step if n > 1 else 0 for n, step in zip(own, steps, strict=True)
    )
