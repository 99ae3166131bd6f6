"""conv2d of a channel at a time (depthwise), plane by plane: what correlate2d does, of all dtypes."""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv._checks import working_dtype
from fastconv._specs.correlation import Filter, Layer
from fastconv.cpu.arrays import Array, deliver, result
from fastconv.cpu.correlation.stencil import VECTOR_BYTES
from fastconv.cpu.correlation.tiling import Direct


def supports(spec: Layer) -> bool:
    """Whether filters have one channel each, windows are neighbours, and rows fill vectors."""
    window, lanes = spec.window, VECTOR_BYTES // working_dtype(spec.dtype).itemsize
    one_by_one = spec.weight[1] == 1 and window.stride == (1, 1) == window.dilation
    if not one_by_one or not prod(spec.shape) * prod(spec.weight):
        return False
    in_planes = not spec.layout.channels_last or spec.weight[0] == 1
    return in_planes and (2 * window.output[1] >= 3 * lanes or spec.dtype.kind == "c" or spec.weight[0] < lanes)


class Planes:
    """The plan of a layer."""

    def __init__(self, spec: Layer) -> None:
        self.spec, window = spec, spec.window
        self.work = working_dtype(spec.dtype)
        images, groups, *size = spec.layout.sizes(spec.x)
        multiplier = spec.weight[0] // groups
        self.images, self.kernels = (images, groups, 1, *size), (groups, multiplier, *window.kernel)
        (top, _), (left, _) = window.padding
        self.direct = Direct(
            Filter(
                "conv2d", self.images, spec.x_dtype, self.kernels, spec.weight_dtype, spec.dtype,
                (images, groups, multiplier), window.output, (top, left), "fill",
                spec.dtype.type(0).tobytes(), "direct", False,
            )
        )  # fmt: skip

    def __call__(self, x: Array, weight: Array, bias: Array | None, out: Array | None) -> Array:
        spec = self.spec
        target = result(out, spec.shape, spec.dtype, x, weight, *(() if bias is None else (bias,)))
        sums = np.empty(spec.shape, self.work) if spec.dtype == np.float16 else target
        self.direct(x.reshape(self.images), weight.reshape(self.kernels), sums)
        with np.errstate(over="ignore", invalid="ignore"):
            if bias is not None:
                sums.reshape(self.images[0], len(bias), -1)[...] += bias[:, None].astype(self.work)
            if sums is not target:
                target[...] = sums
        return deliver(target, out)


plan = Planes
