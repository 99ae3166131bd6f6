"""XNOR-Net's K: means of magnitudes under windows."""

from __future__ import annotations

import cupy
import numpy as np

from fastconv._checks import float_result
from fastconv._geometry import ImageLayout, Window
from fastconv._shared.problem import Strides, by_group, by_pixel, problem_of
from fastconv._specs.xnor import WindowMeans
from fastconv.cuda.arrays import Array, contiguous
from fastconv.cuda.compile import c_type, launch_over
from fastconv.cuda.xnor.problem import by_value


def activation_scale(spec: WindowMeans, x: Array) -> Array:
    means = cupy.empty(spec.shape, float_result(spec.dtype))
    last = spec.source.channels_last and spec.source.rank > 2
    mean_magnitudes(x, spec.source, spec.geometry, spec.groups, means, channels_last=last)
    return means


def mean_magnitudes(
    x: Array, layout: ImageLayout, geometry: Window, groups: int, means: Array, *, channels_last: bool
) -> None:
    """means (N, G, Ho, Wo), or (N, Ho, Wo, G) with ``channels_last``, = mean(abs(x)) under each window and
    all channels of the group."""
    if not means.size:
        return
    planes = _floats(x)
    n, c, h, w = layout.sizes(x.shape)
    channels, positions = c // groups, geometry.positions
    last = layout.channels_last and layout.rank > 2
    steps = by_pixel(c, geometry.size, 1) if last else by_group(c, geometry.size, 1)
    if channels != 1:
        x, planes = planes, cupy.empty((n, groups, h, w), np.float64)
        lanes = 32 if last else 1
        arguments = (x, planes, n, groups, channels, h, w, *steps)
        launch_over(planes.size * lanes, "magnitudes.cu", "channel_sums", _types(x, means), arguments)
        steps = by_group(groups, geometry.size, 1)
    strides = Strides(groups * positions, positions, 0, 1)
    if channels_last:
        strides = Strides(groups * positions, 1, 0, groups)
    problem = problem_of(geometry, n, steps, strides, groups=groups, channels=channels)
    types = _types(planes, means)
    launch_over(means.size, "magnitudes.cu", "window_means", types, (planes, means, by_value(problem)))


def _floats(x: Array) -> Array:
    """Integers in a float type that holds them, signs for bool; so kernels are compiled for three types."""
    if x.dtype == np.bool_:
        return cupy.ones(x.shape, np.float32)
    if x.dtype.kind == "f":
        return contiguous(x)
    return contiguous(x.astype(np.float32 if x.itemsize <= 2 else np.float64))


def _types(x: Array, means: Array) -> tuple[str, ...]:
    return f"ELEMENT={c_type(x.dtype)}", f"RESULT={c_type(means.dtype)}"
