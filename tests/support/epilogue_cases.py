"""Calls whose integers something follows, and what has to come of them, step by step in NumPy.

Steps are IEEE operations, so results are the reference's bit for bit, unless a mean magnitude is among the
scales: it may differ by its last rounding, and what may come of that is followed through the steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from binary_calls import OF_FEW
from fastconv import PackedFilters, PackedSigns, reference
from strategies import FLOATS, arrays, laid_out, pairs, seeds, values

CHANNELS = (1, 2, 3, 5, 24, 63, 64, 65, 130)
FILTERS = (1, 2, 7, 8, 9, 33, 64, 70)
DEEP = (1, 2), (63, 64, 130), (8, 9, 33)
"""Groups, channels and filters of each."""
FLOAT32 = np.finfo(np.float32).eps


class Case(NamedTuple):
    """A call, and where its filters lie in the numbers: an axis, or None for one image."""

    x: Any
    weight: Any
    plain: dict[str, Any]
    ending: dict[str, Any]
    axis: int | None

    def run(self, backend: Any, operation: Any, **out: Any) -> Any:
        x, weight, plain, ending = (to_backend(backend, part) for part in self[:4])
        return operation(x, weight, **plain, **ending, **out)


def to_backend(backend, value):
    """``value`` with its arrays in the library under test."""
    if isinstance(value, (PackedSigns, PackedFilters)):
        return value.mapped(backend.asarray)
    if isinstance(value, dict):
        return {name: to_backend(backend, part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_backend(backend, part) for part in value)
    return backend.asarray(value) if isinstance(value, np.ndarray) else value


def per_filter(filters, magnitude=8.0):
    """A number, also as an array without axes, or one for each filter."""
    number = st.floats(-magnitude, magnitude, width=32) | st.sampled_from([0, -1, 2])
    return number | number.map(np.float32).map(np.array) | arrays((filters,), FLOATS, magnitude=magnitude)


def activations(filters):
    """One activation, or a list of them."""
    one = per_filter(filters)
    step = st.one_of(
        st.just("relu"),
        st.tuples(st.just("clamp"), one, one),
        st.tuples(st.just("prelu"), per_filter(filters, 1.0)),
        st.tuples(st.just("shift"), one),
    )
    return step | st.lists(step, max_size=4)


@st.composite
def endings(draw, filters, shape, dtype, scales, signed):
    """What follows the integers; ``scales`` are the words that may be one, ``signed`` says whether signs are
    wanted, too."""
    scale = draw(st.sampled_from([None, None, "array", *scales]))
    if scale == "array":
        scale = draw(arrays((filters,), FLOATS, magnitude=1.0))
    bias = draw(st.none() | arrays((filters,), FLOATS))
    residual = draw(
        st.none() | arrays(shape, ("i4", *FLOATS, dtype, dtype), special=not isinstance(scale, str))
    )
    activation = draw(st.none() | activations(filters))
    signs = draw(per_filter(filters)) if signed else None
    if signed and draw(st.booleans()):
        signs = (signs, draw(st.booleans() | arrays((filters,), ("?",))))
    ending = {"scale": scale, "bias": bias, "residual": residual, "activation": activation, "signs": signs}
    return {name: value for name, value in ending.items() if value is not None}


@st.composite
def geometries(draw):
    """A kernel, an image that it fits, and the options that say how."""
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.sampled_from([1, 1, 2]))
    size = tuple(dilation * (k - 1) + 1 + draw(st.integers(0, 6)) for k in kernel)
    padding = draw(pairs(0, 2) | st.sampled_from(["same", ((2, 0), (1, 1))]))
    options = {"stride": draw(pairs(1, 2)), "padding": padding, "dilation": dilation}
    return kernel, size, options | {"pad_value": draw(st.sampled_from([0, 1, -1]))}


@st.composite
def many_groups(draw):
    """Groups, and channels and filters of each: one channel or a few."""
    return draw(st.sampled_from([5, 64, 66, 130])), *draw(st.sampled_from(OF_FEW))


@st.composite
def depths(draw, rank):
    """Groups, and channels and filters of each; one of all for one image."""
    if rank == 2:
        return 1, 1, 1
    if draw(st.integers(0, 4)) == 0:
        return draw(many_groups())
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    return groups, draw(st.sampled_from(CHANNELS)), draw(st.sampled_from(FILTERS))


@st.composite
def convolutions(draw, data_format, signed, kind="any"):
    """A convolution of any kind of input and filters, its result never empty. "deep": of many channels, and
    of filters that go by words; "depthwise": of many groups of one channel or of a few."""
    rank = draw(st.sampled_from([2, 3, 4, 4, 4, 4] if kind == "any" else [3, 4]))
    kernel, size, plain = draw(geometries())
    of_kind = {
        "any": depths(rank),
        "deep": st.tuples(*map(st.sampled_from, DEEP)),
        "depthwise": many_groups(),
    }
    groups, channels, filters = draw(of_kind[kind])
    plain |= {"groups": groups, "data_format": data_format}
    shape = (draw(st.integers(1, 2)) if rank == 4 else 1, groups * channels, *size)
    x = values(draw(seeds), shape, draw(st.sampled_from(["f4", "f4", "f8", "i2", "?"])))
    w = draw(arrays((groups * filters, channels, *kernel), FLOATS, magnitude=1.0))
    packed = rank > 2 and draw(st.booleans())
    if packed or data_format == "NHWC":
        x = x.transpose(0, 2, 3, 1)
    x = x[0] if rank == 3 else x.reshape(size) if rank == 2 else x
    x = reference.pack_signs(x) if packed else laid_out(x, draw(st.sampled_from("CF")))
    y = reference.xnor_conv2d(x, w, **plain)
    ending = draw(endings(len(w), y.shape, result_type(x), ("alpha", "xnor")[: 2 - packed], signed))
    weight = reference.pack_filters(w) if draw(st.booleans()) else w
    return Case(x, weight, plain, ending, filter_axis(rank, data_format))


def filter_axis(rank, data_format):
    return None if rank == 2 else -1 if data_format == "NHWC" else -3


@st.composite
def layers(draw, signed):
    """A linear layer, its result never empty."""
    features, outputs = draw(st.sampled_from(CHANNELS)), draw(st.sampled_from(FILTERS))
    x = draw(arrays((*draw(st.sampled_from([(), (1,), (70,), (2, 3)])), features), ("f4", "f8", "i1")))
    w = draw(arrays((outputs, features), FLOATS, magnitude=1.0))
    kind = draw(st.sampled_from(["real", "filters", "signs"]))
    weight = {"filters": reference.pack_filters(w[:, :, None, None]), "signs": reference.pack_signs(w)}.get(
        kind, w
    )
    scales = () if kind == "signs" else ("alpha", "xnor")
    if draw(st.booleans()):
        x, scales = reference.pack_signs(x), scales[:1]
    ending = draw(endings(outputs, (*x.shape[:-1], outputs), result_type(x), scales, signed))
    return Case(x, weight, {}, ending, -1)


def numbers_and_bounds(case, operation):
    """The numbers before their signs, step by step in NumPy, and how much a last rounding of the mean
    magnitudes may change them."""
    scaled = {"scale": case.ending["scale"]} if "scale" in case.ending else {}
    v = operation(case.x, case.weight, **case.plain, **scaled)
    if not {"bias", "residual"} & set(case.ending) and not case.ending.get("activation"):
        return v, by_magnitude(v, scaled)
    if not scaled:
        v = v.astype(result_type(case.x))
    bounds = by_magnitude(v, scaled)
    steps = []
    if "bias" in case.ending:
        steps.append(("shift", case.ending["bias"]))
    if "residual" in case.ending:
        steps.append(("add", case.ending["residual"]))
    activation = case.ending.get("activation", [])
    steps += activation if isinstance(activation, list) else [activation]
    eps = np.finfo(v.dtype).eps
    for step in steps:
        name, *given = (step,) if isinstance(step, str) else step
        numbers = [along(np.asarray(number).astype(v.dtype), case.axis, name) for number in given]
        v, growth = stepped(v, name, numbers)
        bounds = np.where(bounds > 0, bounds * growth + eps * np.abs(v), 0)
    return v, bounds


def result_type(x):
    return "f8" if not isinstance(x, PackedSigns) and (x.dtype.kind, x.itemsize) == ("f", 8) else "f4"


def by_magnitude(v, scaled):
    """Four roundings of mean magnitudes, which are sums in float64 rounded to float32."""
    return 4 * FLOAT32 * np.abs(v) if isinstance(scaled.get("scale"), str) else np.zeros(v.shape)


def along(numbers, axis, name):
    """One number for each filter as an array that broadcasts with the result."""
    if name == "add" or numbers.ndim == 0 or axis is None:
        return numbers
    return numbers.reshape(-1, *(1,) * (-1 - axis))


@np.errstate(all="ignore")
def stepped(v, name, numbers):
    """One step, and what it multiplies errors by."""
    if name in ("shift", "add"):
        return v + numbers[0], 1
    if name == "relu":
        return np.where(v < 0, 0, v).astype(v.dtype), 1
    if name == "prelu":
        return np.where(v < 0, numbers[0] * v, v), np.maximum(np.abs(numbers[0]), 1)
    low, high = numbers
    v = np.where(v < low, low, v)
    return np.where(v > high, high, v), 1


def check(backend, case, result, operation):
    """``result`` of a call is what the reference gives, which is what the steps give."""
    with np.errstate(all="ignore"):
        v, bounds = numbers_and_bounds(case, operation)
        expected = operation(case.x, case.weight, **case.plain, **case.ending)
    if "signs" not in case.ending:
        check_numbers(backend, result, expected, v, bounds)
        return
    numbers, signs = result
    expected, expected_signs = expected
    check_numbers(backend, numbers, expected, v, bounds)
    tau, flip = (
        case.ending["signs"] if isinstance(case.ending["signs"], tuple) else (case.ending["signs"], False)
    )
    tau = np.asarray(tau) if v.dtype.kind == "i" else np.asarray(tau).astype(v.dtype)
    by_filter, bounds = (
        a[..., None] if case.axis is None else np.moveaxis(a, case.axis, -1) for a in (v, bounds)
    )
    given = PackedSigns(backend.asnumpy(signs.words), signs.length, check=True)
    assert given.shape == expected_signs.shape == by_filter.shape or case.axis is None
    bits = reference.unpackbits64(given.words, count=given.length).reshape(by_filter.shape)
    with np.errstate(all="ignore"):
        surely = ~(np.abs(by_filter - tau) <= bounds) | (bounds == 0)
        np.testing.assert_array_equal(bits[surely], ((by_filter >= tau) ^ flip)[surely])
        whole = reference.unpackbits64(expected_signs.words, count=given.length).reshape(by_filter.shape)
        np.testing.assert_array_equal(whole, (by_filter >= tau) ^ flip)


def check_numbers(backend, result, expected, v, bounds):
    np.testing.assert_array_equal(expected, v)
    assert expected.dtype == v.dtype
    actual = backend.read(result)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    exact = bounds == 0
    np.testing.assert_array_equal(actual[exact], expected[exact])
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    with np.errstate(all="ignore"):
        error = np.abs(actual.astype(np.float64) - expected)
    assert (error[finite] <= bounds[finite]).all(), (error[finite] - bounds[finite]).max()


@st.composite
def powers_of_two(draw, data_format, signed):
    """A convolution scaled by magnitudes whose means are exact, its windows within the image."""
    groups, channels = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([1, 2, 16, 64]))
    filters, kernel = (
        draw(st.sampled_from([1, 3, 32, 65])) * groups,
        draw(st.sampled_from([(1, 1), (2, 2), (1, 4)])),
    )
    size = tuple(k + draw(st.integers(0, 5)) for k in kernel)
    rng = np.random.default_rng(draw(seeds))
    x = rng.choice([-1, 1], (2, groups * channels, *size)) * 2.0 ** draw(st.integers(-3, 3))
    w = rng.choice([-1, 1], (filters, channels, *kernel)) * 2.0 ** rng.integers(-3, 3, (filters, 1, 1, 1))
    plain = {"groups": groups, "data_format": data_format}
    x = (x.transpose(0, 2, 3, 1) if data_format == "NHWC" else x).astype(draw(st.sampled_from(["f4", "f8"])))
    y = reference.xnor_conv2d(x, w, **plain)
    ending = draw(endings(filters, y.shape, result_type(x), (), signed))
    ending["scale"] = draw(st.sampled_from(["alpha", "xnor"]))
    return Case(x, w, plain, ending, filter_axis(4, data_format))
