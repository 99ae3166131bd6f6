"""Windows as kernels see them: fields of records, and which of them a tap meets the image in."""

from __future__ import annotations

from typing import Any

import numba

from fastconv._geometry import Window

WINDOW = (
    "height width kernel_rows kernel_columns stride_rows stride_columns dilation_rows dilation_columns "
    "top left out_rows out_columns"
)
"""Fields of a record that say how a window slides over planes of height x width pixels."""

PLANES = "extent origin plane_step row_step column_step"
"""Fields of a record that say how planes lie in flat memory of ``extent`` elements."""


def window_numbers(window: Window) -> dict[str, Any]:
    """Numbers for the fields WINDOW."""
    (top, _), (left, _) = window.padding
    pairs = (window.size, window.kernel, window.stride, window.dilation, (top, left), window.output)
    return dict(zip(WINDOW.split(), (number for pair in pairs for number in pair), strict=True))


@numba.njit(error_model="numpy")
def met(p, right):
    """The first and the last + 1 window of a row whose tap, ``right`` columns from its first pixel, is inside
    the image."""
    inside = max(0, -(right // p.stride_columns))
    return inside, max(inside, min(p.out_columns, (p.width - 1 - right) // p.stride_columns + 1))


@numba.njit(error_model="numpy")
def between(p, down, begin, end):
    """The first and the last + 1 row of windows whose tap, ``down`` rows from its first pixel, meets rows
    begin ... end of the image."""
    first = min(max(-((down - begin) // p.stride_rows), 0), p.out_rows)
    return first, max(first, min(-((down - end) // p.stride_rows), p.out_rows))


@numba.njit(error_model="numpy")
def take(x, start, step, target):
    """target[k] = x[start + k * step]; slices, so that LLVM vectorises the usual steps."""
    n = target.size
    if n == 0:
        return
    if step == 1:
        source = x[start : start + n]
        for k in range(n):
            target[k] = source[k]
    elif step == 2:
        source = x[start : start + 2 * n - 1]
        for k in range(n):
            target[k] = source[2 * k]
    else:
        for k in range(n):
            target[k] = x[start + k * step]
