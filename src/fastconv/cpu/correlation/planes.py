"""conv2d of a channel at a time (depthwise), plane by plane: what correlate2d does, of all dtypes."""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv._checks import working_dtype
from fastconv._specs.correlation import Filter, Layer
from fastconv.cpu.arrays import Array, deliver, readable, result
from fastconv.cpu.correlation.lines import lines
from fastconv.cpu.correlation.stencil import VECTOR_BYTES
from fastconv.cpu.correlation.tiling import Direct
from fastconv.cpu.correlation.turned import Turned, pays

COPIED = 16 * 1024 * 1024
"""Bytes of pixels that are copied: if they are not one run of numbers, if they are turned, or float16."""


def supports(spec: Layer) -> bool:
    """Whether filters have one channel each, windows are neighbours, and rows, or columns, fill vectors."""
    window, work = spec.window, working_dtype(spec.dtype)
    if spec.weight[1] != 1 or not window.stride == (1, 1) == window.dilation:
        return False
    if not prod(spec.shape) * prod(spec.weight) or (spec.layout.channels_last and spec.weight[0] > 1):
        return False
    if spec.dtype == np.float16 and max(prod(spec.shape), prod(spec.x)) * work.itemsize > COPIED:
        return False
    lanes = VECTOR_BYTES // work.itemsize
    return 2 * window.output[1] >= 3 * lanes or spec.dtype.kind == "c" or spec.weight[0] < lanes


class Planes:
    """The plan of a layer."""

    def __init__(self, spec: Layer) -> None:
        self.spec, window = spec, spec.window
        self.work = working_dtype(spec.dtype)
        images, groups, *size = spec.layout.sizes(spec.x)
        multiplier = spec.weight[0] // groups
        self.images, self.kernels = (images, groups, 1, *size), (groups, multiplier, *window.kernel)
        self.sums = (images, groups, multiplier, *window.output)
        (top, _), (left, _) = window.padding
        each = Filter(
            "conv2d", self.images, spec.x_dtype, self.kernels, spec.weight_dtype, spec.dtype,
            (images, groups, multiplier), window.output, (top, left), "fill",
            spec.dtype.type(0).tobytes(), "direct", False,
        )  # fmt: skip
        self.direct = Turned(each, _direct) if pays(each, COPIED) else _direct(each)

    def takes(self, x: Array) -> bool:
        """Whether ``x`` can be read where it lies, or is small enough to be copied."""
        return readable(x) or x.nbytes <= COPIED

    def __call__(self, x: Array, weight: Array, bias: Array | None, out: Array | None) -> Array:
        spec = self.spec
        target = result(out, spec.shape, spec.dtype, x, weight, *(() if bias is None else (bias,)))
        sums = np.empty(spec.shape, self.work) if spec.dtype == np.float16 else target
        self.direct(x.reshape(self.images), weight.reshape(self.kernels), sums.reshape(self.sums))
        if sums is not target:
            target[...] = sums
        if bias is not None:
            target.reshape(self.images[0], len(bias), -1)[...] += bias[:, None].astype(spec.dtype)
        return deliver(target, out)


def _direct(spec: Filter) -> Direct:
    rows = lines(spec)
    assert rows is not None, "images are planes"
    return Direct(spec, rows)


plan = Planes
