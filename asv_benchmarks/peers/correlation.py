"""Rows of filters on images, and of the real-valued layer."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy import signal

from fastconv import conv2d, correlate2d
from peers import libraries
from peers.bandwidth import copier
from peers.ceilings import multiply_add_rate
from peers.compare import BLAS_REST, Comparison, Rival, compared, rounding
from peers.table import Array, Mean, Row, Settings, Target
from peers.xnor import FLOAT, SHAPES, Layer

SIDES = (3, 5, 7, 11, 15, 31)
SCIPY_SIDES, PEAK_SIDES, SEPARABLE_SIDES = (3, 7), (7, 11, 15, 31), (7, 15, 31)
NUMBERS = ("uint8", "int32", "complex64")
FILTER2D, SEPARABLE, SCIPY, LAYERS = (
    "OpenCV filter2D",
    "OpenCV sepFilter2D",
    "SciPy (1 thread)",
    "conv2d 3×3, float32, batch 1",
)
SECTION, LAYER_SECTION = 'correlate2d, float32, "same"', "Real layers"


def rows() -> list[Row]:
    return [
        *(compared(SECTION, f"correlate2d 1024², {k}×{k}", partial(against_filters, k)) for k in SIDES),
        *(
            compared(SECTION, f'correlate2d 1024², {k}×{k}, method="direct"', partial(against_peak, k))
            for k in PEAK_SIDES
        ),
        compared(SECTION, "correlate2d 4096², 3×3", against_copy),
        *(
            compared(SECTION, f"correlate2d 1024², {k}×{k} of rank 1", partial(against_separable, k))
            for k in SEPARABLE_SIDES
        ),
        *(
            compared("correlate2d, other numbers", f"correlate2d {name} 512², 5×5", partial(numbers, name))
            for name in NUMBERS
        ),
        *(
            compared(LAYER_SECTION, f"conv2d 1×{c}×{h}²→{o}", partial(layer, (c, h, o)), LAYERS)
            for c, h, o in SHAPES
        ),
    ]


def means() -> list[Mean]:
    return [Mean(LAYERS, FLOAT, Target(1.0))]


def _problem(side: int, k: int) -> tuple[Array, Array, Array]:
    """An image, a filter, and an image to write to."""
    rng = np.random.default_rng(k)
    image, weight = rng.standard_normal((side, side), np.float32), rng.standard_normal((k, k), np.float32)
    return image, weight, np.zeros_like(image)


def _tolerance(image: Array, weight: Array) -> Array:
    """4·√T·eps·Σ|a||b|, the sums of magnitudes by FFT in float64."""
    magnitudes = signal.fftconvolve(np.abs(image, dtype=np.float64), np.abs(weight), "same")
    return np.asarray(rounding(weight.size) * magnitudes)


def against_filters(k: int, settings: Settings) -> Comparison:
    """Zeros outside, results into an array that is there already; SciPy makes its own."""
    image, weight, out = _problem(settings.pick(1024, 64), k)
    tolerance = _tolerance(image, weight)
    rivals = [Rival(FILTER2D, libraries.opencv_filter(image, weight), Target(2), tolerance=tolerance)]
    if k in SCIPY_SIDES:
        scipy = partial(signal.correlate2d, image, weight, "same")
        rivals.append(Rival(SCIPY, scipy, Target(100), tolerance=tolerance))
    return Comparison(lambda: correlate2d(image, weight, "same", out=out), rivals)


def against_peak(k: int, settings: Settings) -> Comparison:
    """The direct sums alone, as a share of the multiply-adds that registers alone could do."""
    image, weight, out = _problem(settings.pick(1024, 64), k)
    bound = image.size * weight.size / multiply_add_rate()
    return Comparison(
        lambda: correlate2d(image, weight, "same", method="direct", out=out),
        [Rival("FMA peak", bound, Target(60, "%"))],
    )


def against_copy(settings: Settings) -> Comparison:
    """A plain copy by ``np.copyto``, the image shared among as many threads as we use."""
    image, weight, out = _problem(settings.pick(4096, 64), 3)
    filter2d = libraries.opencv_filter(image, weight)
    return Comparison(
        lambda: correlate2d(image, weight, "same", out=out),
        [
            Rival("np.copyto on all threads", copier(image), Target(1.2, at_most=True), read=None),
            Rival(FILTER2D, filter2d, Target(2), tolerance=_tolerance(image, weight)),
        ],
    )


def against_separable(k: int, settings: Settings) -> Comparison:
    """OpenCV is told the two factors; ours has to find them."""
    image, _, out = _problem(settings.pick(1024, 64), k)
    column, row = np.random.default_rng(k).uniform(0.5, 1.5, (2, k)).astype(np.float32)
    weight = np.outer(column, row)
    call = libraries.opencv_separable(image, column, row)
    tolerance = _tolerance(image, weight)
    return Comparison(
        lambda: correlate2d(image, weight, "same", out=out),
        [Rival(SEPARABLE, call, Target(1.5), tolerance=tolerance)],
    )


def numbers(name: str, settings: Settings) -> Comparison:
    """Integers wrap around as SciPy's do; complex filters are conjugated as SciPy's are."""
    rng, side = np.random.default_rng(0), settings.pick(512, 48)
    tolerance: Array | float = 0.0
    if name == "complex64":
        image, weight = (
            (rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n))).astype(name) for n in (side, 5)
        )
        tolerance = 2 * _tolerance(image, weight)  # two products of each are added
    else:
        image, weight = (rng.integers(0, 200, (n, n)).astype(name) for n in (side, 5))
    return Comparison(
        lambda: correlate2d(image, weight, "same"),
        [Rival(SCIPY, lambda: signal.correlate2d(image, weight, "same"), Target(5), tolerance=tolerance)],
    )


def layer(shape: tuple[int, int, int], settings: Settings) -> Comparison:
    """float32 in and out; both sides are free to multiply in blocks."""
    problem = Layer(settings, 1, shape)
    x, weight = problem.x, problem.weight
    out = conv2d(x, weight, padding=1)
    call = libraries.torch_convolution(x, weight, channels_last=False)
    magnitudes: Any = libraries.torch_convolution(np.abs(x), np.abs(weight), channels_last=False)
    tolerance = rounding(weight[0].size) * np.asarray(magnitudes()) if magnitudes else 0.0
    return Comparison(
        lambda: conv2d(x, weight, padding=1, out=out), [Rival(FLOAT, call, tolerance=tolerance)], BLAS_REST
    )
