"""Arrays of no dimensions, of either byte order: operands, results and ``out=``."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv
from fastconv import reference

INTEGERS = [f"{order}{kind}" for kind in ("i2", "i4", "i8", "u2", "u4", "u8") for order in "<>"]
KINDS = ["b1", "i1", "u1", *INTEGERS]


@st.composite
def scalars(draw, kinds=tuple(KINDS)):
    """An array of no dimensions: one of its own, an element of a larger one, or one that is not aligned."""
    dtype = np.dtype(draw(st.sampled_from(kinds)))
    number = np.frombuffer(draw(st.binary(min_size=8, max_size=8)), np.uint8)[: dtype.itemsize]
    if dtype == np.bool_:
        number = number & 1
    match draw(st.sampled_from(["own", "element", "unaligned"])):
        case "own":
            return number.view(dtype).reshape(()).copy()
        case "element":
            return np.stack([number, ~number & 1]).view(dtype)[0, 0, ...]
    memory = np.zeros(9, np.uint8)
    x = np.ndarray((), dtype, memory, offset=1)
    x[()] = number.view(dtype)[0]
    return x


@given(x=scalars())
def test_the_ones_of_one_number_are_counted_in_any_byte_order(backend, x):
    given_x = backend.asarray(x)
    counted = backend.asnumpy(fastconv.popcount(given_x))
    assert (counted.shape, counted.dtype) == ((), np.uint8)
    assert counted == int(np.bitwise_count(x))
    assert backend.asnumpy(fastconv.popcount_sum(given_x)) == int(counted)
    packed = backend.asnumpy(fastconv.packbits64(given_x, axis=None))
    np.testing.assert_array_equal(packed, [bool(x)])


@given(x=scalars())
def test_the_result_of_one_number_goes_into_out(backend, x):
    given_x, ones = backend.asarray(x), int(np.bitwise_count(x))
    for call, dtype in ((fastconv.popcount, np.uint8), (fastconv.popcount_sum, np.int64)):
        out = backend.asarray(np.array(77, dtype))
        assert call(given_x, out=out) is out
        assert int(backend.read(out)) == ones


@given(a=scalars(["<u8", ">u8"]), b=scalars(["<u8", ">u8"]))
def test_the_distance_of_two_words_is_a_number(backend, a, b):
    words = [backend.asarray(v.reshape(1)) for v in (a, b)]
    distance = backend.asnumpy(fastconv.hamming_distance(*words))
    assert (distance.shape, int(distance)) == ((), (int(a) ^ int(b)).bit_count())


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", ">f8"])
def test_a_threshold_may_be_one_number_in_any_byte_order(backend, kind):
    x = np.linspace(-1, 1, 67, dtype=np.float32)
    for threshold in (0.25, -0.5, np.inf):
        given_threshold = backend.asarray(np.array(threshold, kind))
        packed = fastconv.pack_signs(backend.asarray(x), threshold=given_threshold)
        np.testing.assert_array_equal(
            backend.asnumpy(packed.words), reference.pack_signs(x, threshold=threshold).words
        )
