"""Correlation by products of spectra, on arrays of any namespace that has NumPy's functions."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import scipy.fft

from fastconv._specs.correlation import Filter

Array = Any

FFT_ERROR = 8.0
"""Bound on the error of an FFT product in units of eps * log2(size) * |x| * |w|, generously."""


def filter_by_fft(
    xp: ModuleType, fft: Any, image: Array, kernel: Array, spec: Filter, sums: Array, **options: Any
) -> None:
    """``sums`` = the correlation by products of spectra in double precision.

    Integers come out exact, or the sizes that make that impossible are refused: of those, the host looks at
    norms. ``fft`` holds the transforms of namespace ``xp``, which take ``options``.
    """
    (height, width), (kh, kw) = spec.size, kernel.shape[-2:]
    wide = np.complex128 if sums.dtype.kind == "c" else np.float64
    names = ("fft2", "ifft2") if wide is np.complex128 else ("rfft2", "irfft2")
    forward, backward = (getattr(fft, name) for name in names)
    extent = (height + kh - 1, width + kw - 1)
    size = tuple(scipy.fft.next_fast_len(n, wide is np.float64) for n in extent)
    images = xp.broadcast_to(image, (*spec.batch, *image.shape[-2:]))
    kernels = xp.broadcast_to(kernel, (*spec.batch, kh, kw))
    for index in np.ndindex(spec.batch):
        padded = _padded(xp, images[index], extent, spec, wide)
        taps = kernels[index].astype(wide)
        if sums.dtype.kind in "iu":
            _require_exact(xp, spec.operation, padded, taps, size)
        spectrum = forward(padded, size, **options) * forward(taps.conj(), size, **options).conj()
        values = backward(spectrum, size, **options)[:height, :width]
        if sums.dtype.kind in "iu":
            values = xp.rint(values)
        sums[index] = values.astype(np.int64 if sums.dtype.kind in "iu" else sums.dtype)


def _padded(xp: ModuleType, image: Array, extent: tuple[int, ...], spec: Filter, dtype: Any) -> Array:
    """``image`` continued as ``spec`` says, ``extent`` pixels from before its first on."""
    if 0 in image.shape:
        return xp.full(extent, spec.fillvalue, dtype)
    rows, columns = (
        _source(xp.arange(length) - before, n, spec.boundary)
        for length, before, n in zip(extent, spec.before, image.shape, strict=True)
    )
    inside = (rows >= 0)[:, None] & (columns >= 0)
    pixels = image[xp.maximum(rows, 0)[:, None], xp.maximum(columns, 0)]
    return xp.where(inside, pixels.astype(dtype), dtype(spec.fillvalue))


def _source(position: Array, n: int, boundary: str) -> Array:
    """The pixel of n that stands at each ``position``, negative for the fill value."""
    if boundary == "wrap":
        return position % n
    if boundary == "symm":
        folded = position % (2 * n)
        return folded + (folded >= n) * (2 * n - 1 - 2 * folded)
    return position - (position >= n) * (position + 1)


def _require_exact(xp: ModuleType, operation: str, padded: Array, taps: Array, size: tuple[int, ...]) -> None:
    scale = float(xp.linalg.norm(padded) * xp.linalg.norm(taps))
    error = FFT_ERROR * np.finfo(np.float64).eps * np.log2(max(size[0] * size[1], 2)) * scale
    if error >= 0.25:
        raise ValueError(
            f"{operation}: method 'fft' cannot give exact integers for values this large; "
            "use method='direct', or convert to float"
        )
