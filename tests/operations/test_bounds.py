"""The bounds of scaled results are narrow: a thousandth in one scale, bias, alpha or K is found.

The implementation is given a wrong argument, its reference the right one; the comparison has to refuse that.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binary_calls import assert_result, expected_of_convolution, expected_of_linear, to_backend
from closeness import assert_close, assert_same, assert_within
from fastconv import PackedFilters, activation_scale, pack_filters, reference, xnor_conv2d, xnor_linear
from strategies import seeds, values

ERROR = 1e-3


def wrong_at(x, index):
    """``x`` but for one number, or for those of a slice."""
    x = np.array(x)
    x[index] += ERROR * np.maximum(np.abs(x[index]), 1)
    return x


@st.composite
def layers(draw, most_taps=3):
    """Images, weight and options of sums that are odd, and so never 0, which would hide every scale."""
    groups = draw(st.sampled_from([1, 1, 2, 3, 9]))
    channels, filters = draw(st.sampled_from([1, 3, 63, 65])), draw(st.sampled_from([1, 2, 9, 64, 65]))
    if groups > 1:
        channels, filters = min(channels, 63), min(filters, 9)
    kernel = draw(st.tuples(*[st.sampled_from(range(1, most_taps + 1, 2))] * 2))
    options = {"padding": draw(st.integers(0, 1)), "stride": draw(st.integers(1, 2)), "groups": groups}
    width = draw(st.sampled_from([5, 20]))
    x = nowhere_zero(draw(seeds), (2, groups * channels, 5, width), draw(st.sampled_from(["f4", "f8"])))
    weight = nowhere_zero(draw(seeds), (groups * filters, channels, *kernel), "f4", magnitude=1.0)
    return x, weight, options | {"pad_value": draw(st.sampled_from([1, -1]))}


def nowhere_zero(seed, shape, dtype="f4", **options):
    """Numbers of which none is 0, so that no alpha and no K is."""
    return values(seed, shape, dtype, **options) + np.dtype(dtype).type(0.25)


def terms_of(weight):
    return int(np.prod(weight.shape[1:]))


def assert_refused(backend, actual, expected, bound):
    with pytest.raises(AssertionError, match="differ"):
        assert_result(backend, actual, expected, bound)


@given(st.data(), layers(), st.sampled_from(["scale", "bias"]), st.sampled_from([None, "alpha", "xnor"]))
def test_a_wrong_scale_or_bias_of_one_filter_is_found(backend, data, drawn, name, other):
    x, weight, options = drawn
    output = {name: values(data.draw(seeds), (len(weight),), "f4", magnitude=1.0)}
    if name == "bias" and other:
        output["scale"] = other
    wrong = output | {name: wrong_at(output[name], data.draw(st.integers(0, len(weight) - 1)))}
    arguments = {key: to_backend(backend, value) for key, value in wrong.items()}
    actual = xnor_conv2d(backend.asarray(x), backend.asarray(weight), **options, **arguments)
    assert_refused(backend, actual, *expected_of_convolution(x, weight, options | output, terms_of(weight)))


@given(st.data(), layers(), st.sampled_from(["alpha", "xnor"]))
def test_a_wrong_alpha_of_one_filter_is_found(backend, data, drawn, scale):
    x, weight, options = drawn
    filters = reference.pack_filters(weight)
    wrong = wrong_at(filters.alpha, data.draw(st.integers(0, len(weight) - 1)))
    given_filters = to_backend(backend, PackedFilters(filters.words, filters.channels, wrong))
    actual = xnor_conv2d(backend.asarray(x), given_filters, scale=scale, **options)
    expected = expected_of_convolution(x, filters, options | {"scale": scale}, terms_of(weight))
    assert_refused(backend, actual, *expected)


@given(st.data(), layers())
def test_a_wrong_k_of_one_group_is_found(backend, data, drawn):
    x, weight, options = drawn
    group = data.draw(st.integers(0, options["groups"] - 1))
    channels = weight.shape[1]
    wrong = x.copy()
    wrong[data.draw(st.integers(0, 1)), group * channels : (group + 1) * channels] *= 1 + ERROR
    actual = xnor_conv2d(backend.asarray(wrong), backend.asarray(weight), scale="xnor", **options)
    expected = expected_of_convolution(x, weight, options | {"scale": "xnor"}, terms_of(weight))
    assert_refused(backend, actual, *expected)


@given(st.data(), layers(most_taps=1))
def test_a_wrong_k_of_one_pixel_is_found(backend, data, drawn):
    x, weight, options = drawn
    options |= {"stride": 1}
    group = data.draw(st.integers(0, options["groups"] - 1))
    place = data.draw(st.integers(0, 1)), data.draw(st.integers(0, 4)), data.draw(st.integers(0, 4))
    channels = weight.shape[1]
    wrong = x.copy()
    wrong[place[0], group * channels : (group + 1) * channels, *place[1:]] *= 1 + ERROR
    actual = xnor_conv2d(backend.asarray(wrong), backend.asarray(weight), scale="xnor", **options)
    expected = expected_of_convolution(x, weight, options | {"scale": "xnor"}, channels)
    assert_refused(backend, actual, *expected)
    k = activation_scale(backend.asarray(wrong), 1, groups=options["groups"])
    right = reference.activation_scale(x, 1, groups=options["groups"])
    with pytest.raises(AssertionError, match="differ"):
        assert_close(backend.asnumpy(k), right, right, channels)


@given(st.data(), seeds, st.sampled_from([1, 3, 65]), st.sampled_from([1, 9, 70]))
def test_a_wrong_number_of_a_linear_layer_is_found(backend, data, seed, features, outputs):
    x, weight = (
        nowhere_zero(seed, (3, features)),
        nowhere_zero(seed + 1, (outputs, features)),
    )
    kind = data.draw(st.sampled_from(["scale", "bias", "alpha", "K"]))
    index = data.draw(st.integers(0, outputs - 1))
    filters = reference.pack_filters(weight[:, :, None, None])
    output = {kind: values(seed + 2, (outputs,), "f4")} if kind in ("scale", "bias") else {}
    given_x, given_filters, arguments = x, filters, dict(output)
    if kind == "alpha":
        output = arguments = {"scale": "alpha"}
        given_filters = PackedFilters(filters.words, features, wrong_at(filters.alpha, index))
    elif kind == "K":
        output = arguments = {"scale": "xnor"}
        given_x = x.copy()
        given_x[data.draw(st.integers(0, 2))] *= np.float32(1 + ERROR)
    else:
        arguments[kind] = wrong_at(output[kind], index)
    arguments = {key: to_backend(backend, value) for key, value in arguments.items()}
    actual = xnor_linear(backend.asarray(given_x), to_backend(backend, given_filters), **arguments)
    assert_refused(backend, actual, *expected_of_linear(x, filters, output, features))


@given(layers(), st.data())
def test_a_wrong_weight_shows_in_alpha(backend, drawn, data):
    weight = drawn[1]
    wrong = weight.copy()
    index = data.draw(st.integers(0, len(weight) - 1))
    wrong[index] *= np.float32(1 + ERROR)
    actual, expected = pack_filters(backend.asarray(wrong)), reference.pack_filters(weight)
    assert_same(backend.asnumpy(actual.words), expected.words)
    with pytest.raises(AssertionError, match="differ"):
        assert_close(backend.asnumpy(actual.alpha), expected.alpha, expected.alpha, 1)


def test_each_element_has_a_bound_of_its_own():
    expected = np.array([1e-3, 1e6], np.float32)
    for actual in (np.array([1.01e-3, 1e6], np.float32), np.array([1e-3, 1.00001e6], np.float32)):
        with pytest.raises(AssertionError, match="1 of 2 differ"):
            assert_within(actual, expected, 1e-6 * expected)
    with pytest.raises(AssertionError):
        assert_within(np.array([np.nan, 1e6], np.float32), expected, expected)
