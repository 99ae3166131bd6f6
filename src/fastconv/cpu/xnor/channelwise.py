"""Numbers channel by channel, in one pass: steps, the largest of each window, steps again, signs."""

from __future__ import annotations

import numba
import numpy as np
from numba import carray

from fastconv._epilogue import PARAMETERS, Epilogue
from fastconv._shared.problem import Strides, by_pixel, problem_of
from fastconv._specs.xnor import Channelwise
from fastconv.cpu.arrays import Array, native
from fastconv.cpu.kernels import Job, kernel, record, share
from fastconv.cpu.threads import SMALL, chunks_of
from fastconv.cpu.vectors import larger, load_row, load_some, nonzero, reached, store_some
from fastconv.cpu.xnor.epilogue import Finish
from fastconv.cpu.xnor.problem import ELEMENTS, FINISH, UNIT
from fastconv.cpu.xnor.steps import apply

CHANNELWISE = record("x", "number_size steps_before rows_before comparisons", FINISH)


@kernel(CHANNELWISE, **ELEMENTS)
def follow_rows(p, chunk, worker):
    """Rows of the result of numbers x (N, H, W, C), ``number_size`` of them: for each pixel and 64 channels
    the largest of what the first ``steps_before`` steps make of a window, the other steps, and signs for each
    of ``comparisons``."""
    height, depth = p.positions // p.output_columns, -(-p.channels // UNIT)
    x, numbers, signs = carray(p.x, p.number_size), carray(p.numbers, 1), carray(p.signs, 1)
    bounds, flip = carray(p.bounds, 1), carray(p.flip, 1)
    first, last = share(p, chunk, p.images * height)
    for task in range(first, last):
        image, i = divmod(task, height)
        for j in range(p.output_columns):
            pixel = task * p.output_columns + j
            for unit in range(depth):
                o = unit * UNIT
                width = min(UNIT, p.channels - o)
                v = largest_of(
                    p, x, image, i * p.stride_rows - p.top, j * p.stride_columns - p.left, o, width
                )
                rest = (p.steps_before, p.step_count, o + p.rows_before)
                v = apply(p, v, rest, o, (x, 0, x, 0), False, False, width)
                if p.with_numbers != 0:
                    store_some(numbers, pixel * p.channels + o, v, width)
                wanted = reached(v, v) & (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(UNIT - width))
                for k in range(p.comparisons):
                    at = k * p.parameter_step + o
                    word = reached(v, load_row(bounds, at)) ^ nonzero(load_row(flip, at))
                    signs[k * p.word_count + pixel * depth + unit] = word & wanted  # of NaN there is none


@numba.njit(error_model="numpy", inline="always")
def largest_of(p, x, image, row, column, o, width):
    """The largest numbers of channels o to o + width in the window whose corner is (row, column)."""
    top, left = max(row, 0), max(column, 0)
    bottom, right = min(row + p.kernel_rows, p.rows), min(column + p.kernel_columns, p.columns)
    at = ((image * p.rows + top) * p.columns + left) * p.channels + o
    v = begun(p, x, at, o, width)
    for a in range(bottom - top):
        for b in range(right - left):
            if a + b > 0:
                v = larger(v, begun(p, x, at + (a * p.columns + b) * p.channels, o, width))
    return v


@numba.njit(error_model="numpy", inline="always")
def begun(p, x, at, o, width):
    """What the steps before pooling make of x[at : at + width]."""
    v = load_some(x, at, width)
    return apply(p, v, (0, p.steps_before, o), o, (x, 0, x, 0), False, False, width)


class ChannelwisePlan:
    """The plan of :class:`fastconv._specs.xnor.Channelwise`."""

    def __init__(self, spec: Channelwise) -> None:
        geometry, steps = spec.geometry, spec.outcome.steps
        shape = (spec.images, *geometry.output, spec.channels)
        self.finish = finish = Finish(spec.outcome, shape, shape, True)
        self.words = (spec.comparisons, *finish.words)
        before = steps[: spec.steps_before]
        source = by_pixel(1, geometry.size, spec.channels)
        problem = problem_of(geometry, spec.images, source, Strides(0, 0, 0, 0), channels=spec.channels)
        size = spec.images * geometry.size[0] * geometry.size[1] * spec.channels
        tasks = spec.images * geometry.output[0]
        self.job = Job(
            follow_rows,
            chunks_of(tasks, serially=size * spec.outcome.dtype.itemsize <= SMALL),
            {**finish.elements(), "x": spec.outcome.dtype},
            {},
            images=spec.images,
            number_size=size,
            steps_before=len(before),
            rows_before=finish.step * sum(PARAMETERS[kind] for kind in before),
            comparisons=spec.comparisons,
            **problem,
            **finish.values(),
        )

    def __call__(self, x: Array, epilogue: Epilogue) -> tuple[Array, ...]:
        finish = self.finish
        targets = {}
        if finish.outcome.numbers:
            targets["numbers"] = np.empty(finish.shape, finish.outcome.dtype)
        words = np.empty(self.words, np.uint64)
        if words.size:
            targets["signs"] = words
        if targets and all(target.size for target in targets.values()):
            self.job(x=native(x), **finish.given(epilogue), **targets)
        return *((targets["numbers"],) if finish.outcome.numbers else ()), *words
