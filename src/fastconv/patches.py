"""Patches: the windows of an image as columns of a matrix, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv._backends import BACKENDS, Array, adapted_keeping_dtype, backend_of
from fastconv._checks import Pair, as_array, check_out, pair
from fastconv._geometry import window
from fastconv._remember import remembered
from fastconv._specs.patches import Col2im, Im2col


@adapted_keeping_dtype
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
    spec, plan = _plan_im2col((kernel_size, stride, padding, dilation), x.shape, x.dtype, backend.namespace)
    if out is not None:
        check_out("im2col", out, spec.shape, spec.dtype.newbyteorder("="))
    return plan(x, out)


@adapted_keeping_dtype
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
    options = (output_size, kernel_size, stride, padding, dilation)
    spec, plan = _plan_col2im(options, cols.shape, cols.dtype, backend.namespace)
    if out is not None:
        check_out("col2im", out, spec.shape, spec.dtype.newbyteorder("="))
    return plan(cols, out)


@remembered
def _plan_im2col(
    options: tuple[Any, ...], x: tuple[int, ...], dtype: np.dtype[Any], namespace: str
) -> tuple[Im2col, Any]:
    """Spec and plan of im2col for arrays of shape ``x``."""
    if dtype.kind not in "biufcmM" or dtype.itemsize > 16:
        raise TypeError(f"im2col: x must be bool, integer, float, complex or a date, got dtype {dtype}")
    if len(x) < 2:
        raise ValueError(f"im2col: x must have shape (..., C, H, W) or (H, W), got {x}")
    geometry = window("im2col", x[-2:], *options)  # type: ignore[arg-type]
    channels = x[-3] if len(x) > 2 else 1
    spec = Im2col(x, dtype, geometry, (*x[:-3], channels * geometry.taps, geometry.positions))
    check_out("im2col", None, spec.shape, dtype)
    return spec, BACKENDS[namespace].plan(spec)


@remembered
def _plan_col2im(
    options: tuple[Any, ...], cols: tuple[int, ...], dtype: np.dtype[Any], namespace: str
) -> tuple[Col2im, Any]:
    """Spec and plan of col2im for arrays of shape ``cols``."""
    if dtype.kind not in "biufc" or dtype.char in "gG":
        raise TypeError(f"col2im: cols must be bool, integer, float or complex, got dtype {dtype}")
    output_size, *sliding = options
    size = pair("col2im", "output_size", output_size, 0)
    geometry = window("col2im", size, *sliding)
    if len(cols) < 2 or cols[-2] % geometry.taps or cols[-1] != geometry.positions:
        raise ValueError(
            f"col2im: cols must have shape (..., C * {geometry.taps}, {geometry.positions}) "
            f"for output_size {size} and kernel_size {geometry.kernel}, got {cols}"
        )
    spec = Col2im(cols, dtype, geometry, (*cols[:-2], cols[-2] // geometry.taps, *size))
    check_out("col2im", None, spec.shape, dtype)
    return spec, BACKENDS[namespace].plan(spec)
