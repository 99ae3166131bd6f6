"""Nothing in, or nothing out: every operation gives an array of the right shape, and never fails."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv
from binary_calls import assert_result, outputs_of, to_backend
from closeness import assert_same
from fastconv import reference
from right_calls import leaves
from strategies import INTEGERS, arrays, empty_shapes, values, windows

pytestmark = pytest.mark.empties


def both(backend, name, *operands, **options):
    """What an operation gives, and what its reference does, as arrays of NumPy."""
    given_options = {key: to_backend(backend, value) for key, value in options.items()}
    actual = getattr(fastconv, name)(*(to_backend(backend, x) for x in operands), **given_options)
    expected = getattr(reference, name)(*operands, **options)
    return [backend.asnumpy(leaf) for leaf in leaves(actual)], leaves(expected)


def assert_alike(backend, name, *operands, **options):
    for actual, expected in zip(*both(backend, name, *operands, **options), strict=True):
        assert_same(actual, np.asarray(expected))


@given(st.data())
def test_bits_of_nothing(backend, data):
    x = data.draw(arrays(data.draw(empty_shapes()), INTEGERS))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    assert_alike(backend, "popcount", x)
    assert_alike(backend, "popcount_sum", x, axis=data.draw(st.sampled_from([None, axis])))
    assert_alike(backend, "packbits64", x, axis=axis)
    assert_alike(backend, "pack_signs", x, axis=axis, threshold=1)
    words = x.astype(np.uint64)
    assert_alike(backend, "unpackbits64", words, axis=axis, count=0)
    assert_alike(backend, "hamming_distance", words, words)
    assert_alike(
        backend, "binarize_residual", x.astype(np.int64), 2, axis=data.draw(st.sampled_from([None, axis]))
    )


def test_unpacking_no_bits_of_some_words(backend):
    assert_alike(backend, "unpackbits64", np.ones((3, 2), np.uint64), count=0)


@given(st.data(), st.sampled_from(["full", "same"]), st.sampled_from(["i2", "f2", "f4", "c8"]))
def test_images_without_pixels(backend, data, mode, dtype):
    x = values(0, (2, *data.draw(st.sampled_from([(0, 3), (3, 0), (0, 0)]))), dtype)
    w = values(1, data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), dtype)
    for name in ("correlate2d", "convolve2d"):
        assert_alike(backend, name, x, w, mode)


@given(st.data(), windows(), st.sampled_from(["images", "channels", "filters"]))
def test_layers_of_nothing(backend, data, drawn, missing):
    size, kernel, place = drawn
    n, groups = int(missing != "images"), data.draw(st.integers(1, 2))
    channels, filters = 3 * groups * (missing != "channels"), 4 * groups * (missing != "filters")
    x = values(0, (n, channels, *size), "f4")
    w = values(1, (filters, channels // groups, *kernel), "f4")
    output = data.draw(outputs_of(filters, channels // groups))
    assert_alike(backend, "conv2d", x, w, groups=groups, **place)
    assert_alike(backend, "xnor_conv2d", x, w, groups=groups, **place, **output)
    assert_alike(backend, "pack_filters", w)
    assert_alike(backend, "activation_scale", x, kernel, groups=groups, **place)
    cols = reference.im2col(x, kernel, **place)
    assert_alike(backend, "im2col", x, kernel, **place)
    assert_alike(backend, "col2im", cols, size, kernel, **place)
    signs = reference.pack_signs(x, axis=1)
    pooling = {"stride": place["stride"], "padding": place["padding"]}
    pooled = fastconv.binary_max_pool2d(to_backend(backend, signs), kernel, **pooling)
    assert_result(backend, pooled, reference.binary_max_pool2d(signs, kernel, **pooling))


@given(st.data(), st.tuples(*[st.sampled_from([0, 3, 65])] * 3))
def test_products_of_nothing(backend, data, sizes):
    missing = data.draw(st.integers(0, 2))
    m, k, n = (0 if i == missing else length for i, length in enumerate(sizes))
    assert_alike(backend, "xnor_matmul", values(0, (m, k), "f4"), values(1, (k, n), "f4"))
    output = data.draw(outputs_of(n, k))
    assert_alike(backend, "xnor_linear", values(0, (m, k), "f4"), values(1, (n, k), "f4"), **output)


def test_no_channels_fold(backend):
    assert_alike(backend, "fold_batchnorm", *[np.zeros(0, np.float32)] * 4, n=9)


def test_every_operation_is_among_these():
    named = inspect.getsource(inspect.getmodule(assert_alike))
    assert all(f'"{name}"' in named or f".{name}(" in named for name in reference.__all__)
