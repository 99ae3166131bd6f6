"""What becomes of the sums of binary products: compiled steps, and how they are told what to do.

Sums of m pixels and up to 64 filters come pixel by pixel, y[q * UNIT + k], or filter by filter,
y[k * pitch + q]. Steps are done on vectors of 64 filters of a pixel, or, in a record with ``by_line``, of up
to 64 pixels of a filter, as they lie in the result.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numba
import numpy as np
from numba import carray
from numpy.typing import NDArray

from fastconv._epilogue import PARAMETERS, Epilogue, Outcome, words_shape
from fastconv._specs.xnor import BinaryConv
from fastconv.cpu.arrays import Array, deliver, native, result
from fastconv.cpu.kernels import own
from fastconv.cpu.simd import copy_line
from fastconv.cpu.vectors import (
    as_numbers_of,
    fused,
    load_row,
    load_some,
    nonzero,
    product,
    reached,
    repeat,
    store_some,
    total,
    where_greater,
    where_less,
    where_negative,
    zeros_like,
)
from fastconv.cpu.xnor.problem import OF_NUMBERS, UNIT
from fastconv.cpu.xnor.tiles import fetch_turned, store_turned, threshold_word
from fastconv.packed import PackedFilters

K_ROW = 2 * UNIT * UNIT
"""Where in a worker's spare numbers the K of 64 filters stand: behind rows of numbers, and lines of
residuals."""

SPARE = K_ROW + UNIT

KINDS = tuple(PARAMETERS)
SCALE, SHIFT, AFFINE, FUSED, WINDOW, ADD, PRELU, RELU, CLAMP = range(len(KINDS))
"""What steps are called in ``steps``."""

ROWS = np.array(list(PARAMETERS.values()), np.int64)


@numba.njit(error_model="numpy")
def finish(p, v, o, where, window_as_row, by_line, count):
    """The steps on the vector v: of filters from o on, or, ``by_line``, of pixels of filter o.

    ``where``: the residual and its place for this vector, K and its place; K has one number for the whole
    vector, or with ``window_as_row`` one for each lane. Only ``count`` lanes are wanted.
    """
    residual, at, window, window_at = where
    steps, parameters = carray(p.steps, p.step_count), carray(p.parameters, 1)
    row = o
    for step in range(p.step_count):
        kind = steps[step]
        if kind == SCALE:
            v = product(v, _parameter(parameters, row, by_line))
        elif kind == SHIFT:
            v = total(v, _parameter(parameters, row, by_line))
        elif kind == AFFINE:
            scaled = product(v, _parameter(parameters, row, by_line))
            v = total(scaled, _parameter(parameters, row + p.parameter_step, by_line))
        elif kind == FUSED:
            shift = _parameter(parameters, row + p.parameter_step, by_line)
            v = fused(v, _parameter(parameters, row, by_line), shift)
        elif kind == WINDOW:
            v = product(
                v, load_some(window, window_at, count) if window_as_row else repeat(window, window_at)
            )
        elif kind == ADD:
            v = total(v, load_some(residual, at, count))
        elif kind == PRELU:
            v = where_negative(v, product(v, _parameter(parameters, row, by_line)), v)
        elif kind == RELU:
            v = where_negative(v, zeros_like(v), v)
        else:
            v = where_less(v, _parameter(parameters, row, by_line))
            v = where_greater(v, _parameter(parameters, row + p.parameter_step, by_line))
        row += p.parameter_step * ROWS[kind]
    return v


@numba.njit(error_model="numpy")
def _parameter(parameters, index, by_line):
    return repeat(parameters, index) if by_line else load_row(parameters, index)


@numba.njit(error_model="numpy")
def store_rows(p, y, m, width, place):
    """Finish y[q * UNIT + k], m pixels by ``width`` filters, whose place is (image, filter, pixel,
    worker)."""
    image, o, pixel, _ = place
    begin = place_of(p, image, o, pixel)
    if p.step_count == 0:
        integers = carray(p.integers, p.number_count)
        if p.with_numbers != 0 and p.pixel_stride == 1:
            store_turned(y, UNIT, m, width, integers, begin, p.filter_stride)
        elif p.with_numbers != 0:
            for q in range(m):
                at = begin + q * p.pixel_stride
                copy_line(y[q * UNIT : q * UNIT + width], integers[at : at + width])
        if p.with_signs != 0:
            tau, flip = carray(p.tau, 1), carray(p.flip, 1)
            for q in range(m):
                store_word(p, threshold_word(y, q * UNIT, tau, flip, o), width, image, o, pixel + q)
        return
    _store_finished_rows(p, y, m, width, place, begin)


@numba.njit(error_model="numpy")
def _store_finished_rows(p, y, m, width, place, begin):
    """:func:`store_rows` by steps. Where a filter's pixels are neighbours in the result, numbers and
    residuals are turned over, block by block, in the worker's spare rows."""
    image, o, pixel, worker = place
    parameters, bounds, flip = carray(p.parameters, 1), carray(p.bounds, 1), carray(p.flip, 1)
    numbers, window = carray(p.numbers, p.number_count), carray(p.window, p.pixels * p.groups)
    residual = carray(p.residual, p.number_count)
    spare = own(p, p.spare, worker, SPARE)
    turned = p.pixel_stride == 1
    if turned and p.adds != 0:
        fetch_turned(residual, begin, p.filter_stride, m, width, spare)
    g = o // p.filters
    spans_groups = (o + width - 1) // p.filters != g
    window_at = (image * p.groups + g) * p.positions + pixel
    for q in range(m):
        at = begin + q * p.pixel_stride
        v = as_numbers_of(load_row(y, q * UNIT), parameters)
        if spans_groups and p.window_given != 0:
            for k in range(width):
                spare[K_ROW + k] = window[window_at + ((o + k) // p.filters - g) * p.positions + q]
            where = (spare, q * UNIT, spare, K_ROW) if turned else (residual, at, spare, K_ROW)
            v = finish(p, v, o, where, True, False, width)
        else:
            where = (
                (spare, q * UNIT, window, window_at + q) if turned else (residual, at, window, window_at + q)
            )
            v = finish(p, v, o, where, False, False, width)
        if p.with_numbers != 0:
            if turned:
                store_some(spare, q * UNIT, v, UNIT)
            else:
                store_some(numbers, at, v, width)
        if p.with_signs != 0:
            word = reached(v, load_row(bounds, o)) ^ nonzero(load_row(flip, o))
            store_word(p, word, width, image, o, pixel + q)
    if turned and p.with_numbers != 0:
        store_turned(spare, UNIT, m, width, numbers, begin, p.filter_stride)


@numba.njit(error_model="numpy")
def store_lines(p, lines, pitch, m, width, place):
    """Finish lines[k * pitch + q], m pixels by ``width`` filters, where a filter's pixels are neighbours in
    the result. Up to a multiple of 64 pixels are read of a line."""
    image, o, pixel, _ = place
    parameters, integers = carray(p.parameters, 1), carray(p.integers, p.number_count)
    numbers, residual = carray(p.numbers, p.number_count), carray(p.residual, p.number_count)
    window = carray(p.window, p.pixels * p.groups)
    for k in range(width):
        begin = place_of(p, image, o + k, pixel)
        if p.step_count == 0:
            copy_line(lines[k * pitch : k * pitch + m], integers[begin : begin + m])
            continue
        window_at = (image * p.groups + (o + k) // p.filters) * p.positions + pixel
        for q in range(0, m, UNIT):
            count = min(UNIT, m - q)
            v = as_numbers_of(load_row(lines, k * pitch + q), parameters)
            v = finish(p, v, o + k, (residual, begin + q, window, window_at + q), True, True, count)
            store_some(numbers, begin + q, v, count)


@numba.njit(error_model="numpy")
def place_of(p, image, o, pixel):
    """Where in the result a pixel of filter o begins."""
    g = o // p.filters
    inside = g * p.group_stride + (o - g * p.filters) * p.filter_stride
    return image * p.image_stride + inside + pixel * p.pixel_stride


@numba.njit(error_model="numpy")
def store_word(p, word, width, image, o, pixel):
    """Store the first ``width`` bits of a word, those of the filters from o on.

    They belong to one word of the result, or to two if o is not a multiple of 64. Filters come in order, so
    the first to reach a word finds nothing in it that is to stay.
    """
    signs = carray(p.signs, p.word_count)
    word &= np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(UNIT - width)
    depth, shift = (p.groups * p.filters + UNIT - 1) // UNIT, np.uint64(o % UNIT)
    at = (image * p.positions + pixel) * depth + o // UNIT
    if shift == 0:
        signs[at] = word
    else:
        signs[at] |= word << shift
        if o % UNIT + width > UNIT:
            signs[at + 1] = word >> (np.uint64(UNIT) - shift)


class Finish:
    """What a plan knows of the end of its products: the record's fields, and where results go.

    Parameters
    ----------
    outcome : Outcome
    shape, logical : tuple of int
        Of numbers, and of signs.
    channels_last : bool
        Whether a pixel's filters are neighbours in the numbers.
    """

    def __init__(
        self, outcome: Outcome, shape: tuple[int, ...], logical: tuple[int, ...], channels_last: bool
    ) -> None:
        self.outcome, self.shape, self.words = outcome, shape, words_shape(logical)
        self.filters = logical[-1]
        self.step = self.filters + UNIT - 1
        self.by_line = not (channels_last or outcome.signs)
        self.floats = outcome.dtype if outcome.steps else np.dtype(np.float32)
        self.rows = sum(PARAMETERS[kind] for kind in outcome.steps)
        self.windowed = "window" in outcome.steps

    def values(self) -> dict[str, Any]:
        """Fields that are the same in every call."""
        outcome = self.outcome
        return {
            "steps": np.array([KINDS.index(kind) for kind in outcome.steps], np.int64),
            "step_count": len(outcome.steps),
            "parameter_step": self.step,
            "number_count": prod(self.shape),
            "word_count": prod(self.words),
            "with_numbers": outcome.numbers,
            "with_signs": outcome.signs,
            "by_line": self.by_line,
            "adds": "add" in outcome.steps,
            "window_given": self.windowed,
        }

    def elements(self) -> dict[str, Any]:
        return dict.fromkeys(OF_NUMBERS, self.floats)

    def scratch(self) -> dict[str, int]:
        return {"spare": SPARE} if self.outcome.steps and not self.by_line else {}

    def targets(self, out: Array | None, *inputs: Array) -> dict[str, Array]:
        """Arrays that kernels may write what is wanted to, by the record's names."""
        found, outcome = {}, self.outcome
        if outcome.numbers:
            name = "numbers" if outcome.steps else "integers"
            found[name] = result(out, self.shape, outcome.dtype, *inputs)
        if outcome.signs:
            words = None if outcome.numbers else out
            found["signs"] = result(words, self.words, np.uint64, *inputs)
        return found

    def delivered(self, targets: dict[str, Array], out: Array | None) -> Any:
        """What a plan gives: numbers, words, or both."""
        given = [*targets.values()]
        given[0] = deliver(given[0], out)
        return given[0] if len(given) == 1 else tuple(given)

    def parameters(self, epilogue: Epilogue) -> dict[str, Array]:
        """The numbers of ``epilogue`` by the record's names; kept with it."""
        if not (self.outcome.steps or self.outcome.signs):
            return {}
        return epilogue.derived("cpu", lambda: self._laid_out(epilogue))

    def _laid_out(self, epilogue: Epilogue) -> dict[str, Array]:
        found: dict[str, Array] = {}
        if self.rows:
            rows = [n for kind, numbers in epilogue.steps if kind != "add" for n in numbers]
            found["parameters"] = np.zeros((self.rows, self.step), self.floats)
            for row, numbers in zip(found["parameters"], rows, strict=True):
                row[: self.filters] = numbers
        for kind, numbers in epilogue.steps:
            if kind == "add":
                found["residual"] = native(numbers[0])
        if self.outcome.signs:
            found["bounds" if self.outcome.steps else "tau"] = self._row(epilogue.tau, self.outcome.dtype)
            found["flip"] = self._row(epilogue.flip, np.uint8)
        return found

    def _row(self, numbers: Any, dtype: Any) -> NDArray[Any]:
        """Numbers of the filters, with room for a kernel to read 64 from any on."""
        row = np.zeros(self.step, dtype)
        row[: self.filters] = numbers
        return row


class NothingPlan:
    """The plan of a binary convolution whose result has no elements."""

    def __init__(self, spec: BinaryConv) -> None:
        last = spec.target.channels_last and spec.target.rank > 2
        self.finish = Finish(spec.outcome, spec.shape, spec.logical, last)

    def __call__(self, x: Array, filters: PackedFilters, epilogue: Epilogue, out: Array | None) -> Any:
        return self.finish.delivered(self.finish.targets(out), out)
