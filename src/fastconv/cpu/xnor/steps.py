"""What becomes of the sums of binary products, in compiled code: steps, signs, and where results go.

Blocks of sums of m pixels and up to 64 filters come pixel by pixel, y[at + q * UNIT + k], or filter by
filter, y[at + k * line + q]. Steps are done on vectors of 64 filters of a pixel, or, in a record with
``by_line``, of up to 64 pixels of a filter, as they lie in the result.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import carray

from fastconv._epilogue import PARAMETERS
from fastconv.cpu.kernels import kernel, own
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
from fastconv.cpu.xnor.problem import ELEMENTS, FINISH, UNIT
from fastconv.cpu.xnor.tiles import fetch_turned, store_turned, threshold_word

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
    return apply(p, v, (0, p.step_count, o), o, where, window_as_row, by_line, count)


@numba.njit(error_model="numpy", inline="always")
def apply(p, v, part, o, where, window_as_row, by_line, count):
    """Some of the steps: ``part`` is the first, the first that is not done, and the first's parameters."""
    residual, at, window, window_at = where
    steps, parameters = carray(p.steps, p.step_count), carray(p.parameters, 1)
    first, last, row = part
    for step in range(first, last):
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


BLOCK = 7
"""Integers of what finishes a block of sums: worker, where the block begins in its sums, pixels m, filters
width (64 at most), and image, filter and pixel of the first."""


@kernel(FINISH, BLOCK, **ELEMENTS)
def integer_rows(p, worker, at, m, width, image, o, pixel):
    """Store sums, pixel by pixel: where a pixel's filters are neighbours in the result."""
    y, integers = own(p, p.sums, worker, p.sums_size), carray(p.integers, p.number_count)
    begin = place_of(p, image, o, pixel)
    for q in range(m):
        store_some(integers, begin + q * p.pixel_stride, load_row(y, at + q * UNIT), width)


@kernel(FINISH, BLOCK, **ELEMENTS)
def integer_rows_turned(p, worker, at, m, width, image, o, pixel):
    """Store sums, pixel by pixel, where a filter's pixels are neighbours in the result."""
    y, integers = own(p, p.sums, worker, p.sums_size)[at:], carray(p.integers, p.number_count)
    store_turned(y, UNIT, m, width, integers, (place_of(p, image, o, pixel), p.filter_stride))


@kernel(FINISH, BLOCK, **ELEMENTS)
def integer_lines(p, worker, at, m, width, image, o, pixel):
    """Store sums, filter by filter, where a filter's pixels are neighbours in the result."""
    y, integers = own(p, p.sums, worker, p.sums_size), carray(p.integers, p.number_count)
    for k in range(width):
        line, to = at + k * p.line, place_of(p, image, o + k, pixel)
        copy_line(y[line : line + m], integers[to : to + m])


@kernel(FINISH, BLOCK, **ELEMENTS)
def compared_rows(p, worker, at, m, width, image, o, pixel):
    """Store the signs of sums, pixel by pixel, and the sums if they are wanted."""
    y = own(p, p.sums, worker, p.sums_size)[at:]
    tau, flip = carray(p.tau, 1), carray(p.flip, 1)
    for q in range(m):
        store_word(p, threshold_word(y, q * UNIT, tau, flip, o), width, image, o, pixel + q)
    if p.with_numbers == 0:
        return
    integers, begin = carray(p.integers, p.number_count), place_of(p, image, o, pixel)
    if p.pixel_stride == 1:
        store_turned(y, UNIT, m, width, integers, (begin, p.filter_stride))
    else:
        for q in range(m):
            store_some(integers, begin + q * p.pixel_stride, load_row(y, q * UNIT), width)


@kernel(FINISH, BLOCK, **ELEMENTS)
def number_rows(p, worker, at, m, width, image, o, pixel):
    """Store the numbers that steps make of sums, pixel by pixel, their signs, or both.

    Where a filter's pixels are neighbours in the result, numbers and residuals are turned over, block by
    block, in the worker's spare rows.
    """
    y, spare = own(p, p.sums, worker, p.sums_size)[at:], own(p, p.spare, worker, SPARE)
    parameters, bounds, flip = carray(p.parameters, 1), carray(p.bounds, 1), carray(p.flip, 1)
    numbers, residual = carray(p.numbers, p.number_count), carray(p.residual, p.number_count)
    window, begin = carray(p.window, p.pixels * p.groups), place_of(p, image, o, pixel)
    turned, group = p.pixel_stride == 1, o // p.filters
    if turned and p.adds != 0:
        fetch_turned(residual, (begin, p.filter_stride), m, width, spare)
    k_at = (image * p.groups + group) * p.positions + pixel
    spans_groups = p.window_given != 0 and (o + width - 1) // p.filters != group
    for q in range(m):
        to = begin + q * p.pixel_stride
        v = as_numbers_of(load_row(y, q * UNIT), parameters)
        if spans_groups:
            for k in range(width):
                spare[K_ROW + k] = window[k_at + ((o + k) // p.filters - group) * p.positions + q]
        added = (spare, q * UNIT) if turned else (residual, to)
        means = (spare, K_ROW) if spans_groups else (window, k_at + q)
        v = finish(p, v, o, added + means, spans_groups, False, width)
        if p.with_numbers != 0:
            stored = (spare, q * UNIT, UNIT) if turned else (numbers, to, width)
            store_some(stored[0], stored[1], v, stored[2])
        if p.with_signs != 0:
            word = reached(v, load_row(bounds, o)) ^ nonzero(load_row(flip, o))
            store_word(p, word, width, image, o, pixel + q)
    if turned and p.with_numbers != 0:
        store_turned(spare, UNIT, m, width, numbers, (begin, p.filter_stride))


@kernel(FINISH, BLOCK, **ELEMENTS)
def number_lines(p, worker, at, m, width, image, o, pixel):
    """Store the numbers that steps make of sums, filter by filter, where a filter's pixels are neighbours in
    the result. Up to a multiple of 64 pixels are read of a line."""
    y, parameters = own(p, p.sums, worker, p.sums_size), carray(p.parameters, 1)
    numbers, residual = carray(p.numbers, p.number_count), carray(p.residual, p.number_count)
    window = carray(p.window, p.pixels * p.groups)
    for k in range(width):
        begin = place_of(p, image, o + k, pixel)
        k_at = (image * p.groups + (o + k) // p.filters) * p.positions + pixel
        for q in range(0, m, UNIT):
            count = min(UNIT, m - q)
            v = as_numbers_of(load_row(y, at + k * p.line + q), parameters)
            v = finish(p, v, o + k, (residual, begin + q, window, k_at + q), True, True, count)
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
