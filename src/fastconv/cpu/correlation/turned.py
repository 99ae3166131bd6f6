"""Narrow images, filtered with rows and columns in each other's place: their rows do not fill vectors, their
columns do."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from fastconv._checks import Pair, working_dtype
from fastconv._specs.correlation import Filter
from fastconv.cpu.arrays import Array
from fastconv.cpu.correlation.stencil import VECTOR_BYTES
from fastconv.cpu.correlation.tiling import rows_in_flight
from fastconv.cpu.exchange import exchange

Sums = Callable[[Array, Array, Array], None]
"""What computes sums (..., Ho, Wo) of an image and taps."""

PASS = 30
"""Products of vectors that a run of a piece of a kernel down one row of vectors costs beside its own: 100,000
rows of 4 pixels, 3 x 3 and 9 x 3 taps: 1.35 and 1.84 ms, and as columns 0.18 and 0.30."""

COPY = 0.3
"""Products of vectors that a byte costs which is copied with rows and columns exchanged, there and back."""


def pays(spec: Filter, most_copied: float = np.inf) -> bool:
    """Whether to turn images, if that copies no more than so many bytes."""
    (height, width), itemsize = spec.size, working_dtype(spec.dtype).itemsize
    if spec.method == "fft" or width >= height:
        return False
    free = width == 1 == spec.image[-1]
    copied = 0 if free else (prod(spec.shape) + prod(spec.image)) * itemsize
    cost = 0 if free else COPY * itemsize * height * width
    turned = _cost(spec, spec.size[::-1], spec.kernel[-1])
    return copied <= most_copied and turned + cost < _cost(spec, spec.size, spec.kernel[-2])


def _cost(spec: Filter, size: Pair, rows: int) -> float:
    """Of a result (height, width), in products of vectors, if kernels have so many rows."""
    work = working_dtype(spec.dtype)
    vectors = size[0] * -(-size[1] * work.itemsize // VECTOR_BYTES)
    return vectors * (prod(spec.kernel[-2:]) + PASS * -(-rows // rows_in_flight(work.kind)))


class Turned:
    """``sums`` by ``method`` of the problem that is turned."""

    def __init__(self, spec: Filter, method: Callable[[Filter], Sums]) -> None:
        self.shape = (*spec.batch, *spec.size[::-1])
        self.compute = method(
            spec._replace(
                image=_exchanged(spec.image), kernel=_exchanged(spec.kernel),
                size=spec.size[::-1], before=spec.before[::-1],
            )
        )  # fmt: skip

    def __call__(self, image: Array, kernel: Array, sums: Array) -> None:
        columns = sums.shape[-1]
        turned = sums.reshape(self.shape) if columns == 1 else np.empty(self.shape, sums.dtype)
        self.compute(image.swapaxes(-2, -1), kernel.swapaxes(-2, -1), turned)
        if columns > 1:
            exchange(turned, sums)


def _exchanged(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1], shape[-2])
