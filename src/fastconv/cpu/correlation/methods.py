"""correlate2d and convolve2d: by direct sums, by rows and columns, or by products of spectra."""

from __future__ import annotations

from functools import cached_property
from math import prod

import numpy as np
import scipy.fft

from fastconv._checks import working_dtype
from fastconv._shared.rank1 import factors, required_factors
from fastconv._shared.spectra import filter_by_fft
from fastconv._specs.correlation import LAST, Filter, order
from fastconv.cpu.arrays import Array, deliver, result, stacked
from fastconv.cpu.correlation.lines import Lines, lines
from fastconv.cpu.correlation.tiling import Direct, Twice
from fastconv.cpu.correlation.turned import Sums, Turned, pays
from fastconv.cpu.threads import threads

SECOND_PASS = 40
"""Products that a second pass over a strip costs as much as."""

FACTORING = 2**22
"""Products that the search for factors costs as much as."""

FACTORING_TAP = 2**9
"""Products that it costs for each tap of a bank of kernels."""


def worth_factoring(outputs: int, kernels: tuple[int, ...]) -> bool:
    """Whether "auto" looks for factors of ``kernels`` (..., kh, kw), for so many results.

    The whole cost model of "auto": a product costs the same in every pass, a second pass over the image as
    much as 40 products more, and the search as 4 million and 500 for each tap. FFT is no candidate,
    see docs/correlation.md.
    """
    kh, kw = kernels[-2:]
    search = FACTORING + FACTORING_TAP * prod(kernels)
    return outputs * (kh * kw - kh - kw - SECOND_PASS) >= search


class Correlation:
    """The plan of correlate2d and convolve2d, whatever the method."""

    def __init__(self, spec: Filter) -> None:
        self.spec, self.shape, self.work = spec, spec.shape, working_dtype(spec.dtype)
        self.empty = prod(spec.shape) == 0 or prod(spec.kernel) == 0
        self.conjugates = spec.operation == "correlate2d" and spec.kernel_dtype.kind == "c"
        self.turns = spec.operation == "convolve2d"
        # sums that are not the result: the FFT may refuse an image of a batch
        self.apart = spec.dtype == np.float16 or spec.method == "fft"
        self.compute = _nothing if self.empty else _method(spec)
        own = order(len(spec.kernel), spec.kernel_axes)
        self.taps_last = None if own == sorted(own) else own

    def __call__(self, image: Array, kernel: Array, out: Array | None) -> Array:
        target = result(out, self.shape, self.spec.dtype, image, kernel)
        sums = np.empty(self.shape, self.work) if self.apart and not self.empty else target
        if self.taps_last is not None:
            kernel = kernel.transpose(self.taps_last)
        if self.turns:
            kernel = kernel[..., ::-1, ::-1]
        self.compute(image, kernel.conj() if self.conjugates else kernel, sums)
        if self.spec.mirrored:
            sums = np.flip(sums, self.spec.axes).copy()
        if sums is not target:
            target[...] = sums
        return deliver(target, out)


def _method(spec: Filter) -> Sums:
    """What computes sums of an image and taps."""
    if spec.image_axes == LAST == spec.axes and pays(spec):
        return Turned(spec, _unturned)
    return _unturned(spec)


def _unturned(spec: Filter) -> Sums:
    """The same, by rows as they are."""
    if spec.method == "fft":
        return Spectra(spec)
    rows = lines(spec)
    if rows is None or (rows.spacing > 1 and pays(spec)):
        return Planes(spec)
    if spec.method == "separable" or (
        spec.method == "auto" and worth_factoring(prod(spec.shape), spec.kernel)
    ):
        return Separable(spec, rows)
    return Direct(spec, rows)


def _nothing(image: Array, kernel: Array, sums: Array) -> None:
    """No tap, or no result."""
    sums[...] = 0


class Spectra:
    """By products of spectra."""

    def __init__(self, spec: Filter) -> None:
        self.spec, self.work = spec, working_dtype(spec.dtype)

    def __call__(self, image: Array, kernel: Array, sums: Array) -> None:
        planes, places = in_planes(self.spec, image, sums)
        filter_by_fft(np, scipy.fft, planes, kernel.astype(self.work), self.spec, places, workers=threads())


class Planes:
    """By copies of images and sums in which rows and columns are the last axes."""

    def __init__(self, spec: Filter) -> None:
        self.spec = spec
        self.compute = _method(spec._replace(image_axes=LAST, axes=LAST))

    def __call__(self, image: Array, kernel: Array, sums: Array) -> None:
        planes, places = in_planes(self.spec, image, sums)
        copied = np.empty(places.shape, sums.dtype)
        self.compute(planes, kernel, copied)
        places[...] = copied


def in_planes(spec: Filter, image: Array, sums: Array) -> tuple[Array, Array]:
    """``image`` and ``sums``, in the same memory, with rows and columns as the last axes."""
    return image.transpose(order(image.ndim, spec.image_axes)), sums.transpose(order(sums.ndim, spec.axes))


class Separable:
    """By rows, then by columns, if the kernels turn out to be of rank 1; if they do not, method "auto" sums
    directly. Kernels are compiled when they are wanted."""

    def __init__(self, spec: Filter, lines: Lines) -> None:
        self.spec, self.lines, self.work = spec, lines, working_dtype(spec.dtype)
        self.required = spec.method == "separable"

    @cached_property
    def twice(self) -> Twice:
        return Twice(self.spec, self.lines)

    @cached_property
    def direct(self) -> Direct:
        return Direct(self.spec, self.lines)

    def __call__(self, image: Array, kernel: Array, sums: Array) -> None:
        kernels = stacked(kernel, 2).astype(self.work)
        found = required_factors(kernels, self.spec) if self.required else factors(kernels, self.spec.dtype)
        if found is None:
            self.direct(image, kernel, sums)
        else:
            self.twice(image, kernel, found, sums)
