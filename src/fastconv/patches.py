"""Patches: the windows of an image as columns of a matrix, and back."""

from __future__ import annotations

from typing import Any

from fastconv._backends import Array, adapted, backend_of
from fastconv._checks import Pair, as_array, check_out, pair
from fastconv._geometry import window


@adapted
def im2col(
    x: Any,
    kernel_size: int | Pair,
    dilation: int | Pair = 1,
    padding: Any = 0,
    stride: int | Pair = 1,
    *,
    out: Array | None = None,
) -> Array:
    """Every window of an image as one column.

    Parameters
    ----------
    x : array, shape (..., C, H, W) or (H, W)
        bool, integers, floats, complex or dates.
    kernel_size, dilation, stride : int or (rows, columns)
    padding : int, (rows, columns), ((top, bottom), (left, right)), "valid" or "same"
        Zeros around the image.
    out : array, optional
        Of the result's shape and the dtype of ``x``.

    Returns
    -------
    array, shape (..., C * kh * kw, L) or (kh * kw, L)
        L = Ho * Wo windows in row-major order; rows ordered by channel, then tap.

    Raises
    ------
    TypeError
        For any other dtype, or a size that is not an integer.
    ValueError
        If the window does not fit, or a size is out of range.

    Notes
    -----
    The order is that of ``torch.nn.functional.unfold``.

    Examples
    --------
    >>> import numpy as np
    >>> im2col(np.arange(9).reshape(3, 3), 2)
    array([[0, 1, 3, 4],
           [1, 2, 4, 5],
           [3, 4, 6, 7],
           [4, 5, 7, 8]])
    """
    backend = backend_of("im2col", x, out)
    x = as_array("im2col", "x", x)
    if x.dtype.kind not in "biufcmM" or x.dtype.itemsize > 16:
        raise TypeError(f"im2col: x must be bool, integer, float, complex or a date, got dtype {x.dtype}")
    if x.ndim < 2:
        raise ValueError(f"im2col: x must have shape (..., C, H, W) or (H, W), got {x.shape}")
    geometry = window("im2col", x.shape[-2:], kernel_size, stride, padding, dilation)
    channels = x.shape[-3] if x.ndim > 2 else 1
    shape = (*x.shape[:-3], channels * geometry.taps, geometry.positions)
    check_out("im2col", out, shape, x.dtype.newbyteorder("="))
    return backend.module("patches").im2col(x, geometry, shape, out)


@adapted
def col2im(
    cols: Any,
    output_size: int | Pair,
    kernel_size: int | Pair,
    dilation: int | Pair = 1,
    padding: Any = 0,
    stride: int | Pair = 1,
    *,
    out: Array | None = None,
) -> Array:
    """The adjoint of :func:`im2col`: put every column back where it came from, adding overlaps.

    Parameters
    ----------
    cols : array, shape (..., C * kh * kw, L)
        bool (or instead of adding), integers (wrapping around), floats or complex.
        float16 is summed in float32.
    output_size : int or (H, W)
        Size of the image the columns were taken from.
    kernel_size, dilation, padding, stride
        As given to :func:`im2col`.
    out : array, optional
        Of the result's shape and the dtype of ``cols``.

    Returns
    -------
    array, shape (..., C, H, W)

    Raises
    ------
    TypeError
        For a dtype that cannot be added.
    ValueError
        If the shape of ``cols`` does not belong to these sizes.

    Notes
    -----
    The order is that of ``torch.nn.functional.fold``.

    Examples
    --------
    >>> import numpy as np
    >>> col2im(np.ones((4, 4), int), 3, 2)
    array([[[1, 2, 1],
            [2, 4, 2],
            [1, 2, 1]]])
    """
    backend = backend_of("col2im", cols, out)
    cols = as_array("col2im", "cols", cols)
    if cols.dtype.kind not in "biufc" or cols.dtype.char in "gG":
        raise TypeError(f"col2im: cols must be bool, integer, float or complex, got dtype {cols.dtype}")
    size = pair("col2im", "output_size", output_size, 0)
    geometry = window("col2im", size, kernel_size, stride, padding, dilation)
    if cols.ndim < 2 or cols.shape[-2] % geometry.taps or cols.shape[-1] != geometry.positions:
        raise ValueError(
            f"col2im: cols must have shape (..., C * {geometry.taps}, {geometry.positions}) "
            f"for output_size {size} and kernel_size {geometry.kernel}, got {cols.shape}"
        )
    shape = (*cols.shape[:-2], cols.shape[-2] // geometry.taps, *size)
    check_out("col2im", out, shape, cols.dtype.newbyteorder("="))
    return backend.module("patches").col2im(cols, geometry, shape, out)
