"""Bits: against the reference, against plain Python, and against each other."""

import pickle
import tracemalloc

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
from fastconv._specs.bits import Compare, memory_of
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


LARGE = {  # more than one CPU thread takes, in several chunks, with tails in every row
    "numpy": (700, 1000),
    "torch": (700, 1000),
    "cupy": (130, 700),  # whose threads are many, and emulated
}
VIEWS = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.T,
    "reversed": lambda x: x[::-1, ::-1],
    "strided": lambda x: x[:, ::2],
    "byteswapped": lambda x: x.astype(x.dtype.newbyteorder(">")),
}
views = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)


@views
@pytest.mark.parametrize("dtype", ["?", "i1", "u4", "i8"])
def test_counts_of_large_arrays_equal_reference(backend, view, dtype):
    x = view(values(0, LARGE[backend.namespace], dtype))
    given_x = backend.asarray(x)
    assert_same(backend.asnumpy(popcount(given_x)), reference.popcount(x))
    for axis in (None, 0, 1):
        actual = popcount_sum(given_x, axis=axis)
        assert_same(backend.asnumpy(actual), reference.popcount_sum(x, axis=axis))


@views
@pytest.mark.parametrize("bitorder", ["little", "big"])
def test_packing_large_arrays_equals_reference(backend, view, bitorder):
    for dtype in ("?", "u2"):
        x = view(values(0, LARGE[backend.namespace], dtype))
        for axis in (0, 1):
            words = packbits64(backend.asarray(x), axis=axis, bitorder=bitorder)
            expected = reference.packbits64(x, axis=axis, bitorder=bitorder)
            assert_same(backend.asnumpy(words), expected)
            options = {"axis": axis, "count": x.shape[axis] - 5, "bitorder": bitorder}
            bits = unpackbits64(words, **options)
            assert_same(backend.asnumpy(bits), reference.unpackbits64(expected, **options))


@views
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u1", "i4", "u8"])
def test_signs_of_large_arrays_equal_reference(backend, view, dtype):
    x = view(values(0, LARGE[backend.namespace], dtype, special=True))
    finite = np.nan_to_num(x, posinf=1, neginf=-1)
    row, column = finite[:1].astype(">f4"), finite[:, :1]
    for axis, threshold in ((0, 0), (1, 0), (1, row), (0, column)):
        given_threshold = backend.asarray(threshold) if np.ndim(threshold) else threshold
        actual = pack_signs(backend.asarray(x), axis=axis, threshold=given_threshold)
        expected = reference.pack_signs(x, axis=axis, threshold=threshold)
        assert_same(backend.asnumpy(actual.words), expected.words)


@pytest.mark.parametrize("shape", [(9000, 17), (17, 9000), (600_001,)])
def test_packing_more_words_than_a_grid_has_threads_equals_reference(backend, shape):
    x = values(0, shape, "?")
    for axis in range(x.ndim):
        words = packbits64(backend.asarray(x), axis=axis)
        expected = reference.packbits64(x, axis=axis)
        assert_same(backend.asnumpy(words), expected)
        for count in (None, shape[axis]):
            bits = unpackbits64(words, axis=axis, count=count)
            assert_same(backend.asnumpy(bits), reference.unpackbits64(expected, axis=axis, count=count))


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


