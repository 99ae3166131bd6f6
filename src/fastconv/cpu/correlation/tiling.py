"""Correlation by direct sums, planned: tiles, passes and jobs."""

from __future__ import annotations

from functools import lru_cache
from math import isqrt, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastconv._checks import working_dtype
from fastconv._shared.rank1 import Factors
from fastconv._specs.correlation import Filter
from fastconv.cpu.arrays import Array, native
from fastconv.cpu.correlation.lines import Lines
from fastconv.cpu.correlation.stencil import MOST_ROWS, MOST_VECTORS, VECTOR_BYTES, vectors
from fastconv.cpu.correlation.tiles import correlate, correlate_twice
from fastconv.cpu.kernels import Job
from fastconv.cpu.threads import chunks_of_long, threads

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


class Direct:
    """``sums`` = images correlated with kernels, whose taps are conjugated or turned already."""

    def __init__(self, spec: Filter, lines: Lines) -> None:
        how = conditions(spec, lines, twice=False)
        tile = tile_of(spec, how)
        self.work = how.work
        chunks, scratch = chunks_for(spec, how, tile), {"strip": tile.length}
        self.job = Job(correlate, chunks, elements(spec), scratch, **numbers(spec, how, tile))

    def __call__(self, image: Array, kernel: Array, sums: Array) -> None:
        self.job(images=pixels(image), taps=by_columns(kernel, self.work), out=sums)


class Twice:
    """``sums`` = images correlated with rows (..., 1, kw) and then columns (..., kh, 1), whose outer products
    the kernels are. Results that do not come out finite, or are in doubt, are summed directly afterwards: all
    sums are then in the right place within the bounds of direct ones, with the same NaN and infinities."""

    def __init__(self, spec: Filter, lines: Lines) -> None:
        how = conditions(spec, lines, twice=True)
        tile = tile_of(spec, how)
        self.work, self.real = how.work, np.zeros(1, how.work).real.dtype
        self.fill = spec.fillvalue
        kh, kw = spec.kernel[-2:]
        rows, columns = passes(1, kw, self.work.kind), passes(kh, 1, self.work.kind)
        self.job = Job(
            correlate_twice,
            chunks_for(spec, how, tile),
            {
                **elements(spec),
                "rows": self.work,
                "columns": self.work,
                "between": self.work,
                "least": self.real,
            },
            {"strip": tile.length, "between": tile.length},
            **numbers(spec, how, tile),
            row_passes=rows,
            row_pieces=len(rows),
            column_passes=columns,
            column_pieces=len(columns),
            careful=self.work.kind in "fc",
        )

    def __call__(self, image: Array, kernel: Array, factors: Factors, sums: Array) -> None:
        rows, columns = (by_columns(factor, self.work) for factor in (factors.rows, factors.columns))
        images, taps = pixels(image), by_columns(kernel, self.work)
        least = factors.least(images, self.fill, self.real)
        self.job(images=images, taps=taps, rows=rows, columns=columns, least=least, out=sums)


def pixels(image: Array) -> Array:
    """``image`` as kernels read it: float16, which numba has not, in float32."""
    if image.dtype.kind == "f" and image.itemsize == 2:
        return image.astype(np.float32, order="C")
    return native(image)


def by_columns(kernels: Array, work: np.dtype[Any]) -> Array:
    """Kernels (..., kh, kw) as (..., kw, kh), so that a column's taps are neighbours."""
    return np.array(kernels.swapaxes(-2, -1), work, order="C")


class Conditions(NamedTuple):
    """What the tiles of a filter depend on.

    Sums are kept in ``work``. Tiles are read where they lie in the image if ``direct``, else copied;
    ``whole`` ones are copied, or filtered twice. A ``large`` result is written past the caches, if kernels
    can (``stream``). Each image is cut into a multiple of ``share`` tiles; a ``serial`` call is for one
    thread. Images lie in ``lines``, and results in rows of ``columns`` numbers.
    """

    work: np.dtype[Any]
    direct: bool
    whole: bool
    large: bool
    stream: bool
    serial: bool
    share: int
    lines: Lines
    columns: int


class Tile(NamedTuple):
    """Rows and columns of results, and the pixels of scratch."""

    rows: int
    columns: int
    length: int


def conditions(spec: Filter, lines: Lines, *, twice: bool) -> Conditions:
    """For filters in one pass, or ``twice``, by rows and by columns."""
    work, kinds = working_dtype(spec.dtype), elements(spec)
    kh, kw = spec.kernel[-2:]
    outputs = prod(spec.shape)
    direct, large = kinds["images"] == work, outputs * kinds["out"].itemsize >= LARGE
    stream = large and not twice and len(passes(kh, kw, work.kind)) == 1 and kinds["out"] == work
    serial = outputs * (kh + kw if twice else kh * kw) <= SERIAL_PRODUCTS
    many = serial or len(lines.which) >= IMAGES_PER_THREAD * threads()
    share = 1 if many else threads()  # as many tiles for every thread
    columns = spec.size[1] * lines.spacing
    return Conditions(work, direct, twice or not direct, large, stream, serial, share, lines, columns)


