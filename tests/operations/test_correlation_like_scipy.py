"""Odd arguments of correlate2d and convolve2d mean what they mean in SciPy, or are the same error."""

from decimal import Decimal
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy import signal

import fastconv
from fastconv import reference

NAMES = ("correlate2d", "convolve2d")
X, KERNEL = np.arange(12.0).reshape(3, 4), np.ones((3, 3))


class Index:
    """What only says which integer it is."""

    def __index__(self):
        return 2


def outcome(library, name, *args):
    """The result, or the type of the error."""
    try:
        return getattr(library, name)(*args)
    except (TypeError, ValueError) as error:
        return type(error)


def check_same(actual, expected):
    if isinstance(expected, type) or isinstance(actual, type):
        assert actual is expected
        return
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.empties
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("boundary", ["fill", "wrap", "symm"])
def test_sizes_down_to_nothing(backend, name, mode, boundary):
    sizes = list(product(range(4), repeat=2))
    for size, kernel in product(sizes, sizes):
        x, w = np.arange(1.0, 1 + size[0] * size[1]).reshape(size), np.ones(kernel)
        actual = outcome(fastconv, name, backend.asarray(x), backend.asarray(w), mode, boundary)
        actual = actual if isinstance(actual, type) else backend.asnumpy(actual)
        if 0 in size and boundary != "fill" and mode == "full":  # where SciPy may divide by 0, and die
            shape = [n + k - 1 for n, k in zip(size, kernel, strict=True)]
            gives_zeros = 0 in kernel or 0 in shape
            check_same(actual, np.zeros(shape) if min(shape) >= 0 and gives_zeros else ValueError)
            continue
        check_same(actual, outcome(signal, name, x, w, mode, boundary))
        if not isinstance(actual, type) and mode != "valid":
            check_same(outcome(reference, name, x, w, mode, boundary), actual)


FILLS = [
    None, True, 3, 2.5, 1e30,
    float("nan"), float("inf"), -0.0, [3], [[3]], (3,), np.float64(3), np.array(3.0),
    Decimal("2.5"), Fraction(5, 2), Index(), 2**70,
    {}, object(), slice(None), np.array(3, object), [], [1, 2],
]  # fmt: skip


@pytest.mark.parametrize("fill", FILLS, ids=range(len(FILLS)))
@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("name", NAMES)
def test_fill_values_of_every_kind(name, dtype, fill):
    x, w = X.astype(dtype), KERNEL.astype(dtype)
    with np.errstate(all="ignore"):
        actual = outcome(fastconv, name, x, w, "same", "fill", fill)
        if isinstance(fill, np.ndarray) and fill.dtype != dtype and fill.dtype != object:
            fill = fill.item()  # which fits, so that its dtype does not count
        check_same(actual, outcome(signal, name, x, w, "same", "fill", fill))


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "i4", "i8", "u8"])
@pytest.mark.parametrize("name", NAMES)
def test_integers_of_every_kind_fill_integers(backend, name, dtype):
    x, w = X.astype(dtype), KERNEL.astype(dtype)
    info = np.iinfo(dtype)
    for number in (3, int(info.min), int(info.max)):
        expected = outcome(signal, name, x, w, "same", "fill", number)
        array = np.array(number, dtype)
        array = backend.asarray(array) if backend.namespace == "torch" else array
        for fill in (number, array, [number], np.dtype(dtype).type(number)):
            actual = getattr(fastconv, name)(
                backend.asarray(x), backend.asarray(w), "same", "fill", fill, method="direct"
            )
            check_same(backend.asnumpy(actual), expected)


@pytest.mark.parametrize("fill", [None, 2.0**70, 2**70, 10**400, np.nan, 1j], ids=str)
def test_fill_values_that_do_not_fit_are_refused(fill):
    with pytest.raises(ValueError, match=r"^correlate2d: fillvalue "):
        fastconv.correlate2d(X.astype(int), KERNEL.astype(int), fillvalue=fill)


@pytest.mark.parametrize(
    "fill", ["3", b"3", np.str_("3"), np.ma.array(3), np.ma.masked, np.datetime64("2020")], ids=str
)
def test_what_is_no_number_is_refused_as_a_fill_value(fill):
    with pytest.raises(TypeError, match=r"^correlate2d: fillvalue must be one number, got "):
        fastconv.correlate2d(X, KERNEL, fillvalue=fill)


def test_the_largest_integers_of_python_do_not_fit_floats():
    with pytest.raises(ValueError, match="does not fit the result's dtype float64"):
        fastconv.correlate2d(X, KERNEL, fillvalue=10**400)
