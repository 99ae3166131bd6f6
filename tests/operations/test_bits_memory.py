"""Bits in whatever order, with whatever steps, they lie in memory: equal results in about the same time."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from strategies import INTEGERS, SIGNED, in_any_memory, seeds, shapes, unaligned, values

WHOLE = ("?", *INTEGERS)


def up_to(most, max_rank, lengths):
    """Shapes of so many elements at most."""
    return shapes(1, max_rank, lengths).filter(lambda shape: np.prod(shape) <= most)


ELEMENTS = up_to(40_000, 5, (1, 2, 3, 5, 17, 66))


def numbers(shape):
    return in_any_memory(shape, WHOLE)


@given(st.data())
def test_counts_in_any_memory_equal_reference(backend, data):
    x = data.draw(ELEMENTS.flatmap(numbers))
    given_x, axis = backend.asarray(x), data.draw(st.integers(-x.ndim, x.ndim - 1))
    assert_same(backend.asnumpy(popcount(given_x)), reference.popcount(x))
    actual = popcount_sum(given_x, axis=axis)
    assert_same(backend.asnumpy(actual), reference.popcount_sum(x, axis=axis))


@pytest.mark.parametrize("columns", range(130, 170))
def test_bytes_whose_rows_lie_across_memory_are_counted(backend, columns):
    x = values(columns, (67, columns), "u1")
    assert_same(backend.asnumpy(popcount(backend.asarray(x).T)), reference.popcount(x.T))


@pytest.mark.parametrize("n", [2, 64, 70, 200])
@pytest.mark.parametrize("bitorder", ["little", "big"])
def test_one_element_may_stand_for_many(backend, n, bitorder):
    x = np.broadcast_to(np.array([[1], [0], [-3]], "i4"), (3, n))
    actual = packbits64(backend.asarray(x), bitorder=bitorder)
    assert_same(backend.asnumpy(actual), reference.packbits64(x, bitorder=bitorder))


@given(st.data(), st.sampled_from(["little", "big"]))
def test_packing_in_any_memory_equals_reference(backend, data, bitorder):
    x = data.draw(ELEMENTS.flatmap(numbers))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    actual = packbits64(backend.asarray(x), axis=axis, bitorder=bitorder)
    assert_same(backend.asnumpy(actual), reference.packbits64(x, axis=axis, bitorder=bitorder))


@given(st.data(), st.sampled_from(["little", "big"]))
def test_unpacking_in_any_memory_equals_reference(backend, data, bitorder):
    words = data.draw(up_to(1_000, 4, (1, 2, 3, 17, 66)).flatmap(words_of))
    axis = data.draw(st.integers(-words.ndim, words.ndim - 1))
    options = {"axis": axis, "count": 64 * words.shape[axis] - data.draw(st.integers(0, 63))}
    actual = unpackbits64(backend.asarray(words), bitorder=bitorder, **options)
    assert_same(backend.asnumpy(actual), reference.unpackbits64(words, bitorder=bitorder, **options))


def words_of(shape):
    return in_any_memory(shape, ("u8",))


@given(st.data())
def test_signs_in_any_memory_at_thresholds_of_any_shape_equal_reference(backend, data):
    x = data.draw(ELEMENTS.flatmap(lambda shape: in_any_memory(shape, SIGNED)))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    shape = tuple(n if data.draw(st.booleans()) else 1 for n in x.shape)
    threshold = data.draw(st.just(0) | in_any_memory(shape, ("i2", "f4")))
    given_threshold = backend.asarray(threshold) if np.ndim(threshold) else threshold
    actual = pack_signs(backend.asarray(x), axis=axis, threshold=given_threshold)
    expected = reference.pack_signs(x, axis=axis, threshold=threshold)
    assert_same(backend.asnumpy(actual.words), expected.words)


@given(st.data())
def test_distances_in_any_memory_equal_reference(backend, data):
    width = data.draw(st.sampled_from([1, 2, 3, 7, 8, 9, 17]))
    batch = data.draw(up_to(3_000, 4, (1, 2, 5, 33)))
    sides = []
    for _ in "ab":
        shape = tuple(n if data.draw(st.booleans()) else 1 for n in batch)
        sides.append(data.draw(in_any_memory((*shape, width), ("u8",))))
    dtype = data.draw(st.sampled_from(["i2", "u2", "i4", "i8"]))
    actual = hamming_distance(*map(backend.asarray, sides), dtype=dtype)
    assert_same(backend.asnumpy(actual), reference.hamming_distance(*sides, dtype=dtype))


@given(seeds, st.sampled_from(["i2", "u4", "i8", "u8"]), st.integers(0, 1), st.booleans())
def test_numbers_a_byte_off_are_as_any(seed, dtype, axis, turn):
    x = unaligned(values(seed, (40, 70), dtype))
    x = x.T if turn else x
    plain = x.copy()
    assert_same(popcount(x), reference.popcount(plain))
    assert_same(popcount_sum(x, axis=axis), reference.popcount_sum(plain, axis=axis))
    assert_same(packbits64(x, axis=axis), reference.packbits64(plain, axis=axis))
    signs = pack_signs(x.view(f"f{x.itemsize}"), axis=axis)
    assert_same(signs.words, reference.pack_signs(plain.view(f"f{x.itemsize}"), axis=axis).words)


@pytest.mark.parametrize("width", [1, 3, 8, 40, 300])
@pytest.mark.parametrize("kind", [">u8", "<u8"])
def test_words_a_byte_off_or_swapped_are_as_any(width, kind):
    plain = values(0, (90, width), "u8")
    words = unaligned(plain.astype(kind))
    for a, b in ((words, plain), (words[::-1], words), (words[:9, None], plain), (plain[:9, None], words)):
        expected = reference.hamming_distance(a.astype(np.uint64), b.astype(np.uint64))
        assert_same(hamming_distance(a, b), expected)
    for axis in (0, 1):
        assert_same(unpackbits64(words, axis=axis), reference.unpackbits64(plain, axis=axis))


SIDE = 1200
BYTES, LONGS = values(0, (SIDE, SIDE), "u1"), values(1, (800, 8), "u8")
HALVES = np.repeat(LONGS, 2, -1)[:, ::2]
BELOW, BESIDE = values(2, (20, SIDE), "u8"), values(2, (SIDE, 20), "u8")
FLOATS = BYTES.astype("f4")
TWINS = {
    "popcount, turned": (lambda: popcount(BYTES.T), lambda: popcount(BYTES)),
    "packbits64, turned": (lambda: packbits64(BYTES.T), lambda: packbits64(BYTES, axis=0)),
    "unpackbits64, down": (lambda: unpackbits64(BELOW, axis=0), lambda: unpackbits64(BESIDE)),
    "signs, turned": (lambda: pack_signs(FLOATS.T[::-1]), lambda: pack_signs(FLOATS, axis=0)),
    "distances, spread": (
        lambda: hamming_distance(HALVES[:, None], HALVES),
        lambda: hamming_distance(LONGS[:, None], LONGS),
    ),
}


@pytest.mark.parametrize("name", TWINS)
def test_memory_of_another_order_costs_little(name):
    """What walks against the order of memory takes 15 to 75 times as long as its twin; 2 or 3 are right."""
    laid_out, twin = TWINS[name]
    times = ([], [])
    for _ in range(9):
        for call, taken in zip((laid_out, twin), times, strict=True):
            start = time.thread_time()
            call()
            taken.append(time.thread_time() - start)
    assert min(times[0][1:]) < 8 * min(times[1][1:])
