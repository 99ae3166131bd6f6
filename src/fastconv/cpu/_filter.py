"""Correlation of images with small kernels: tiles, borders and passes."""

from __future__ import annotations

from functools import lru_cache
from math import isqrt, prod
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from fastconv._checks import Pair
from fastconv._geometry import Filter
from fastconv.cpu._border import STREAM, TILE_HEIGHT, TILE_WIDTH, filter_tile, sweep
from fastconv.cpu._stencil import MOST_ROWS, MOST_VECTORS, VECTOR_BYTES, vectors
from fastconv.cpu._threads import parallel_kernel, scratch, threads
from fastconv.cpu.arrays import Array, batch_index, computable, stacked
from fastconv.cpu.simd import fence

TILE_COLUMNS = 1024
"""Output columns of a tile that has to be copied, or is filtered in two passes: it stays in the L2 cache."""

DIRECT_COLUMNS = 4096
"""Output columns of a tile that is read where it lies: the edges of a tile take longer than the rest."""

ROWS_PER_PASS = 11
"""Output rows of a tile for each row of the kernel that a pass has in flight: a strip starts and ends with
sums that nobody wants, one row less than are in flight."""

SERIAL_PRODUCTS = 2**19
"""Products in a call up to which one thread does them alone."""

IMAGES_PER_THREAD = 8
"""Images from which on each thread gets whole ones: an eighth of its work is the most it may wait."""

TILE_BYTES = 256 * 1024
"""Bytes of padded image per tile where a tile has to be copied."""

LARGE = 2**25
"""Bytes of a result that leaves all caches before anybody reads it. It is written past them, and tiles get
fewer rows: each is a memory page of its own. 4096 x 4096, 3 x 3 taps: 5.6 ms into the caches, 3.4 past them;
7 x 7 taps: 15.2 ms, 11.5 past the caches, 7.6 with fewer rows as well. 2048 x 2048: no difference."""

LARGE_ROWS = 32
"""Output rows of a tile of a large result."""

EXACT_CHAIN = 56
"""Products that may be added up one after the other."""

BOUNDARIES = ("fill", "wrap", "symm")


