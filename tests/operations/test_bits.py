"""Bits: against the reference, against plain Python, and against each other."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv
from closeness import assert_same
from fastconv import (
    hamming_distance,
    pack_signs,
    packbits64,
    popcount,
    popcount_sum,
    reference,
    unpackbits64,
)
from large_arrays import LARGE, views
from strategies import INTEGERS, arrays, seeds, shapes, values

WHOLE = ("?", *INTEGERS)
bit_orders = st.sampled_from(["little", "big"])


@given(st.data())
def test_popcount_equals_reference(backend, data):
    x = data.draw(arrays(data.draw(shapes(0)), WHOLE))
    assert_same(backend.asnumpy(popcount(backend.asarray(x))), reference.popcount(x))


def test_popcount_of_a_byteswapped_number():
    assert popcount(np.array(607, ">i2")) == (607).bit_count()


@given(seeds, st.sampled_from(WHOLE))
def test_reference_popcount_counts_ones_of_magnitude(seed, dtype):
    x = values(seed, (9,), dtype)
    assert reference.popcount(x).tolist() == [abs(int(v)).bit_count() for v in x]


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
    x = data.draw(arrays(data.draw(shapes(0, 4, (1, 2, 3, 9, 70))), WHOLE))
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


@given(seeds, st.integers(1, 200))
def test_reference_packbits64_puts_element_i_at_its_bit(seed, n):
    x = values(seed, (n,), "?")
    little = sum(int(v) << i for i, v in enumerate(x))
    words = reference.packbits64(x)
    assert sum(int(w) << (64 * i) for i, w in enumerate(words)) == little
    big = reference.packbits64(x, bitorder="big")
    assert [int(f"{int(w):064b}"[::-1], 2) for w in big] == words.tolist()


@given(st.data(), bit_orders)
def test_unpackbits64_equals_reference(backend, data, bitorder):
    words = data.draw(arrays(data.draw(shapes(1, 3, (1, 2, 5))), ("u8",)))
    axis = data.draw(st.none() | st.integers(-words.ndim, words.ndim - 1))
    available = 64 * (words.size if axis is None else words.shape[axis])
    count = data.draw(st.none() | st.integers(1, available))
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


def test_nested_lists_and_scalars_count_as_numpy():
    assert popcount(7) == 3
    assert popcount_sum([[1, 2], [3, 4]]) == 5
    assert packbits64([True, False, True]).tolist() == [5]
    assert fastconv.pack_signs([0.5, -1]).words.tolist() == [1]
