"""What magnitudes become beside signs: K, alpha, and several bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binary_calls import CHANNELS, FILTERS, assert_result
from closeness import assert_close, assert_same
from fastconv import activation_scale, binarize_residual, pack_filters, reference
from strategies import FEW, REAL, SIGNED, arrays, seeds, shapes, tall_windows, values, windows


@given(st.data(), windows() | tall_windows(), st.integers(1, 3))
def test_activation_scale_equals_reference(backend, data, drawn, groups):
    size, kernel, options = drawn
    rank = data.draw(st.integers(2, 4))
    groups = groups if rank > 2 else 1
    channels = data.draw(st.integers(1, 3))
    full = (data.draw(st.integers(1, 2)), groups * channels, *size)
    x = data.draw(arrays(full[4 - rank :], REAL, special=FEW))
    options |= {"groups": groups}
    if rank > 2 and data.draw(st.booleans()):
        x, options = np.moveaxis(x, -3, -1), options | {"data_format": "NHWC"}
    actual = activation_scale(backend.asarray(x), kernel, **options)
    with np.errstate(all="ignore"):
        expected = reference.activation_scale(x, kernel, **options)
    assert_close(backend.asnumpy(actual), expected, expected, kernel[0] * kernel[1] * channels)


def test_activation_scale_is_the_mean_of_absolute_values(backend):
    x = values(0, (6, 7), "f8")
    actual = backend.asnumpy(activation_scale(backend.asarray(x), (2, 3)))
    patches = np.lib.stride_tricks.sliding_window_view(np.abs(x), (2, 3))
    np.testing.assert_allclose(actual, patches.mean(axis=(-1, -2)), rtol=1e-14)


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8", "<f4", ">i4"])
@pytest.mark.parametrize("channels", [2, 40])
def test_scale_of_any_byte_order_equals_reference(dtype, channels):
    x = np.random.default_rng(0).integers(-9, 9, (2, channels, 5, 6)).astype(dtype)
    expected = reference.activation_scale(x, 3, padding=1)
    np.testing.assert_allclose(activation_scale(x, 3, padding=1), expected, rtol=1e-6)


def test_scale_of_huge_numbers_is_finite():
    x = np.full((1, 2), 3e38, np.float32)
    np.testing.assert_array_equal(activation_scale(x, (1, 2)), reference.activation_scale(x, (1, 2)))


@given(st.data())
def test_pack_filters_equals_reference(backend, data):
    shape = data.draw(st.tuples(*(st.sampled_from(n) for n in (FILTERS, CHANNELS, (1, 2), (1, 3)))))
    w, zero = data.draw(arrays(shape, SIGNED)), data.draw(st.sampled_from([1, -1]))
    actual, expected = pack_filters(backend.asarray(w), zero=zero), reference.pack_filters(w, zero=zero)
    assert actual.shape == expected.shape == w.shape
    assert_same(backend.asnumpy(actual.words), expected.words)
    assert_close(backend.asnumpy(actual.alpha), expected.alpha, expected.alpha, 1)


@given(st.data(), st.integers(1, 4))
def test_residual_terms_equal_reference(backend, data, bits):
    x = data.draw(arrays(data.draw(shapes(1, 3, (1, 3, 65))), SIGNED))
    axis = data.draw(st.none() | st.integers(-x.ndim, x.ndim - 1))
    actual = binarize_residual(backend.asarray(x), bits, axis=axis)
    expected = reference.binarize_residual(x, bits, axis=axis)
    assert len(actual) == len(expected) == bits
    for (scale, signs), (expected_scale, expected_signs) in zip(actual, expected, strict=True):
        assert scale.shape == (() if axis is None else (x.shape[axis],))
        assert_same(backend.asnumpy(scale), expected_scale)
        assert_result(backend, signs, expected_signs)


@given(seeds, st.integers(1, 5))
def test_each_residual_term_brings_the_sum_closer(backend, seed, bits):
    x = values(seed, (4, 33), "f8")
    rest, errors = x.copy(), [np.square(x).mean()]
    for scale, signs in binarize_residual(backend.asarray(x), bits):
        np.testing.assert_allclose(float(scale), np.abs(rest).mean())
        rest -= float(scale) * backend.asnumpy(signs.unpack())
        errors.append(np.square(rest).mean())
    assert errors == sorted(errors, reverse=True)
