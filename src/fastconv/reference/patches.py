"""The plain-NumPy meaning of :mod:`fastconv.patches`."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv._backends import unfollowed
from fastconv._checks import pair
from fastconv._geometry import Window, window
from fastconv.reference._out import write


@unfollowed
def im2col(
    x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1, *, out: Any = None
) -> Any:
    """As :func:`fastconv.im2col`."""
    x = np.asarray(x)
    w = window("im2col", x.shape[-2:], kernel_size, stride, padding, dilation)
    x = np.pad(x, [(0, 0)] * (x.ndim - 2) + list(w.padding))
    taps = [x[(..., *taken)].reshape(*x.shape[:-2], w.positions) for taken in tap_slices(w)]
    cols = np.stack(taps, axis=-2)
    if x.ndim > 2:
        cols = cols.reshape(*x.shape[:-3], x.shape[-3] * w.taps, w.positions)
    return write(cols.astype(x.dtype.newbyteorder("=")), out)


@unfollowed
def col2im(
    cols: Any,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
    *,
    out: Any = None,
) -> Any:
    """As :func:`fastconv.col2im`."""
    cols = np.asarray(cols)
    w = window(
        "col2im", pair("col2im", "output_size", output_size, 0), kernel_size, stride, padding, dilation
    )
    dtype = cols.dtype.newbyteorder("=")
    planes = cols.reshape(*cols.shape[:-2], cols.shape[-2] // w.taps, w.taps, *w.output)
    image = np.zeros((*planes.shape[:-3], *w.padded), np.float32 if dtype == np.float16 else dtype)
    for tap, taken in enumerate(tap_slices(w)):
        image[(..., *taken)] += planes[..., tap, :, :]
    (top, _), (left, _) = w.padding
    image = image[..., top : top + w.size[0], left : left + w.size[1]]
    return write(image.astype(dtype), out)


def tap_slices(w: Window) -> list[tuple[slice, slice]]:
    """For each tap in row-major order, the rows and columns of the padded image that it meets."""
    return [
        (
            slice(a * w.dilation[0], a * w.dilation[0] + (w.output[0] - 1) * w.stride[0] + 1, w.stride[0]),
            slice(b * w.dilation[1], b * w.dilation[1] + (w.output[1] - 1) * w.stride[1] + 1, w.stride[1]),
        )
        for a in range(w.kernel[0])
        for b in range(w.kernel[1])
    ]