def tile_of(spec: Filter, how: Conditions) -> Tile:
    """The tiles of a filter."""
    (height, _), (kh, kw), itemsize = spec.size, spec.kernel[-2:], how.work.itemsize
    lanes, spacing, width = VECTOR_BYTES // itemsize, how.lines.spacing, how.columns
    across = max(1, round(width / (TILE_COLUMNS if how.whole else DIRECT_COLUMNS)))
    columns = min(width, -(-width // (16 * across)) * 16)
    pitch = copied(max(columns, lanes), kw, spacing)
    most = min(ROWS_PER_PASS * min(kh, rows_in_flight(how.work.kind)), LARGE_ROWS if how.large else height)
    if not how.direct:
        most = min(most, max(TILE_BYTES // (pitch * itemsize) - kh + 1, kh, 8))
    down = -(-height // (most * how.share)) * how.share
    rows = -(-height // down)
    if how.whole:
        return Tile(rows, columns, (rows + kh - 1) * pitch)
    # what filter_tile may copy: rows outside the image, or both edges, and less than a strip between them
    edges = min(max(columns, lanes), 4 * MOST_VECTORS * lanes + 2 * kw * spacing)
    above, beside = min(rows, 2 * kh), copied(edges, kw, spacing)
    return Tile(rows, columns, max((above + kh - 1) * pitch, (rows + kh - 1) * beside))


def copied(columns: int, kw: int, spacing: int) -> int:
    """Numbers in a row of a strip under so many results: one run, or a run for each tap if these lie so far
    apart that runs do not overlap."""
    return columns + (kw - 1) * min(spacing, columns)


def chunks_for(spec: Filter, how: Conditions, tile: Tile) -> int:
    """Into how many chunks to cut the tiles."""
    tiles = len(how.lines.which) * -(-spec.size[0] // tile.rows) * -(-how.columns // tile.columns)
    return chunks_of_long(tiles, serially=how.serial)


def elements(spec: Filter) -> dict[str, np.dtype[Any]]:
    """Dtypes behind the addresses of ``tiles.FILTER``."""
    work, image = working_dtype(spec.dtype), spec.image_dtype.newbyteorder("=")
    images = np.dtype(np.float32) if image == np.float16 else image
    sums = work if spec.dtype == np.float16 else spec.dtype
    return {"images": images, "taps": work, "fill": work, "strip": work, "out": sums}


def numbers(spec: Filter, how: Conditions, tile: Tile) -> dict[str, Any]:
    """All of ``tiles.FILTER`` that is known before the arrays are."""
    (height, width), (*kernels, kh, kw), lines = spec.image[-2:], spec.kernel, how.lines
    pieces = passes(kh, kw, how.work.kind)
    return {
        "height": height, "width": width * lines.spacing, "spacing": lines.spacing, "pitch": lines.pitch,
        "kernels": prod(kernels), "kernel_rows": kh, "kernel_columns": kw,
        "results": len(lines.which), "out_rows": spec.size[0], "out_columns": how.columns,
        "out_pitch": lines.out_pitch, "out_length": prod(spec.shape),
        "above": spec.before[0], "left": spec.before[1] * lines.spacing,
        "boundary": BOUNDARIES.index(spec.boundary),
        "direct": how.direct, "stream": how.stream, "pieces": len(pieces),
        "tile_rows": tile.rows, "tile_columns": tile.columns, "length": tile.length,
        "passes": pieces, "which": lines.which, "fill": np.array([spec.fillvalue]).astype(how.work),
    }  # fmt: skip


def rows_in_flight(kind: str) -> int:
    """How many rows of a kernel a pass takes at most; a complex number has two sums."""
    return MOST_ROWS // (2 if kind == "c" else 1)


@lru_cache(maxsize=64)
def passes(kh: int, kw: int, kind: str) -> NDArray[np.int64]:
    """(P, 5): the pieces of a kernel that one run down a strip takes: first row, rows, first column,
    columns, and the vectors that a strip is wide; ``kind`` of the dtype that sums are kept in.

    A chain of n products is off by n eps / 2 at most. Pieces of 6 sqrt(T) of T taps, and their sums, stay
    within 3.1 of the 4 sqrt(T) eps that a result may be off.
    """
    down = -(-kh // rows_in_flight(kind))
    rows = [kh * (i + 1) // down - kh * i // down for i in range(down)]
    longest = max(EXACT_CHAIN, 6 * isqrt(kh * kw)) // max(rows) if kind in "fc" else kw
    across = -(-kw // max(longest, 1))
    width = [kw * (i + 1) // across - kw * i // across for i in range(across)]
    columns = vectors(max(rows), 2 if kind == "c" else 1)
    pieces = [
        (sum(rows[:i]), rows[i], sum(width[:j]), width[j], columns)
        for i in range(down)
        for j in range(across)
    ]
    return np.array(pieces, np.int64)
