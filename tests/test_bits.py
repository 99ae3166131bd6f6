"""Bits: against the reference, against plain Python, and against each other."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv
from fastconv import (
    PackedSigns,
    hamming_distance,
    pack_signs,
    packbits64,
    popcount,
    popcount_sum,
    reference,
    unpackbits64,
)
from strategies import FLOATS, INTEGERS, REAL, arrays, assert_same, seeds, shapes, values

WHOLE = ("?", *INTEGERS)
bit_orders = st.sampled_from(["little", "big"])


@given(st.data())
def test_popcount_equals_reference(backend, data):
    x = data.draw(arrays(data.draw(shapes(0)), WHOLE))
    assert_same(backend.asnumpy(popcount(backend.asarray(x))), reference.popcount(x))


@given(seeds, st.sampled_from(WHOLE))
def test_reference_popcount_counts_ones_of_magnitude(seed, dtype):
    x = values(seed, (9,), dtype)
    assert reference.popcount(x).tolist() == [abs(int(v)).bit_count() for v in x]


@given(st.data())
def test_popcount_sum_equals_reference(backend, data):
    x = data.draw(arrays(data.draw(shapes(0, 4, (0, 1, 2, 3, 9, 70))), WHOLE))
    dims = st.integers(-x.ndim, x.ndim - 1)
    axis = None
    if x.ndim:
        several = st.lists(dims, max_size=4, unique_by=lambda d: d % x.ndim).map(tuple)
        axis = data.draw(st.none() | dims | several)
    keepdims = data.draw(st.booleans())
    actual = popcount_sum(backend.asarray(x), axis=axis, keepdims=keepdims)
    assert_same(backend.asnumpy(actual), reference.popcount_sum(x, axis=axis, keepdims=keepdims))


@pytest.mark.parametrize("shape", [(3, 50_000), (50_000, 3), (2, 20_000, 2), (100_001,)])
def test_popcount_sum_of_long_axes_equals_reference(backend, shape):
    x = values(0, shape, "u8")
    for axis in (None, 0, -1):
        actual = popcount_sum(backend.asarray(x), axis=axis)
        assert_same(backend.asnumpy(actual), reference.popcount_sum(x, axis=axis))


@given(st.data(), bit_orders)
def test_packbits64_equals_reference(backend, data, bitorder):
    x = data.draw(arrays(data.draw(shapes()), WHOLE))
    axis = data.draw(st.none() | st.integers(-x.ndim, x.ndim - 1))
    actual = packbits64(backend.asarray(x), axis=axis, bitorder=bitorder)
    assert_same(backend.asnumpy(actual), reference.packbits64(x, axis=axis, bitorder=bitorder))


@given(seeds, st.integers(0, 200))
def test_reference_packbits64_puts_element_i_at_its_bit(seed, n):
    x = values(seed, (n,), "?")
    little = sum(int(v) << i for i, v in enumerate(x))
    words = reference.packbits64(x)
    assert sum(int(w) << (64 * i) for i, w in enumerate(words)) == little
    big = reference.packbits64(x, bitorder="big")
    assert [int(f"{int(w):064b}"[::-1], 2) for w in big] == words.tolist()


@given(st.data(), bit_orders)
def test_unpackbits64_equals_reference(backend, data, bitorder):
    words = data.draw(arrays(data.draw(shapes(1, 3, (0, 1, 2, 5))), ("u8",)))
    axis = data.draw(st.none() | st.integers(-words.ndim, words.ndim - 1))
    available = 64 * (words.size if axis is None else words.shape[axis])
    count = data.draw(st.none() | st.integers(0, available))
    actual = unpackbits64(backend.asarray(words), axis=axis, count=count, bitorder=bitorder)
    assert_same(
        backend.asnumpy(actual), reference.unpackbits64(words, axis=axis, count=count, bitorder=bitorder)
    )


@given(st.data(), bit_orders)
def test_unpacking_undoes_packing(backend, data, bitorder):
    x = data.draw(arrays(data.draw(shapes()), WHOLE))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    words = packbits64(backend.asarray(x), axis=axis, bitorder=bitorder)
    bits = unpackbits64(words, axis=axis, count=x.shape[axis], bitorder=bitorder)
    np.testing.assert_array_equal(backend.asnumpy(bits), x != 0)


@st.composite
def thresholds(draw, x):
    """Scalars of several types, and arrays that broadcast against ``x``."""
    shape = tuple(n if draw(st.booleans()) else 1 for n in x.shape)[draw(st.integers(0, x.ndim)) :]
    scalars = st.sampled_from([0, 0.0, -0.0, 1, -2, 300, 0.5, np.float64(0.1), np.float32(2), np.int64(1)])
    special = st.sampled_from([np.inf, -np.inf])
    return draw(scalars | special | arrays(shape, (*INTEGERS, *FLOATS)))


@given(st.data(), st.sampled_from([1, -1]))
def test_pack_signs_equals_reference(backend, data, zero):
    x = data.draw(arrays(data.draw(shapes()), REAL, special=True))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    threshold = data.draw(thresholds(x))
    given_threshold = backend.asarray(threshold) if isinstance(threshold, np.ndarray) else threshold
    actual = pack_signs(backend.asarray(x), axis=axis, zero=zero, threshold=given_threshold)
    expected = reference.pack_signs(x, axis=axis, zero=zero, threshold=threshold)
    assert actual.shape == expected.shape
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


@given(st.data())
def test_hamming_distance_equals_reference(backend, data):
    width = data.draw(st.sampled_from([0, 1, 2, 5, 70]))
    batch = data.draw(shapes(0, 3, (1, 2, 3)))
    broadcast = tuple(1 if data.draw(st.booleans()) else n for n in batch)
    a = data.draw(arrays((*batch, width), ("u8",)))
    b = data.draw(arrays((*broadcast, width), ("u8",)))
    a, b = data.draw(st.sampled_from([(a, b), (b, a)]))
    actual = hamming_distance(backend.asarray(a), backend.asarray(b))
    assert_same(backend.asnumpy(actual), reference.hamming_distance(a, b))


@given(seeds, st.integers(0, 200))
def test_hamming_distance_of_signs_counts_disagreements(backend, seed, n):
    a, b = values(seed, (3, n), "f4"), values(seed + 1, (3, n), "f4")
    distance = hamming_distance(pack_signs(backend.asarray(a)), pack_signs(backend.asarray(b)))
    np.testing.assert_array_equal(backend.asnumpy(distance), ((a >= 0) != (b >= 0)).sum(axis=-1))


def test_long_rows_are_shared_among_threads_and_still_add_up(backend):
    a, b = values(1, (1, 100_003), "u8"), values(2, (1, 100_003), "u8")
    actual = hamming_distance(backend.asarray(a), backend.asarray(b))
    assert_same(backend.asnumpy(actual), reference.hamming_distance(a, b))


def test_packed_signs_describe_themselves(backend):
    signs = pack_signs(backend.asarray(values(0, (2, 3, 70), "f4")))
    assert signs.shape == (2, 3, 70)
    assert signs.nbytes == 2 * 3 * 2 * 8
    again = pickle.loads(pickle.dumps(signs))
    np.testing.assert_array_equal(again.words, signs.words)
    assert again.length == signs.length
    with pytest.raises(AttributeError):
        signs.length = 3


def test_tail_bits_are_read_only_on_request(backend):
    words = backend.asarray(np.array([0b1000], np.uint64))
    assert PackedSigns(words, 3).length == 3
    assert PackedSigns(words, 4, check=True).length == 4
    with pytest.raises(ValueError, match="bits beyond length 3 must be 0"):
        PackedSigns(words, 3, check=True)


def test_nested_lists_and_scalars_count_as_numpy():
    assert popcount(7) == 3
    assert popcount_sum([[1, 2], [3, 4]]) == 5
    assert packbits64([True, False, True]).tolist() == [5]
    assert fastconv.pack_signs([0.5, -1]).words.tolist() == [1]
