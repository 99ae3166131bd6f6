"""Numbers channel by channel, in one pass: steps, the largest of each window, steps again, signs."""

from __future__ import annotations

from math import prod

import cupy
import numpy as np

from fastconv._epilogue import Epilogue
from fastconv._shared.problem import Strides, by_pixel, problem_of
from fastconv._specs.xnor import Channelwise
from fastconv.cuda.arrays import Array, contiguous
from fastconv.cuda.compile import launch_over
from fastconv.cuda.xnor.epilogue import Finish
from fastconv.cuda.xnor.problem import NULL, by_value


def channelwise(spec: Channelwise, x: Array, epilogue: Epilogue) -> tuple[Array, ...]:
    """Numbers (N, Ho, Wo, C) if they are wanted, and words (N, Ho, Wo, w) for each comparison."""
    geometry, outcome = spec.geometry, spec.outcome
    shape = spec.images, *geometry.output, spec.channels
    finish = Finish(outcome, shape, shape)
    numbers = cupy.empty(shape, outcome.dtype) if outcome.numbers else NULL
    words = cupy.empty((spec.comparisons, *finish.words), np.uint64)
    if prod(shape):
        source = by_pixel(1, geometry.size, spec.channels)
        problem = problem_of(geometry, spec.images, source, Strides(0, 0, 0, 0), channels=spec.channels)
        results = finish.results((None, None), epilogue, None)
        arguments = (
            contiguous(x), numbers, words if spec.comparisons else NULL, spec.comparisons, spec.steps_before,
            len(outcome.steps), by_value(problem), results.laid_out.structure,
        )  # fmt: skip
        threads = 64 * prod(finish.words)
        launch_over(threads, "channelwise.cu", "follow", results.defines, arguments)
    return *((numbers,) if outcome.numbers else ()), *words