@pytest.mark.parametrize("shape", [(3, 50_000), (50_000, 3), (2, 20_000, 2), (100_001,), (30, 40, 80)])
def test_popcount_sum_of_long_axes_equals_reference(backend, shape):
    x = values(0, shape, "u8")
    for axis in (None, 0, -1, x.ndim // 2):
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
    integers = [n for n in around if -(2**63) <= n < 2**64]  # as far as arrays, and so thresholds, go
    for threshold in (*bounds, *integers, True, np.int64(-1), np.array(7)):
        given_threshold = backend.asarray(threshold) if isinstance(threshold, np.ndarray) else threshold
        actual = pack_signs(backend.asarray(x), zero=zero, threshold=given_threshold)
        expected = reference.pack_signs(x, zero=zero, threshold=threshold)
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
    x = view(values(0, LARGE[backend.namespace], dtype, special=True))
    given_x = backend.asarray(x)
    for axis in (0, 1):
        numbers = np.nan_to_num(x.take(3, axis=1 - axis), posinf=np.inf, neginf=-np.inf)
        tau, flip = numbers.astype(np.float32), np.arange(len(numbers)) % 3 == 0
        plan = fastconv._backends.backend_of("compare", given_x).plan(Compare(memory_of(given_x), axis))
        words = plan(given_x, backend.asarray(tau), backend.asarray(flip))
        by_row = np.moveaxis(x, axis, -1)
        expected = reference.packbits64(((by_row >= tau) != flip) & (by_row == by_row))
        assert_same(backend.asnumpy(words), expected)


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


@given(seeds, st.sampled_from([1, 2, 4, 9, 16]), st.data())
def test_hamming_distance_of_all_pairs_equals_reference(backend, seed, width, data):
    m, n = data.draw(st.integers(1, 9)), data.draw(st.sampled_from([1, 5, 31, 32, 33, 100]))
    batch = data.draw(st.sampled_from([(), (2,), (1,)]))
    a = values(seed, (*batch, m, 1, width), "u8")
    b = values(seed + 1, (*data.draw(st.sampled_from([(), batch])), 1, n, width), "u8")
    if data.draw(st.booleans()):
        a = a[..., ::-1, :, :]
    if data.draw(st.booleans()):
        b = np.concatenate([b, b], axis=-1)[..., :width]
    a, b = data.draw(st.sampled_from([(a, b), (b, a)]))
    actual = hamming_distance(backend.asarray(a), backend.asarray(b))
    assert_same(backend.asnumpy(actual), reference.hamming_distance(a, b))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((1, 5), (40_000, 5)),
        ((9, 1, 5), (4_001, 5)),
        ((4_001, 1, 5), (9, 5)),
        ((3, 40_000, 1), (3, 1, 1)),
        ((20_000, 3), (20_000, 3)),
        ((2, 9, 1, 300), (2, 1, 50, 300)),
        ((2, 1, 2, 1, 2, 70), (1, 3, 1, 3, 1, 70)),
    ],
)
def test_hamming_distance_of_many_rows_equals_reference(backend, a, b):
    a, b = values(0, a, "u8"), values(1, b, "u8")
    for left, right in ((a, b), (b, a), (a[..., ::-1], b), (a.astype(">u8"), b)):
        actual = hamming_distance(backend.asarray(left), backend.asarray(right))
        assert_same(backend.asnumpy(actual), reference.hamming_distance(left, right))


@given(seeds, st.integers(0, 200))
def test_hamming_distance_of_signs_counts_disagreements(backend, seed, n):
    a, b = values(seed, (3, n), "f4"), values(seed + 1, (3, n), "f4")
    distance = hamming_distance(pack_signs(backend.asarray(a)), pack_signs(backend.asarray(b)))
    np.testing.assert_array_equal(backend.asnumpy(distance), ((a >= 0) != (b >= 0)).sum(axis=-1))


def test_long_rows_are_shared_among_threads_and_still_add_up(backend):
    a, b = values(1, (1, 100_003), "u8"), values(2, (1, 100_003), "u8")
    actual = hamming_distance(backend.asarray(a), backend.asarray(b))
    assert_same(backend.asnumpy(actual), reference.hamming_distance(a, b))


@views
def test_no_layout_is_copied_whole(view):
    words = view(np.ones((2048, 2048), np.uint64))  # 32 MiB
    halves = view(np.ones((2048, 4096), np.float16))
    calls = (
        lambda: popcount(words),
        lambda: popcount_sum(words),
        lambda: popcount_sum(words, axis=0),
        lambda: packbits64(words, axis=0),
        lambda: pack_signs(halves),
        lambda: pack_signs(words, threshold=0.5, axis=0),
        lambda: pack_signs(halves, threshold=np.ones(halves.shape[0], np.float16)[:, None]),
        lambda: hamming_distance(words, words),
    )
    for call in calls:
        call()
        tracemalloc.start()
        result = call()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak - result.nbytes < 6 * 2**20


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


def test_nested_lists_and_scalars_count_as_numpy():
    assert popcount(7) == 3
    assert popcount_sum([[1, 2], [3, 4]]) == 5
    assert packbits64([True, False, True]).tolist() == [5]
    assert fastconv.pack_signs([0.5, -1]).words.tolist() == [1]
