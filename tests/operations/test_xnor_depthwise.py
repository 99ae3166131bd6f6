"""Depthwise binary convolution, and groups of a few channels: what draws of any layer meet too seldom."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binary_calls import (
    assert_result,
    convolutions,
    expected_of_convolution,
    given_forms,
    threshold,
    to_backend,
)
from epilogue_cases import Case
from epilogue_cases import check as check_case
from fastconv import Threshold, pack_signs, reference, xnor_conv2d
from fastconv.cpu.xnor import depthwise, strips
from plans import planned_anew
from strategies import few, values

EDGES = np.iinfo(np.int32).min, np.iinfo(np.int32).max


def check(backend, x, weight, **options):
    """Integers and signs are the reference's."""
    for ending in ({}, {"threshold": threshold(3, len(weight), int(np.prod(weight.shape[1:])))}):
        given = {name: to_backend(backend, value) for name, value in (options | ending).items()}
        actual = xnor_conv2d(backend.asarray(x), backend.asarray(weight), **given)
        assert_result(backend, actual, reference.xnor_conv2d(x, weight, **options, **ending))


@pytest.mark.parametrize("pad_value", [0, 1, -1])
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("channels", "size"),
    [
        (64, (5, 7)),
        (64, (4, 70)),
        (128, (14, 14)),
        (200, (3, 33)),
        (512, (7, 7)),
        (1100, (4, 4)),
        (70, (9, 1)),
    ],
)
def test_words_of_one_pixel_and_of_several_in_a_vector(backend, channels, size, data_format, pad_value):
    x, weight = values(0, (2, channels, *size), "f4"), values(1, (channels, 1, 3, 3), "f4")
    x = x if data_format == "NCHW" else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    for padding in (1, ((0, 2), (3, 1))):
        options = {"padding": padding, "groups": channels, "data_format": data_format}
        check(backend, x, weight, pad_value=pad_value, **options)


@pytest.mark.parametrize("stride", [1, 2])
def test_rows_longer_than_a_strip_and_images_higher(backend, stride):
    for size in ((3, 2 * strips.STRIP_COLUMNS + 30), (strips.STRIP_WORDS // 20, 9)):
        x, weight = values(0, (1, 130, *size), "f4"), values(1, (130, 1, 3, 3), "f4")
        check(backend, x, weight, padding=1, groups=130, stride=stride)


@pytest.mark.parametrize(
    "kernel", [(1, 1), (3, 5), (4, 4), (15, 17), (16, 16), (63, 65), (64, 64)], ids=lambda kernel: str(kernel)
)
@pytest.mark.parametrize("pad_value", [0, 1])
def test_as_many_terms_as_slices_hold_and_one_more(backend, kernel, pad_value):
    """Also where all signs agree, or none: sums are the largest and the least there are."""
    rows, columns = kernel
    size = rows + 1, columns + 2
    weight = values(1, (70, 1, *kernel), "f4")
    weight[:2], weight[2:4] = 1, -1
    x = values(0, (1, 70, *size), "f4")
    x[:, :4] = 1
    check(backend, x, weight, padding=1, groups=70, pad_value=pad_value)


@pytest.mark.parametrize("channels", [1, 2, 4, 8])
@pytest.mark.parametrize("multiplier", [1, 2, 4, 8, 64])
def test_groups_of_few_channels_and_of_more_filters(backend, channels, multiplier):
    groups, filters = max(150 // (channels * multiplier), 3), channels * multiplier
    x = values(0, (2, groups * channels, 5, 6), "f4")
    weight = values(1, (groups * filters, channels, 3, 2), "f4")
    check(backend, x, weight, padding=1, groups=groups)
    check(backend, x, weight, padding=1, groups=groups, stride=2, pad_value=1, data_format="NCHW")


@pytest.mark.parametrize("kernel", [(3, 3), (4, 5)])
@pytest.mark.parametrize("pad_value", [0, -1])
def test_thresholds_at_every_sum_and_beyond(backend, kernel, pad_value):
    terms = kernel[0] * kernel[1]
    limits = np.array(
        [EDGES[0], EDGES[0] + 1, *range(-terms - 2, terms + 3), EDGES[1] - 1, EDGES[1]], np.int32
    )
    tau = np.repeat(limits, 4)
    flip = np.resize([False, False, True], tau.size)
    x, weight = values(0, (1, tau.size, 6, 9), "f4"), values(1, (tau.size, 1, *kernel), "f4")
    x[:, ::4] = np.where(weight[::4, 0, :1, :1] >= 0, 1, -1)[:, 0, 0][None, :, None, None]
    weight[::4] = weight[::4, :, :1, :1]  # of these filters, signs inside all agree
    options = {"padding": 2, "groups": tau.size, "pad_value": pad_value}
    bits = Threshold(tau, flip)
    actual = xnor_conv2d(
        backend.asarray(x), backend.asarray(weight), threshold=to_backend(backend, bits), **options
    )
    assert_result(backend, actual, reference.xnor_conv2d(x, weight, threshold=bits, **options))


@few
@pytest.mark.parametrize("backend", ["numpy"], indirect=True)
@given(st.data())
def test_tiles_and_blocks_of_any_size_equal_reference(backend, data):
    call = data.draw(convolutions(("integers", "signs", "alpha and bias"), ("depthwise",)))
    x, weight, data_format = data.draw(given_forms(call))
    with planned_anew(), pytest.MonkeyPatch.context() as patch:
        for module, name, sizes in (
            (strips, "STRIP_WORDS", [1, 200]),
            (strips, "STRIP_COLUMNS", [1, 5, 40]),
            (depthwise, "BLOCK_WORDS", [1, 16, 100]),
            (depthwise, "SMALL_WORDS", [0, 2**30]),
        ):
            patch.setattr(module, name, data.draw(st.sampled_from(sizes)))
        actual = xnor_conv2d(x, weight, data_format=data_format, **call.options)
    expected = expected_of_convolution(x, weight, call.options, call.terms, data_format)
    assert_result(backend, actual, *expected)


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("signed", [False, True], ids=["numbers", "numbers and signs"])
@pytest.mark.parametrize("channels", [64, 96, 130])
@pytest.mark.parametrize("width", [5, 70])
def test_every_step_may_follow(backend, width, channels, signed, data_format):
    last = data_format == "NHWC"
    x, weight = values(0, (2, channels, 3, width), "f4"), values(1, (channels, 1, 3, 3), "f4", magnitude=1.0)
    residual = values(2, (2, channels, 3, width), "f4")
    x, residual = (np.moveaxis(a, 1, -1) if last else a for a in (x, residual))
    plain = {"groups": channels, "padding": 1, "data_format": data_format}
    activation = [("prelu", values(3, (channels,), "f4")), ("clamp", -9.0, 9.0), "relu", ("shift", 0.5)]
    ending = {"scale": "xnor", "residual": residual, "activation": activation} | (
        {"signs": 2.0} if signed else {}
    )
    for pad_value in (0, 1):
        case = Case(x, weight, plain | {"pad_value": pad_value}, ending, -1 if last else -3)
        check_case(backend, case, case.run(backend, xnor_conv2d), reference.xnor_conv2d)


def test_packed_images_are_read_where_they_lie(backend):
    x, weight = values(0, (2, 96, 8, 9), "f4"), values(1, (96, 1, 3, 3), "f4")
    options = {"padding": "same", "groups": 96, "stride": 2, "dilation": 2}
    actual = xnor_conv2d(pack_signs(backend.asarray(x), axis=1), backend.asarray(weight), **options)
    assert_result(backend, actual, reference.xnor_conv2d(x, weight, **options))
