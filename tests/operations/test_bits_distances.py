"""Hamming distances: against the reference, and by what they mean."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from closeness import assert_same
from fastconv import hamming_distance, pack_signs, reference
from strategies import arrays, seeds, shapes, values


@given(st.data())
def test_hamming_distance_equals_reference(backend, data):
    width = data.draw(st.sampled_from([1, 2, 5, 70]))
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


@given(seeds, st.integers(1, 200))
def test_hamming_distance_of_signs_counts_disagreements(backend, seed, n):
    a, b = values(seed, (3, n), "f4"), values(seed + 1, (3, n), "f4")
    distance = hamming_distance(pack_signs(backend.asarray(a)), pack_signs(backend.asarray(b)))
    np.testing.assert_array_equal(backend.asnumpy(distance), ((a >= 0) != (b >= 0)).sum(axis=-1))


def test_long_rows_are_shared_among_threads_and_still_add_up(backend):
    a, b = values(1, (1, 100_003), "u8"), values(2, (1, 100_003), "u8")
    actual = hamming_distance(backend.asarray(a), backend.asarray(b))
    assert_same(backend.asnumpy(actual), reference.hamming_distance(a, b))
