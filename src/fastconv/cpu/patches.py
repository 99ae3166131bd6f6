"""Patches on NumPy arrays."""

from __future__ import annotations

import numba
import numpy as np

from fastconv._geometry import Window
from fastconv.cpu._threads import SMALL, parallel_kernel
from fastconv.cpu.arrays import (
    Array,
    blocks,
    computable,
    deliver,
    flat_memory,
    native,
    readable,
    result,
    stacked,
)

COPIED = 1 << 20
"""Elements of columns converted at a time where kernels cannot read them: 16 MiB at most."""


def im2col(x: Array, geometry: Window, shape: tuple[int, ...], out: Array | None) -> Array:
    target = result(out, shape, x.dtype.newbyteorder("="), x)
    if not target.size:
        return deliver(target, out)
    bits = carrier(target)
    columns = target.view(bits).reshape(*x.shape[:-2], geometry.taps, geometry.positions)
    for image in _stacks(x):
        gather_windows(
            stacked(x[image].view(bits), 2), geometry, 0, columns[image].reshape(-1, geometry.positions)
        )
    if not x.dtype.isnative:
        target.byteswap(inplace=True)
    return deliver(target, out)


def col2im(cols: Array, geometry: Window, shape: tuple[int, ...], out: Array | None) -> Array:
    target = result(out, shape, cols.dtype.newbyteorder("="), cols)
    if not target.size:
        return deliver(target, out)
    if readable(cols) and cols.dtype not in (np.bool_, np.float16):
        _scatter_columns(native(cols), geometry, target)
        return deliver(target, out)
    planes = cols.reshape(*target.shape[:-2], geometry.taps, geometry.positions)
    for index in blocks(target.shape[:-2], COPIED // (geometry.taps * geometry.positions)):
        part = planes[index]
        part = native(part.astype(np.int32)) if part.dtype == np.bool_ else computable(part)
        sums = np.empty(target[index].shape, part.dtype)
        _scatter_columns(part, geometry, sums)
        with np.errstate(over="ignore"):
            target[index] = sums
    return deliver(target, out)


def _stacks(x: Array) -> list[tuple[int, ...]]:
    """Indices of the parts of ``x`` (..., H, W) whose leading axes are one run of equal steps: usually
    () alone, else the images of a batch."""
    try:
        x.reshape(-1, *x.shape[-2:], copy=False)
    except ValueError:
        return list(np.ndindex(x.shape[:-3]))
    return [()]


def _scatter_columns(columns: Array, geometry: Window, sums: Array) -> None:
    """``sums`` (..., H, W) = columns (..., taps, positions) put back; both C-contiguous."""
    (top, _), (left, _) = geometry.padding
    _scatter(
        columns.reshape(-1, geometry.taps, *geometry.output),
        geometry.kernel,
        geometry.stride,
        geometry.dilation,
        (top, left),
        stacked(sums, 2),
        serially=columns.nbytes <= SMALL,
    )


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
        strides,
        geometry.size,
        geometry.kernel,
        geometry.stride,
        geometry.dilation,
        (top, left),
        geometry.output[1],
        first,
        columns,
        serially=columns.nbytes <= SMALL,
    )


@parallel_kernel
def _gather(x, origin, strides, size, kernel, stride, dilation, before, width, first, columns):
    """x flat memory of planes (P, H, W) with ``strides``; columns (P * kh * kw, n): windows first ...
    first + n. All pairs are (rows, columns); ``width`` is that of a row of windows."""
    rows, n = columns.shape
    taps = kernel[0] * kernel[1]
    step = stride[1] * strides[2]
    shifted = width == size[1] and stride[0] == 1 and step == 1 and strides[1] == width
    for index in numba.prange(rows):
        plane, tap = divmod(np.int64(index), taps)
        a, b = divmod(tap, kernel[1])
        down, right = a * dilation[0] - before[0], b * dilation[1] - before[1]
        inside = max(0, -(right // stride[1]))  # first and last + 1 window of a row whose tap is inside
        outside = max(inside, min(width, (size[1] - 1 - right) // stride[1] + 1))
        base = origin + plane * strides[0]
        if shifted:
            _shift(x, base, size[0], width, down, right, inside, outside, first, columns[index])
            continue
        done = 0
        while done < n:
            i, j = divmod(first + done, width)
            part = columns[index, done : done + min(width - j, n - done)]
            row = i * stride[0] + down
            lo = min(max(inside - j, 0), part.size)
            hi = max(min(outside - j, part.size), lo)
            if row < 0 or row >= size[0]:
                lo = hi = part.size
            part[:lo] = 0
            take(x, base + row * strides[1] + ((j + lo) * stride[1] + right) * strides[2], step, part[lo:hi])
            part[hi:] = 0
            done += part.size


@numba.njit
def _shift(x, base, height, width, down, right, inside, outside, first, column):
    """One tap where windows and pixels are as many: the plane at x[base], moved by ``down`` rows and
    ``right`` pixels in one long copy, then zeros for what came from beyond the ends of rows."""
    last = first + column.size
    move = down * width + right
    begin = min(max(first, -down * width, -move), last)
    end = max(min(last, (height - down) * width, height * width - move), begin)
    column[: begin - first] = 0
    take(x, base + begin + move, 1, column[begin - first : end - first])
    column[end - first :] = 0
    for start in range(begin // width * width, end, width):
        for p in range(max(start, first), min(start + inside, last)):
            column[p - first] = 0
        for p in range(max(start + outside, first), min(start + width, last)):
            column[p - first] = 0


@numba.njit
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


@parallel_kernel
def _scatter(columns, kernel, stride, dilation, before, image):
    """columns (P, kh * kw, Ho, Wo); image (P, H, W): each row gathers what falls on it. All pairs are
    (rows, columns)."""
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
                right = b * dilation[1] - before[1]
                lo = max(0, -(right // stride[1]))
                hi = min(columns_out, (width - 1 - right) // stride[1] + 1)
                if lo < hi:
                    source = columns[plane, a * kernel[1] + b, i, lo:hi]
                    _add(source, stride[1], row[lo * stride[1] + right :])


@numba.njit
def _add(source, step, target):
    """target[k * step] += source[k]; a loop of its own for step 1, so that LLVM vectorises it."""
    if step == 1:
        for k in range(source.size):
            target[k] += source[k]
    else:
        for k in range(source.size):
            target[k * step] += source[k]
