"""The plain-NumPy meaning of :mod:`fastconv.correlation`."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv._backends import unfollowed
from fastconv._geometry import image_layout, window
from fastconv.reference._out import write
from fastconv.reference.patches import tap_slices

PAD_MODES = {
    "fill": "constant", "pad": "constant",
    "wrap": "wrap", "circular": "wrap",
    "symm": "symmetric", "symmetric": "symmetric",
}  # fmt: skip


@unfollowed
def correlate2d(
    in1: Any,
    in2: Any,
    mode: str = "full",
    boundary: str = "fill",
    fillvalue: Any = 0,
    *,
    method: str = "auto",
    axes: Any = None,
    dtype: Any = None,
    out: Any = None,
) -> Any:
    """As :func:`fastconv.correlate2d`."""
    image, kernel = _rows_and_columns_last(in1, in2, axes)
    swapped = mode == "valid" and any(n < k for n, k in zip(image.shape[-2:], kernel.shape[-2:], strict=True))
    if swapped:
        image, kernel = kernel, image
    centre = kernel.shape[-2] // 2, kernel.shape[-1] // 2
    result = _correlate(image, kernel.conj(), mode, centre, boundary, fillvalue, dtype)
    return write(_put_back(result[..., ::-1, ::-1] if swapped else result, axes), out)


@unfollowed
def convolve2d(
    in1: Any,
    in2: Any,
    mode: str = "full",
    boundary: str = "fill",
    fillvalue: Any = 0,
    *,
    method: str = "auto",
    axes: Any = None,
    dtype: Any = None,
    out: Any = None,
) -> Any:
    """As :func:`fastconv.convolve2d`."""
    image, kernel = _rows_and_columns_last(in1, in2, axes)
    if mode == "valid" and any(n < k for n, k in zip(image.shape[-2:], kernel.shape[-2:], strict=True)):
        image, kernel = kernel, image
    centre = (kernel.shape[-2] - 1) // 2, (kernel.shape[-1] - 1) // 2
    result = _correlate(image, kernel[..., ::-1, ::-1], mode, centre, boundary, fillvalue, dtype)
    return write(_put_back(result, axes), out)


def _rows_and_columns_last(in1: Any, in2: Any, axes: Any) -> tuple[Any, Any]:
    """Both inputs with ``axes`` last; a kernel of 2 dimensions as it is."""
    image, kernel = np.asarray(in1), np.asarray(in2)
    if axes is not None:
        image = np.moveaxis(image, axes, (-2, -1))
        kernel = kernel if kernel.ndim == 2 else np.moveaxis(kernel, axes, (-2, -1))
    return image, kernel


def _put_back(result: Any, axes: Any) -> Any:
    return result if axes is None else np.moveaxis(result, (-2, -1), axes)


def _correlate(
    image: Any, kernel: Any, mode: str, centre: tuple[int, int], boundary: str, fillvalue: Any, dtype: Any
) -> Any:
    """Pad the image as the full correlation needs it, add up its shifted copies, cut out the mode."""
    common = np.result_type(image.dtype.newbyteorder("="), kernel.dtype.newbyteorder("="))
    dtype = common if dtype is None else np.dtype(dtype)
    work = np.float32 if dtype == np.float16 else dtype
    (h, w), (kh, kw) = image.shape[-2:], kernel.shape[-2:]
    before = {"full": (kh - 1, kw - 1), "same": (kh - 1 - centre[0], kw - 1 - centre[1]), "valid": (0, 0)}[
        mode
    ]
    ho, wo = {"full": (h + kh - 1, w + kw - 1), "same": (h, w), "valid": (h - kh + 1, w - kw + 1)}[mode]
    batch = np.broadcast_shapes(image.shape[:-2], kernel.shape[:-2])
    result = np.zeros((*batch, ho, wo), work)
    if result.size and kernel.size:
        pads = [
            (max(k, 0), max(length + size - 1 - k - n, 0))
            for k, length, size, n in zip(before, (ho, wo), (kh, kw), (h, w), strict=True)
        ]
        everywhere = [(0, 0)] * (image.ndim - 2) + pads
        extra = (
            {"constant_values": np.asarray(fillvalue).reshape(())}
            if PAD_MODES[boundary] == "constant"
            else {}
        )
        padded = np.pad(image.astype(work), everywhere, PAD_MODES[boundary], **extra)  # type: ignore[call-overload]
        for a in range(kh):
            for b in range(kw):
                tap = kernel[..., a : a + 1, b : b + 1].astype(work)
                result += padded[..., a : a + ho, b : b + wo] * tap
    return result.astype(dtype)


@unfollowed
def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    data_format: str = "NCHW",
    out: Any = None,
) -> Any:
    """As :func:`fastconv.conv2d`."""
    x, weight = np.asarray(x), np.asarray(weight)
    dtype = np.result_type(
        *(a.dtype.newbyteorder("=") for a in map(np.asarray, (x, weight, *([] if bias is None else [bias]))))
    )
    work = np.float32 if dtype == np.float16 else dtype
    layout = image_layout("conv2d", x.shape, data_format, (3, 4))
    n, c, h, w = layout.sizes(x.shape)
    images = x.reshape(n, h, w, c).transpose(0, 3, 1, 2) if layout.channels_last else x.reshape(n, c, h, w)
    view = window("conv2d", (h, w), weight.shape[2:], stride, padding, dilation)
    padded = np.pad(images.astype(work), [(0, 0), (0, 0), *view.padding])
    o = weight.shape[0]
    inputs = padded.reshape(n, groups, c // groups, *view.padded)
    filters = weight.astype(work).reshape(groups, o // groups, c // groups, view.taps)
    y = np.zeros((n, groups, o // groups, *view.output), work)
    for tap, taken in enumerate(tap_slices(view)):
        y += np.einsum("ngchw,goc->ngohw", inputs[(..., *taken)], filters[..., tap])
    y = y.reshape(n, o, *view.output)
    y = y.astype(dtype)
    if bias is not None:
        y = y + np.asarray(bias).astype(dtype)[:, None, None]
    moved = y.transpose(0, 2, 3, 1) if layout.channels_last else y
    return write(moved.reshape(layout.shape(n, o, *view.output)), out)
