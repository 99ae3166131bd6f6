"""Binary convolution: against the reference, PyTorch, and by algebra."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binary_calls import (
    GROUPINGS,
    OUTPUTS,
    assert_result,
    convolutions,
    expected_of_convolution,
    given_forms,
    outputs_of,
    threshold,
    to_backend,
)
from fastconv import PackedSigns, hamming_distance, pack_filters, reference, xnor_conv2d
from strategies import FLOATS, SIGNED, arrays, few, seeds, symmetric_paddings, values, windows


def converted(backend, options):
    return {name: to_backend(backend, value) for name, value in options.items()}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("grouping", GROUPINGS)
@few
@given(st.data())
def test_conv2d_equals_reference(backend, output, grouping, data):
    call = data.draw(convolutions((output,), (grouping,)))
    x, weight, data_format = data.draw(given_forms(call))
    with np.errstate(all="ignore"):
        actual = xnor_conv2d(
            *(to_backend(backend, operand) for operand in (x, weight)),
            data_format=data_format,
            **converted(backend, call.options),
        )
    assert_result(backend, actual, *expected_of_convolution(x, weight, call.options, call.terms, data_format))


@given(st.data(), windows())
def test_one_image_equals_reference(backend, data, drawn):
    size, kernel, options = drawn
    x, weight = data.draw(arrays(size, SIGNED)), data.draw(arrays(kernel, FLOATS))
    options |= {"pad_value": data.draw(st.sampled_from([0, 1, -1]))}
    options |= data.draw(outputs_of(1, kernel[0] * kernel[1]))
    actual = xnor_conv2d(backend.asarray(x), backend.asarray(weight), **converted(backend, options))
    expected, bound = expected_of_convolution(x, weight, options, weight.size)
    assert_result(backend, actual, expected, bound)
    if "threshold" not in options:
        assert expected.ndim == 2


@given(
    seeds,
    windows(padding=symmetric_paddings),
    st.sampled_from([1, 2, 5]),
    st.integers(1, 2),
    st.sampled_from([0, 1, -1]),
)
def test_reference_conv2d_equals_pytorch(torch, seed, drawn, channels, groups, pad_value):
    size, kernel, options = drawn
    x = values(seed, (2, groups * channels, *size), "f4")
    w = values(seed + 1, (3 * groups, channels, *kernel), "f4")
    signs_x, signs_w = (np.where(a >= 0, 1.0, -1.0) for a in (x, w))
    rows, columns = np.broadcast_to(options["padding"], 2).tolist()
    padded = np.pad(signs_x, [(0, 0), (0, 0), (rows, rows), (columns, columns)], constant_values=pad_value)
    expected = torch.nn.functional.conv2d(
        torch.from_numpy(padded),
        torch.from_numpy(signs_w),
        groups=groups,
        stride=options["stride"],
        dilation=options["dilation"],
    )
    actual = reference.xnor_conv2d(x, w, groups=groups, pad_value=pad_value, **options)
    np.testing.assert_array_equal(actual, expected)


@given(convolutions(outputs=("integers",)))
def test_padding_with_nothing_is_the_mean_of_padding_with_either_sign(backend, call):
    options = call.place | {"padding": 3}
    x, weight = backend.asarray(call.x), backend.asarray(call.weight)
    zero, plus, minus = (
        backend.asnumpy(xnor_conv2d(x, weight, **(options | {"pad_value": value}))) for value in (0, 1, -1)
    )
    np.testing.assert_array_equal(2 * zero, plus + minus)


@given(convolutions(outputs=("integers",)))
def test_grouped_convolution_is_one_convolution_for_each_group(backend, call):
    options = dict(call.place)
    groups = options.pop("groups")
    x, weight = backend.asarray(call.x), backend.asarray(call.weight)
    whole = backend.asnumpy(xnor_conv2d(x, weight, groups=groups, **options))
    parts = [
        backend.asnumpy(xnor_conv2d(backend.asarray(a), backend.asarray(b), **options))
        for a, b in zip(np.split(call.x, groups, axis=1), np.split(call.weight, groups), strict=True)
    ]
    np.testing.assert_array_equal(whole, np.concatenate(parts, axis=1))


@pytest.mark.parametrize("channels", [5, 64, 66])
@pytest.mark.parametrize("filters", [2, 9, 33])
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_groups_that_fill_no_word_and_no_vector_equal_reference(backend, channels, filters, data_format):
    x = values(0, (2, 3 * channels, 5, 6), "f4")
    x = x if data_format == "NCHW" else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    weight = values(1, (3 * filters, channels, 3, 2), "f4", magnitude=1.0)
    for output in ({}, {"scale": "xnor"}, {"threshold": threshold(2, 3 * filters, 6 * channels)}):
        options = {"groups": 3, "padding": ((1, 0), (0, 1)), "pad_value": 1} | output
        operands = backend.asarray(x), backend.asarray(weight)
        actual = xnor_conv2d(*operands, data_format=data_format, **converted(backend, options))
        expected = expected_of_convolution(x, weight, options, 6 * channels, data_format)
        assert_result(backend, actual, *expected)


def test_packed_images_of_padding_alone(backend):
    signs = PackedSigns(backend.asarray(np.zeros((1, 0, 0, 1), np.uint64)), 13)
    weight = backend.asarray(np.ones((8, 13, 1, 1), np.float32))
    sums = backend.asnumpy(xnor_conv2d(signs, weight, padding=1, pad_value=1))
    assert (sums == np.full((1, 8, 2, 2), 13)).all()


@pytest.mark.parametrize("channels", [1, 12, 65, 200])
@pytest.mark.parametrize("sign", [1, -1])
def test_equal_signs_add_up_to_their_number(backend, channels, sign):
    x, w = np.ones((1, channels, 5, 40), np.float32), np.full((2, channels, 3, 3), sign, np.float32)
    sums = backend.asnumpy(xnor_conv2d(backend.asarray(x), backend.asarray(w)))
    assert (sums == sign * 9 * channels).all()
    one = backend.asnumpy(xnor_conv2d(backend.asarray(x), backend.asarray(w[:1])))
    assert (one == sign * 9 * channels).all()


@given(seeds, st.sampled_from([1, 3, 64, 65]), st.integers(0, 3))
def test_words_of_zeros_on_both_sides_change_nothing(backend, seed, length, extra):
    a, b = (reference.pack_signs(values(seed + i, (length,), "f4")).words for i in range(2))
    longer = [backend.asarray(np.concatenate([words, np.zeros(extra, np.uint64)])) for words in (a, b)]
    expected = reference.xnor_matmul(PackedSigns(a, length), PackedSigns(b, length))
    assert length - 2 * int(hamming_distance(*longer)) == int(expected)


def test_filters_pickle_and_serve_again(backend):
    x, w = backend.asarray(values(0, (1, 70, 6, 6), "f4")), backend.asarray(values(1, (9, 70, 3, 3), "f4"))
    filters = pack_filters(w)
    y = xnor_conv2d(x, filters, padding=1)
    again = pickle.loads(pickle.dumps(filters))
    assert len(pickle.dumps(filters)) < filters.nbytes + 1000  # not what the kernels derived from it
    np.testing.assert_array_equal(backend.asnumpy(xnor_conv2d(x, again, padding=1)), backend.asnumpy(y))


@given(convolutions(outputs=("integers",)))
def test_filters_serve_calls_of_every_padding_in_turn(backend, call):
    """What is derived from filters for one call is not taken for another."""
    filters, x = pack_filters(backend.asarray(call.weight)), backend.asarray(call.x)
    for pad_value, padding in ((0, 3), (1, 3), (-1, 3), (0, ((3, 4), (5, 3)))):
        options = call.place | {"pad_value": pad_value, "padding": padding}
        expected = reference.xnor_conv2d(call.x, call.weight, **options)
        assert_result(backend, xnor_conv2d(x, filters, **options), expected)


@pytest.mark.parametrize("channels", [1, 64])
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_rows_longer_than_a_workers_scratch_equal_reference(backend, channels, data_format):
    shape = (1, channels, 3, 3000) if data_format == "NCHW" else (1, 3, 3000, channels)
    x, w = values(0, shape, "f4"), values(1, (2, channels, 3, 3), "f4")
    actual = xnor_conv2d(backend.asarray(x), backend.asarray(w), padding=1, data_format=data_format)
    assert_result(backend, actual, reference.xnor_conv2d(x, w, padding=1, data_format=data_format))
