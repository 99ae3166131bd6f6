"""conv2d where vectors run over filters: those of one group, or of groups of few channels; and where there
are too few filters for that."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from closeness import assert_same
from fastconv import conv2d, reference

FORMATS = pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])


def assert_whole_numbers_equal_reference(backend, data_format, dtype, shape, filters, kernel, options):
    """Whole numbers, whose sums are exact in any order, of images (N, C, H, W) as they are, and as
    parts of larger ones."""
    rng, (n, channels, *size) = np.random.default_rng(0), shape
    whole = rng.integers(-3, 4, (n, channels + 1, size[0] + 2, size[1] + 3)).astype(dtype)
    w = rng.integers(-2, 3, (filters, channels // options.get("groups", 1), *kernel)).astype(dtype)
    bias = rng.integers(-9, 10, filters).astype(dtype)
    part = whole[:, 1:, 1:-1, 2:-1]
    if data_format == "NHWC":
        part = np.ascontiguousarray(whole.transpose(0, 2, 3, 1))[:, 1:-1, 2:-1, 1:]
    for x in (np.ascontiguousarray(part), part):
        for terms in (bias, None):
            given = (a if a is None else backend.asarray(a) for a in (x, w, terms))
            actual = conv2d(*given, data_format=data_format, **options)
            expected = reference.conv2d(x, w, terms, data_format=data_format, **options)
            assert_same(backend.asnumpy(actual), expected)


@FORMATS
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    ("shape", "filters", "kernel", "options"),
    [
        ((1, 17, 9, 11), 16, (3, 3), {"padding": 1}),  # a block of 16 filters to a tile
        ((1, 16, 9, 11), 25, (3, 3), {"padding": 1, "stride": 2}),  # two, the last not full
        ((1, 20, 12, 5), 40, (3, 2), {"padding": ((0, 2), (1, 0))}),  # three
        ((1, 33, 6, 9), 64, (1, 1), {"stride": (1, 2)}),  # four
        ((1, 5, 9, 30), 70, (3, 3), {"padding": 1}),  # tiles of three blocks and of two
        ((1, 9, 7, 20), 300, (3, 3), {"padding": "same", "stride": (3, 1)}),  # several parts
        ((2, 3, 47, 50), 32, (7, 7), {"padding": 3, "stride": 2}),  # several bands, the last lower
        ((2, 32, 37, 40), 30, (3, 3), {"padding": 2, "dilation": 2}),
        ((13, 18, 5, 7), 33, (3, 3), {"padding": 1}),  # several images at once, and the last alone
        ((70, 16, 4, 4), 16, (3, 3), {"padding": 1}),
        ((3, 36, 5, 6), 50, (2, 3), {"padding": 1, "groups": 2}),
        ((2, 20, 8, 9), 10, (3, 3), {"padding": 1, "stride": 2, "groups": 5}),  # lanes of nobody
        ((2, 7, 40, 3), 18, (3, 3), {"padding": (1, 3), "stride": (1, 2)}),
        ((1, 200, 3, 4), 17, (3, 3), {"padding": 1}),  # sums of several runs of products
    ],
)
def test_layers_with_vectors_of_filters_equal_reference(
    backend, data_format, dtype, shape, filters, kernel, options
):
    assert_whole_numbers_equal_reference(backend, data_format, dtype, shape, filters, kernel, options)


@FORMATS
@given(data=st.data())
def test_layers_of_few_filters_equal_reference(backend, data_format, data):
    """Vectors run over the pixels of long rows, or columns."""
    draw, few = data.draw, st.integers(0, 5)
    kernel, dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), draw(st.sampled_from([1, 1, 2]))
    size = [5 + draw(few), 28 + 5 * draw(few)]
    if draw(st.booleans()):
        size.reverse()
    shape = 1 + draw(st.integers(0, 1)), 2 + draw(few), *size
    options = {"padding": draw(st.integers(0, 1)), "dilation": dilation}
    dtype, filters = draw(st.sampled_from(["f4", "f8"])), 1 + draw(few)
    assert_whole_numbers_equal_reference(backend, data_format, dtype, shape, filters, kernel, options)


@FORMATS
@pytest.mark.parametrize("dtype", ["i2", "f2", "f4", "f8"])
@pytest.mark.parametrize("deep", [2, 4, 8])
@pytest.mark.parametrize(
    ("groups", "size", "kernel", "options"),
    [
        (8, (9, 11), (3, 3), {"padding": 1}),
        (9, (9, 6), (3, 2), {"padding": ((0, 2), (1, 0)), "stride": 2}),  # blocks that overlap
        (10, (30, 33), (3, 3), {"padding": 2, "dilation": (2, 1)}),
        (8, (9, 8), (8, 7), {"padding": 3}),  # several chains of products
        (12, (2, 3), (2, 2), {}),  # fewer pixels than a tile has
    ],
)
def test_layers_in_groups_of_few_channels_equal_reference(
    backend, data_format, dtype, deep, groups, size, kernel, options
):
    shape, options = (2, groups * deep, *size), options | {"groups": groups}
    assert_whole_numbers_equal_reference(backend, data_format, dtype, shape, groups * deep, kernel, options)


@FORMATS
@pytest.mark.parametrize(("groups", "filters"), [(1, 48), (16, 64)])
def test_what_no_kernel_can_read_is_computed_some_other_way(backend, data_format, groups, filters):
    shape = (2, 64, 6, 7) if data_format == "NCHW" else (2, 6, 7, 64)
    x = np.arange(2 * 64 * 42, dtype="f4").reshape(shape) % 7
    memory = np.zeros(x.nbytes + 1, np.uint8)
    shifted = memory[1:].view("f4").reshape(shape)  # at an address that is no multiple of 4
    shifted[...] = x
    w = np.arange(filters * 64 // groups * 9, dtype="f4").reshape(filters, -1, 3, 3) % 5
    options = {"padding": 1, "groups": groups, "data_format": data_format}
    expected = reference.conv2d(x, w, **options)
    for image in (shifted, x.astype(">f4")):
        assert_same(backend.asnumpy(conv2d(backend.asarray(image), backend.asarray(w), **options)), expected)


@FORMATS
@pytest.mark.parametrize(("groups", "filters"), [(1, 20), (32, 32), (8, 32)])
@pytest.mark.parametrize("size", [(3, 3), (5, 7)])  # which are not full tiles
def test_nothing_is_written_beyond_a_result(data_format, groups, filters, size):
    x = np.ones((2, 32, *size) if data_format == "NCHW" else (2, *size, 32), "f4")
    w = np.ones((filters, 32 // groups, 1, 1), "f4")
    memory = np.full(2 * filters * size[0] * size[1] + 1000, -1, "f4")
    out = memory[:-1000].reshape((2, filters, *size) if data_format == "NCHW" else (2, *size, filters))
    conv2d(x, w, groups=groups, data_format=data_format, out=out)
    assert (out == 32 // groups).all()
    assert (memory[-1000:] == -1).all()
