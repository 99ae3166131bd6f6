"""Patches on NumPy arrays."""

from __future__ import annotations

import numba
import numpy as np

from fastconv._arguments import Window
from fastconv.cpu._arrays import Array, computable, deliver, flat_memory, native, result, stacked
from fastconv.cpu._threads import parallel_kernel


def im2col(x: Array, geometry: Window, shape: tuple[int, ...], out: Array | None) -> Array:
    target = result(out, shape, x.dtype.newbyteorder("="), x)
    if target.size:
        images = stacked(x if x.dtype.isnative else native(x), 2)
        bits = carrier(target)
        gather_windows(
            images.view(bits),
            geometry,
            0,
            target.view(bits).reshape(target.size // geometry.positions, geometry.positions),
        )
    return deliver(target, out)


def col2im(cols: Array, geometry: Window, shape: tuple[int, ...], out: Array | None) -> Array:
    dtype = cols.dtype.newbyteorder("=")
    target = result(out, shape, dtype, cols)
    columns = native(cols.astype(np.int32)) if dtype == np.bool_ else computable(cols)
    sums = target if dtype == columns.dtype else np.empty(shape, columns.dtype)
    if sums.size:
        _scatter(
            columns.reshape(
                columns.size // (geometry.taps * geometry.positions), geometry.taps, *geometry.output
            ),
            np.array(geometry.kernel),
            np.array(geometry.stride),
            np.array(geometry.dilation),
            np.array([geometry.padding[0][0], geometry.padding[1][0]]),
            stacked(sums, 2),
        )
    if sums is not target:
        with np.errstate(over="ignore"):
            target[...] = sums
    return deliver(target, out)


def carrier(x: Array) -> np.dtype:
    """A dtype that moves the bits of ``x`` through numba unchanged."""
    size = x.dtype.itemsize
    return np.dtype(np.complex128 if size == 16 else f"u{size}")


def gather_windows(images: Array, geometry: Window, first: int, columns: Array) -> None:
    """Fill ``columns`` (planes * taps, n) with windows first ... first + n of ``images`` (planes, H, W).

    ``images`` may have any strides; both hold unsigned integers or complex128.
    """
    flat, origin, strides = flat_memory(images)
    (top, _), (left, _) = geometry.padding
    _gather(
        flat,
        origin,
        np.array(strides),
        np.array(geometry.size),
        np.array(geometry.kernel),
        np.array(geometry.stride),
        np.array(geometry.dilation),
        np.array([top, left]),
        geometry.output[1],
        first,
        columns,
    )


@parallel_kernel
def _gather(x, origin, strides, size, kernel, stride, dilation, before, width, first, columns):
    """x flat memory of planes (P, H, W) with ``strides``; columns (P * kh * kw, n)."""
    rows, n = columns.shape
    taps = kernel[0] * kernel[1]
    for index in numba.prange(rows):
        plane, tap = divmod(np.int64(index), taps)
        a, b = divmod(tap, kernel[1])
        shift = b * dilation[1] - before[1]
        inside = -(shift // stride[1])  # first and last + 1 output column whose tap lies in the image
        outside = (size[1] - 1 - shift) // stride[1] + 1
        column = columns[index]
        done = 0
        while done < n:
            i, j = divmod(first + done, width)
            m = min(width - j, n - done)
            row = i * stride[0] + a * dilation[0] - before[0]
            lo, hi = max(inside, j) - j, min(outside, j + m) - j
            if row < 0 or row >= size[0] or hi <= lo:
                lo = hi = m
            base = origin + plane * strides[0] + row * strides[1] + (j * stride[1] + shift) * strides[2]
            step = stride[1] * strides[2]
            for k in range(lo):
                column[done + k] = 0
            if step == 1:
                for k in range(lo, hi):
                    column[done + k] = x[base + k]
            else:
                for k in range(lo, hi):
                    column[done + k] = x[base + k * step]
            for k in range(hi, m):
                column[done + k] = 0
            done += m


@parallel_kernel
def _scatter(columns, kernel, stride, dilation, before, image):
    """columns (P, kh * kw, Ho, Wo); image (P, H, W): each row gathers what falls on it."""
    planes, height, width = image.shape
    rows_out, columns_out = columns.shape[2:]
    for index in numba.prange(planes * height):
        plane, y = divmod(np.int64(index), height)
        row = image[plane, y]
        row[:] = 0
        for a in range(kernel[0]):
            i, rest = divmod(y + before[0] - a * dilation[0], stride[0])
            if rest != 0 or i < 0 or i >= rows_out:
                continue
            for b in range(kernel[1]):
                source = columns[plane, a * kernel[1] + b, i]
                shift = b * dilation[1] - before[1]
                lo = max(0, -(shift // stride[1]))
                hi = min(columns_out, (width - 1 - shift) // stride[1] + 1)
                for j in range(lo, hi):
                    row[j * stride[1] + shift] += source[j]
