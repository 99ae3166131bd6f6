"""Rows of few numbers, of which a vector holds several, each number taken from a place of its own."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from fastconv._geometry import Window
from fastconv.cpu.simd import _address, _i32, _i64, _load, _store

VECTOR_BYTES = 64
"""Bytes that are moved at once. LLVM makes one instruction of it where the machine has it (AVX-512)."""

FEW_COLUMNS = 10
"""Columns up to which rows are not taken for runs: to begin with another row takes as long as so many strided
elements. A vector is worth it even for one of them."""


class Gathered(NamedTuple):
    """``rows`` of windows are taken at once, 0 if none are. Number k of a vector of them comes from
    ``places[b, k]`` for taps of column b of a kernel, counted from the first pixel that such a tap sees in
    the first row; or is 0 if that is negative."""

    rows: int
    places: NDArray[Any]


class Scattered(NamedTuple):
    """``rows`` of an image are added up at once, 0 if none are: from a multiple of the stride on, which is
    not before row ``first``, as long as they end at row ``last`` or before. To number k of a vector of them,
    tap t adds what it sees ``places[t, k]`` windows after that at ``starts[t]`` plus ``out_columns`` for each
    stride from row 0 on; or nothing if that is negative."""

    rows: int
    places: NDArray[Any]
    starts: NDArray[np.int64]
    first: int
    last: int


def gathering(window: Window, dtype: np.dtype[Any]) -> Gathered:
    """Moves from rows of an image to rows of windows."""
    lanes, met = _lanes(dtype), _met(window)
    span = max(outside - inside for _, inside, outside in met)
    (_, width), (down, across), columns = window.size, window.stride, window.output[1]
    row = max(1, down * width)  # of an image without a pixel, too
    rows = min(lanes // columns, (lanes - 1 - max(span - 1, 0) * across) // row + 1)
    i, j = np.divmod(np.arange(lanes), columns)
    places = [
        np.where((i < rows) & (j >= inside) & (j < outside), i * down * width + (j - inside) * across, -1)
        for _, inside, outside in met
    ]
    enough = rows > 1 or (rows == 1 and columns <= FEW_COLUMNS)
    return Gathered(rows if enough else 0, np.array(places, places_type(dtype)))


def scattering(window: Window, dtype: np.dtype[Any]) -> Scattered:
    """Moves from rows of windows to rows of an image, where they are added up."""
    lanes, met = _lanes(dtype), _met(window)
    span = max(outside - inside for _, inside, outside in met)
    (_, width), (down, across), (height, columns) = window.size, window.stride, window.output
    strides = min(lanes // (down * width), (lanes - max(span, 1)) // columns + 1)
    y, z = np.divmod(np.arange(lanes), width)
    below = [a * window.dilation[0] - window.padding[0][0] for a in range(window.kernel[0])]
    places, starts = [], []
    for tap, (row, (right, inside, outside)) in enumerate(product(below, met)):
        i, j = (y - row % down) // down, (z - right) // across
        meets = ((y - row) % down == 0) & ((z - right) % across == 0) & (j >= inside) & (j < outside)
        places.append(np.where(meets & (y < strides * down), i * columns + j - inside, -1))
        begin = inside if inside < outside else 0
        starts.append(tap * window.positions + (row % down - row) // down * columns + begin)
    enough = strides > 1 or (strides == 1 and width <= FEW_COLUMNS)
    return Scattered(
        strides * down if enough else 0,
        np.array(places, places_type(dtype)),
        np.array(starts, np.int64),
        max(0, *(row - row % down for row in below)),
        min(below) + height * down,
    )


def _lanes(dtype: np.dtype[Any]) -> int:
    """Numbers of a vector; of complex ones, which LLVM has no vectors of, too few."""
    return 0 if dtype.kind == "c" else VECTOR_BYTES // dtype.itemsize


def _met(window: Window) -> list[tuple[int, int, int]]:
    """Of each column of a kernel where it is right of the first pixel of a row, and the first and the last +
    1 window that sees a pixel there."""
    (_, width), across, left, columns = window.size, window.stride[1], window.padding[1][0], window.output[1]
    found = []
    for b in range(window.kernel[1]):
        right = b * window.dilation[1] - left
        inside = max(0, -(right // across))
        found.append((right, inside, max(inside, min(columns, (width - 1 - right) // across + 1))))
    return found


def places_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Integers as long as numbers of ``dtype`` are, which LLVM wants for places of them."""
    return np.dtype(np.int8 if dtype.kind == "c" else f"i{dtype.itemsize}")


@intrinsic
def move(typing: Any, x: Any, start: Any, places: Any, at: Any, y: Any, target: Any) -> Any:
    """y[target + k] = x[start + places[at + k]], or 0 where the place is negative, for all k of a vector. As
    many numbers of x are read from the start on. Nothing for complex numbers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not isinstance(x.dtype, types.Complex):
            moved = _moved(context, builder, (x, places), args[:4])
            _store(context, builder, y, args[4], args[5], moved)
        return context.get_dummy_value()

    return types.void(x, types.intp, places, types.intp, y, types.intp), generate


@intrinsic
def add_up(typing: Any, x: Any, start: Any, starts: Any, places: Any, taps: Any, y: Any, target: Any) -> Any:
    """y[target + k] = the sum over t < ``taps`` of x[start + starts[t] + places[t, k]], or 0 where the place
    is negative, for all k of a vector. Nothing for complex numbers."""
    is_float = isinstance(x.dtype, types.Float)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, begin, begins, where, count, result, at = args
        if isinstance(x.dtype, types.Complex):
            return context.get_dummy_value()
        lanes = 8 * VECTOR_BYTES // x.dtype.bitwidth
        zero = ir.Constant(ir.VectorType(context.get_value_type(x.dtype), lanes), None)
        total = cgutils.alloca_once_value(builder, zero)
        builder.store(zero, total)
        with cgutils.for_range(builder, count, intp=_i64) as loop:
            here = builder.load(_address(context, builder, starts, begins, loop.index))
            own = builder.mul(loop.index, _i64(lanes))
            moved = _moved(context, builder, (x, places), (source, builder.add(begin, here), where, own))
            add = builder.fadd if is_float else builder.add
            builder.store(add(builder.load(total), moved), total)
        _store(context, builder, y, result, at, builder.load(total))
        return context.get_dummy_value()

    return types.void(x, types.intp, starts, places, types.intp, y, types.intp), generate


def _moved(context: Any, builder: Any, kinds: Any, args: Any) -> Any:
    """A vector of x from its places. Number by number, which LLVM knows for a permutation."""
    (x, places), lanes = kinds, 8 * VECTOR_BYTES // kinds[0].dtype.bitwidth
    source, start, table, at = args
    given = _load(context, builder, x, source, start, lanes)
    where = _load(context, builder, places, table, at, lanes)
    moved = ir.Constant(given.type, ir.Undefined)
    for k in range(lanes):
        number = builder.extract_element(given, builder.extract_element(where, _i32(k)))
        moved = builder.insert_element(moved, number, _i32(k))
    there = builder.icmp_signed(">=", where, ir.Constant(where.type, None))
    return builder.select(there, moved, ir.Constant(given.type, None))