@lru_cache(maxsize=64)
def _passes(kh: int, kw: int, parts: int, is_float: bool) -> NDArray[np.int64]:
    """(P, 5): the pieces of a kernel that one run down a strip takes: first row, rows, first column,
    columns, and the vectors that a strip is wide.

    A chain of n products is off by n eps / 2 at most. Pieces of 6 sqrt(T) of T taps, and their sums, stay
    within 3.1 of the 4 sqrt(T) eps that a result may be off.
    """
    down = -(-kh // (MOST_ROWS // parts))
    rows = [kh * (i + 1) // down - kh * i // down for i in range(down)]
    longest = max(EXACT_CHAIN, 6 * isqrt(kh * kw)) // max(rows) if is_float else kw
    across = -(-kw // max(longest, 1))
    width = [kw * (i + 1) // across - kw * i // across for i in range(across)]
    columns = vectors(max(rows), parts)
    pieces = [
        (sum(rows[:i]), rows[i], sum(width[:j]), width[j], columns)
        for i in range(down)
        for j in range(across)
    ]
    return _constant(pieces)


def _constant(values: Any) -> NDArray[np.int64]:
    array = np.array(values, np.int64)
    array.flags.writeable = False
    return array


@lru_cache(maxsize=256)
def _frame(
    size: Pair,
    kernel: Pair,
    before: Pair,
    boundary: str,
    itemsize: int,
    rows: int,
    direct: bool,
    whole: bool,
    large: bool,
    stream: bool,
    pieces: int,
) -> tuple[NDArray[np.int64], int]:
    """The numbers that a kernel needs, and the pixels of scratch: of ``whole`` tiles, or else, if they are
    read ``direct``ly, of their edges. A ``large`` result is written past the caches, if ``stream``. Each
    image is cut into a multiple of ``pieces`` tiles."""
    (height, width), (kh, kw) = size, kernel
    across = max(1, round(width / (TILE_COLUMNS if whole else DIRECT_COLUMNS)))
    columns = min(width, -(-width // (16 * across)) * 16)
    pitch = max(columns, VECTOR_BYTES // itemsize) + kw - 1
    most = min(ROWS_PER_PASS * rows, LARGE_ROWS if large else height)
    if not direct:
        most = min(most, max(TILE_BYTES // (pitch * itemsize) - kh + 1, kh, 8))
    down = -(-height // (most * pieces)) * pieces
    tile_rows = -(-height // down)
    # in the order of _border.ABOVE
    frame = (*before, BOUNDARIES.index(boundary), int(direct), tile_rows, columns, int(large and stream))
    if whole:
        return _constant(frame), (tile_rows + kh - 1) * pitch
    # what filter_tile may copy: rows outside the image, or both edges, and less than a strip between them
    above, beside = min(tile_rows, 2 * kh), min(pitch, 4 * MOST_VECTORS * VECTOR_BYTES // itemsize + 3 * kw)
    return _constant(frame), max((above + kh - 1) * pitch, (tile_rows + kh - 1) * beside)


@lru_cache(maxsize=64)
def _batch(image: tuple[int, ...], kernel: tuple[int, ...], batch: tuple[int, ...]) -> NDArray[np.int64]:
    """(B, 2): which image and which kernel."""
    return _constant(np.stack([batch_index(image, batch), batch_index(kernel, batch)], axis=1))


def filter_directly(
    image: Array, kernel: Array, factors: tuple[Array, Array] | None, plan: Filter, work: Any, sums: Array
) -> None:
    """``sums`` = ``image`` correlated with ``kernel`` (..., kh, kw), summed in the dtype ``work``; by way of
    the ``factors``, if given: rows (K, 1, kw), then columns (K, kh, 1)."""
    pixels = stacked(computable(image), 2)
    taps = _by_columns(stacked(kernel, 2), work)
    parts = 2 if work.kind == "c" else 1
    _, kw, kh = taps.shape
    inexact = work.kind in "fc"
    passes = _passes(kh, kw, parts, inexact)
    serially = sums.size * (kh * kw if factors is None else kh + kw) <= SERIAL_PRODUCTS
    many = serially or prod(plan.batch) >= IMAGES_PER_THREAD * threads()
    direct = pixels.dtype == work
    frame, length = _frame(
        plan.size, (kh, kw), plan.before, plan.boundary, work.itemsize, min(kh, MOST_ROWS // parts),
        direct, not direct or factors is not None, sums.nbytes >= LARGE,
        len(passes) == 1 and sums.dtype == work, 1 if many else threads(),  # as many tiles for every thread
    )  # fmt: skip
    batch = _batch(image.shape[:-2], kernel.shape[:-2], plan.batch)
    fill = np.array([plan.fillvalue], work)
    strips, betweens = scratch((length, work), (0 if factors is None else length, work), serially=serially)
    out = stacked(sums, 2)
    if factors is None:
        _correlate(pixels, taps, batch, frame, passes, fill, strips, out, serially=serially)
        return
    rows, columns = factors
    _correlate_factors(
        pixels, taps, _by_columns(rows, work), _by_columns(columns, work), batch, frame, passes,
        _passes(1, kw, parts, inexact), _passes(kh, 1, parts, inexact),
        plan.method == "auto" and inexact, fill, strips, betweens, out, serially=serially,
    )  # fmt: skip


def _by_columns(kernels: Array, work: Any) -> Array:
    """Kernels (K, kh, kw) as (K, kw, kh), so that a column's taps are neighbours."""
    return np.array(kernels.swapaxes(1, 2), work, order="C")


@parallel_kernel
def _correlate(images, taps, batch, frame, passes, fill, strips, out):
    """Tile by tile. images (I, H, W); taps (K, kw, kh); batch (B, 2); frame, passes: see above; fill (1,);
    out (B, Ho, Wo). strips: a worker's scratch."""
    workers = strips.shape[0]
    width = out.shape[2]
    stream = frame[STREAM] == 1 and _evenly_aligned(out)
    tasks = _tasks(out, frame)
    for index in numba.prange(workers):
        worker = np.int64(index)
        for task in range(tasks * worker // workers, tasks * (worker + 1) // workers):
            b, i, j, m, n = _task(task, out, frame)
            filter_tile(
                images[batch[b, 0]], taps[batch[b, 1]], passes, frame, fill, strips[worker],
                i, j, m, n, out[b].reshape(-1), i * width + j, width, stream,
            )  # fmt: skip
        fence()


@parallel_kernel
def _correlate_factors(
    images, taps, rows, columns, batch, frame, passes, row_passes, column_passes, careful, fill, strips,
    betweens, out,
):  # fmt: skip
    """As :func:`_correlate`, by rows (K, kw, 1) and then columns (K, 1, kh); with ``careful``, tiles that
    do not come out finite are done again with ``taps``. betweens: a worker's scratch, like strips."""
    workers = strips.shape[0]
    width, kh = out.shape[2], columns.shape[2]
    tasks = _tasks(out, frame)
    for index in numba.prange(workers):
        worker = np.int64(index)
        strip, between = strips[worker], betweens[worker]
        for task in range(tasks * worker // workers, tasks * (worker + 1) // workers):
            b, i, j, m, n = _task(task, out, frame)
            image, kernel = images[batch[b, 0]], batch[b, 1]
            target, at = out[b].reshape(-1), i * width + j
            filter_tile(
                image, rows[kernel], row_passes, frame, fill, strip, i, j, m + kh - 1, n, between, 0, n,
                False,
            )  # fmt: skip
            source = np.int64(between.ctypes.data)
            sweep(source, n, columns[kernel], column_passes, target, at, width, m, n, False)
            if careful and not _finite(target, at, width, m, n):
                filter_tile(
                    image, taps[kernel], passes, frame, fill, strip, i, j, m, n, target, at, width, False
                )


@numba.njit
def _tasks(out, frame):
    """How many tiles there are."""
    return out.shape[0] * -(-out.shape[1] // frame[TILE_HEIGHT]) * -(-out.shape[2] // frame[TILE_WIDTH])


@numba.njit
def _task(task, out, frame):
    """Image, first row, first column, rows and columns of a tile of ``out`` (B, Ho, Wo)."""
    _, height, width = out.shape
    down, across = -(-height // frame[TILE_HEIGHT]), -(-width // frame[TILE_WIDTH])
    b, tile = divmod(task, down * across)
    i, j = tile // across * frame[TILE_HEIGHT], tile % across * frame[TILE_WIDTH]
    return b, i, j, min(frame[TILE_HEIGHT], height - i), min(frame[TILE_WIDTH], width - j)


@numba.njit
def _evenly_aligned(out):
    """Whether the rows of ``out`` (B, Ho, Wo) are whole vectors, and vectors can begin at multiples of their
    size."""
    return out.shape[2] * out.itemsize % VECTOR_BYTES == 0 and out.ctypes.data % out.itemsize == 0


@numba.njit
def _finite(x, at, pitch, m, n):
    """Whether x[at + i * pitch + j] is finite for all i < m, j < n."""
    strange = 0
    for i in range(m):
        row = x[at + i * pitch : at + i * pitch + n]
        for j in range(n):
            strange += row[j] - row[j] != 0
    return strange == 0
