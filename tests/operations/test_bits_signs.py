"""Packed signs: against the reference, at every kind of threshold, and by what they mean."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from closeness import assert_same
from fastconv import PackedSigns, _backends, pack_signs, reference
from fastconv._specs.bits import Compare, memory_of
from large_arrays import LARGE, views
from strategies import FLOATS, INTEGERS, MANY, REAL, arrays, shapes, values


def zero_for(x):
    """A threshold of 0; for unsigned numbers, of which without a threshold nothing is -1, not the default."""
    return np.int64(0) if x.dtype.kind == "u" else 0


@views
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u1", "i4", "u8"])
def test_signs_of_large_arrays_equal_reference(backend, view, dtype):
    x = view(values(0, LARGE[backend.namespace], dtype, special=MANY))
    finite = np.nan_to_num(x, posinf=1, neginf=-1)
    row, column = finite[:1].astype(">f4"), finite[:, :1]
    zero = zero_for(x)
    for axis, threshold in ((0, zero), (1, zero), (1, row), (0, column)):
        given_threshold = backend.asarray(threshold) if np.ndim(threshold) else threshold
        actual = pack_signs(backend.asarray(x), axis=axis, threshold=given_threshold)
        expected = reference.pack_signs(x, axis=axis, threshold=threshold)
        assert_same(backend.asnumpy(actual.words), expected.words)


@st.composite
def thresholds(draw, x):
    """Scalars of several types, and arrays that broadcast against ``x``."""
    shape = tuple(n if draw(st.booleans()) else 1 for n in x.shape)[draw(st.integers(0, x.ndim)) :]
    scalars = st.sampled_from(
        [zero_for(x), 0.0, -0.0, 1, -2, 300, 0.5, np.float64(0.1), np.float32(2), np.int64(1)]
    )
    special = st.sampled_from([np.inf, -np.inf])
    return draw(scalars | special | arrays(shape, (*INTEGERS, *FLOATS)))


@given(st.data(), st.sampled_from([1, -1]))
def test_pack_signs_equals_reference(backend, data, zero):
    x = data.draw(arrays(data.draw(shapes()), REAL, special=MANY))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    threshold = data.draw(thresholds(x))
    given_threshold = backend.asarray(threshold) if isinstance(threshold, np.ndarray) else threshold
    actual = pack_signs(backend.asarray(x), axis=axis, zero=zero, threshold=given_threshold)
    expected = reference.pack_signs(x, axis=axis, zero=zero, threshold=threshold)
    assert actual.shape == expected.shape
    assert_same(backend.asnumpy(actual.words), expected.words)


@pytest.mark.parametrize("dtype", REAL)
def test_one_threshold_in_an_array_is_one_for_all(backend, dtype):
    x = values(0, (70, 70), dtype)
    for shape in ((1,), (1, 1), ()):
        threshold = np.full(shape, 1.5, np.float32)
        actual = pack_signs(backend.asarray(x), threshold=backend.asarray(threshold))
        expected = reference.pack_signs(x, threshold=threshold)
        assert_same(backend.asnumpy(actual.words), expected.words)


@views
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4"])
@pytest.mark.parametrize("backend", ["numpy", "cupy"], indirect=True)
def test_comparisons_with_a_number_for_each_channel(backend, view, dtype):
    x = view(values(0, LARGE[backend.namespace], dtype, special=MANY))
    given_x = backend.asarray(x)
    for axis in (0, 1):
        numbers = np.nan_to_num(x.take(3, axis=1 - axis), posinf=np.inf, neginf=-np.inf)
        tau, flip = numbers.astype(np.float32), np.arange(len(numbers)) % 3 == 0
        plan = _backends.backend_of("compare", given_x).plan(Compare(memory_of(given_x), axis))
        words = plan(given_x, backend.asarray(tau), backend.asarray(flip))
        by_row = np.moveaxis(x, axis, -1)
        expected = reference.packbits64(((by_row >= tau) != flip) & (by_row == by_row))
        assert_same(backend.asnumpy(words), expected)


@pytest.mark.parametrize("zero", [1, -1])
def test_signs_of_every_float16(backend, zero):
    x = np.arange(2**16, dtype=np.uint16).view(np.float16)
    for threshold in (0, -0.0, 0.1, -0.1, 6e-8, -6e-8, 65504.0, -65504.0, np.inf, -np.inf, np.float32(0.1)):
        actual = pack_signs(backend.asarray(x), zero=zero, threshold=threshold)
        expected = reference.pack_signs(x, zero=zero, threshold=threshold)
        assert_same(backend.asnumpy(actual.words), expected.words)


@pytest.mark.parametrize("zero", [1, -1])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_signs_at_a_threshold_for_each_channel(backend, dtype, zero):
    bounds = [0, -0.0, 0.1, -0.1, 6e-8, -6e-8, 65504.0, -65504.0, np.inf, -np.inf]
    thresholds = np.array([*bounds, *range(-30, 30)], dtype)
    with np.errstate(over="ignore", under="ignore"):
        around = [np.nextafter(thresholds, np.array(side, dtype)) for side in (-np.inf, np.inf)]
        x = np.stack([thresholds, *around, np.full(70, np.nan, dtype), -np.full(70, np.nan, dtype)] * 14)
        narrow = x.astype("f4")
    for given_x in (narrow, x):
        for axis, layout in ((1, given_x), (0, given_x.T.copy()), (0, given_x.T)):
            threshold = thresholds[:, None] if axis == 0 else thresholds
            actual = pack_signs(
                backend.asarray(layout), axis=axis, zero=zero, threshold=backend.asarray(threshold)
            )
            expected = reference.pack_signs(layout, axis=axis, zero=zero, threshold=threshold)
            assert_same(backend.asnumpy(actual.words), expected.words)


@pytest.mark.parametrize("zero", [1, -1])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "u4", "i8", "u8"])
def test_signs_of_integers_at_thresholds_of_every_kind(backend, dtype, zero):
    info = np.iinfo(dtype)
    around = [n + d for n in (info.min, 0, info.max, 2**53) for d in (-1, 0, 1)]
    x = np.array([n for n in around if info.min <= n <= info.max], dtype)
    bounds = [0.5, -0.5, 1e30, -1e30, np.inf, -np.inf, 2.0**53, 2.0**53 + 2, 2.0**63, np.float16(3)]
    integers = [
        n or zero_for(x) for n in around if -(2**63) <= n < 2**64
    ]  # as far as arrays, and so thresholds, go
    for threshold in (*bounds, *integers, True, np.int64(-1), np.array(7)):
        given_threshold = backend.asarray(threshold) if isinstance(threshold, np.ndarray) else threshold
        actual = pack_signs(backend.asarray(x), zero=zero, threshold=given_threshold)
        expected = reference.pack_signs(x, zero=zero, threshold=threshold)
        assert_same(backend.asnumpy(actual.words), expected.words)


def test_thresholds_may_be_nested_lists(backend):
    x = values(0, (2, 70), "f4")
    actual = pack_signs(backend.asarray(x), threshold=[[1.5], [-1.5]])
    expected = reference.pack_signs(x, threshold=np.array([[1.5], [-1.5]]))
    assert_same(backend.asnumpy(actual.words), expected.words)


def test_signs_of_zero_and_nan(backend):
    x = backend.asarray(np.array([0.0, -0.0, np.nan, 1.0, -1.0, np.inf, -np.inf], np.float32))
    assert backend.asnumpy(pack_signs(x).unpack()).tolist() == [1, 1, -1, 1, -1, 1, -1]
    assert backend.asnumpy(pack_signs(x, zero=-1).unpack()).tolist() == [-1, -1, -1, 1, -1, 1, -1]


@given(st.data(), st.sampled_from(["i1", "i4", "f4", "f8"]))
def test_unpacked_signs_are_plus_and_minus_one(backend, data, dtype):
    x = data.draw(arrays(data.draw(shapes()), ("f4",)))
    unpacked = backend.asnumpy(pack_signs(backend.asarray(x)).unpack(dtype))
    assert_same(unpacked, np.where(x >= 0, 1, -1).astype(dtype))


def test_packed_signs_describe_themselves(backend):
    signs = pack_signs(backend.asarray(values(0, (2, 3, 70), "f4")))
    assert signs.shape == (2, 3, 70)
    assert signs.nbytes == 2 * 3 * 2 * 8
    again = pickle.loads(pickle.dumps(signs))
    np.testing.assert_array_equal(backend.asnumpy(again.words), backend.asnumpy(signs.words))
    assert again.length == signs.length
    with pytest.raises(AttributeError):
        signs.length = 3


def test_tail_bits_are_read_only_on_request(backend):
    words = backend.asarray(np.array([0b1000], np.uint64))
    assert PackedSigns(words, 3).length == 3
    assert PackedSigns(words, 4, check=True).length == 4
    with pytest.raises(ValueError, match="bits beyond length 3 must be 0"):
        PackedSigns(words, 3, check=True)
