"""Where signs of unsigned numbers are taken, all of them +1: words are refused, and of others is warned."""

import warnings
from functools import partial

import numpy as np
import pytest

import fastconv
from fastconv import reference
from right_calls import leaves
from strategies import values

SMALL = ("u1", "u2", "u4")
W = np.array([[1.5, -2.0, 0.0, -1.0]] * 3, np.float32)
IMAGES = values(0, (1, 2, 5, 6), "f4")


def calls(library, x):
    """By the name of the argument that it is, every call that takes the signs of ``x`` (4, 4), or of images
    made of it, and no threshold."""
    images = x.reshape(1, 2, 2, 4)
    lent = partial(same_kind, x)
    options = {"scale": "xnor", "padding": 1}
    threshold = fastconv.Threshold(lent(np.zeros(4, "i4")), lent(np.zeros(4, "?")))
    return {
        ("pack_signs", "x"): lambda: library.pack_signs(x),
        ("pack_filters", "weight"): lambda: library.pack_filters(images),
        ("xnor_matmul", "a"): lambda: library.xnor_matmul(x, lent(W.T)),
        ("xnor_matmul", "b"): lambda: library.xnor_matmul(lent(W), x),
        ("xnor_linear", "x"): lambda: library.xnor_linear(x, lent(W)),
        ("xnor_linear", "weight"): lambda: library.xnor_linear(lent(W), x, threshold=threshold),
        ("xnor_conv2d", "x"): lambda: library.xnor_conv2d(images, lent(IMAGES[:, :, :2, :2]), **options),
        ("xnor_conv2d", "weight"): lambda: library.xnor_conv2d(lent(IMAGES), images, signs=0.5),
        ("binarize_residual", "x"): lambda: library.binarize_residual(x, 2),
    }  # fmt: skip


def same_kind(x, array):
    """``array`` in the library of ``x``."""
    if isinstance(x, np.ndarray):
        return array
    if hasattr(x, "numpy"):
        import torch

        return torch.from_numpy(array.copy())
    import cupy

    return cupy.asarray(array)


ONES = {"pack_signs": 4, "pack_filters": 2}
"""Signs packed into a word, by operation."""

CALLS = list(calls(fastconv, np.ones((4, 4))))


@pytest.mark.parametrize("dtype", SMALL)
@pytest.mark.parametrize("name", CALLS, ids=map(" ".join, CALLS))
def test_unsigned_numbers_are_all_plus_one_with_a_warning(backend, name, dtype):
    x = values(0, (4, 4), dtype)
    for _ in range(2):
        with pytest.warns(UserWarning, match=rf"^{name[0]}: all signs of {name[1]} .*shift") as caught:
            actual = calls(fastconv, backend.asarray(x))[name]()
        assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(UserWarning, match=f"^{name[0]}: all signs of {name[1]}") as caught:
        expected = calls(reference, x)[name]()
    assert [warning.filename for warning in caught] == [__file__]
    for mine, theirs in zip(leaves(actual), leaves(expected), strict=True):
        np.testing.assert_allclose(backend.read(mine), theirs, rtol=1e-6)
    if name[0] in ONES:
        words = backend.asnumpy(leaves(actual)[0])
        assert (reference.popcount(words) == ONES[name[0]]).all()


def test_the_warning_is_of_the_callers_line_and_once_for_each():
    x = np.ones((2, 4), np.uint8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            fastconv.pack_signs(x)
        reference.pack_signs(x)
    lines = [warning.lineno for warning in caught]
    assert len(set(lines)) == len(lines) == 2


@pytest.mark.parametrize("name", CALLS, ids=map(" ".join, CALLS))
def test_words_are_refused_and_sent_to_where_they_belong(backend, name):
    x = values(0, (4, 4), "u8")
    for library, given in ((fastconv, backend.asarray(x)), (reference, x)):
        with pytest.raises(
            TypeError, match=rf"^{name[0]}: {name[1]} .*uint64.*PackedSigns\(words, length\)"
        ) as caught:
            calls(library, given)[name]()
        assert ("PackedFilters(words, channels, alpha)" in str(caught.value)) == (name[1] == "weight")


def test_words_of_the_other_byte_order_are_refused_too():
    with pytest.raises(TypeError, match="PackedSigns"):
        fastconv.pack_signs(np.ones((4, 4), ">u8"), zero=-1)


def test_a_warning_made_an_error_comes_before_any_work(backend):
    x = backend.asarray(np.ones((4, 4), np.uint8))
    out = np.full((3, 4), 77, np.int32)
    given = backend.asarray(out)
    with pytest.raises(UserWarning, match="xnor_matmul"):
        fastconv.xnor_matmul(same_kind(x, W), x, out=given)
    assert (backend.read(given) == 77).all()


@pytest.mark.parametrize("dtype", [*SMALL, "u8"])
def test_nothing_is_said_of_a_threshold(backend, dtype):
    x = values(0, (4, 70), dtype)
    for threshold in (0.0, np.uint8(3), 5, np.array([[1], [2], [3], [2.5]])):
        given = backend.asarray(threshold) if np.ndim(threshold) else threshold
        actual = fastconv.pack_signs(backend.asarray(x), threshold=given)
        expected = reference.pack_signs(x, threshold=threshold)
        np.testing.assert_array_equal(backend.asnumpy(actual.words), expected.words)


@pytest.mark.parametrize("dtype", SMALL)
def test_nothing_is_said_where_zero_is_minus_one(backend, dtype):
    x = values(0, (4, 2, 3, 3), dtype)
    signs = fastconv.pack_signs(backend.asarray(x), axis=1, zero=-1)
    filters = fastconv.pack_filters(backend.asarray(x), zero=-1)
    expected = reference.packbits64(np.moveaxis(x > 0, 1, -1))
    np.testing.assert_array_equal(backend.asnumpy(signs.words), expected)
    np.testing.assert_array_equal(backend.asnumpy(filters.words), expected)
    np.testing.assert_array_equal(reference.pack_filters(x, zero=-1).words, expected)


def test_nothing_is_said_of_magnitudes(backend):
    x = values(0, (1, 2, 5, 6), "u1")
    actual = backend.asnumpy(fastconv.activation_scale(backend.asarray(x), 3))
    np.testing.assert_allclose(actual, reference.activation_scale(x, 3), rtol=1e-6)
