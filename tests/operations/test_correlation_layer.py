"""conv2d, the layer of real numbers: against the reference and PyTorch."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from closeness import assert_close, assert_same
from fastconv import conv2d, reference
from plans import planned_anew
from strategies import COMPLEX, FEW, arrays, few, seeds, symmetric_paddings, tall_windows, values, windows

CHANNELS, FILTERS = (1, 2, 3, 5, 17), (1, 2, 3, 7, 8, 9, 17)
"""Of a group."""


@st.composite
def layers(draw, dtypes, grouping, with_bias):
    """Input, weight, bias, options and format."""
    groups = draw(st.sampled_from([2, 3])) if grouping == "groups" else 1
    if grouping == "depthwise":
        channels = groups = draw(st.sampled_from([2, 9, 16, 17, 40]))
        filters = groups * draw(st.integers(1, 2))
    else:
        channels, filters = (groups * draw(st.sampled_from(sizes)) for sizes in (CHANNELS, FILTERS))
    room = (8, 66) if channels * filters // groups <= 50 else (3, 17)
    size, kernel, options = draw(windows(room=room) | tall_windows(room=room))
    if draw(st.integers(0, 3)) == 0:  # a product of matrices: one pixel under a window, or one window
        options = {"padding": draw(st.sampled_from([0, "valid"]))}
        kernel = draw(st.sampled_from([(1, 1), kernel]))
        pixels = tuple(max(n, 1) for n in size)
        size = draw(st.sampled_from([pixels, (1, 1)])) if kernel == (1, 1) else kernel
    data_format = draw(st.sampled_from(["NCHW", "NHWC"]))
    full = (draw(st.integers(1, 2)), channels, *size)
    if data_format == "NHWC":
        full = (full[0], *size, channels)
    dtype = draw(st.sampled_from(dtypes))
    # A matrix product of complex infinities may have NaN in other places.
    special = FEW if dtype[0] == "f" else 0
    x = draw(arrays(full if draw(st.booleans()) else full[1:], (dtype,), special=special))
    w = draw(arrays((filters, channels // groups, *kernel), (dtype,), magnitude=1.0))
    bias = draw(arrays((filters,), (dtype,))) if with_bias else None
    return x, w, bias, options | {"groups": groups, "data_format": data_format}


@pytest.mark.parametrize("dtypes", [("i2", "i8"), ("f2",), ("f4", "f8"), COMPLEX])
@pytest.mark.parametrize("grouping", ["whole", "groups", "depthwise"])
@pytest.mark.parametrize("with_bias", [False, True])
@few
@given(st.data())
def test_conv2d_equals_reference(backend, dtypes, grouping, with_bias, data):
    x, w, bias, options = data.draw(layers(dtypes, grouping, with_bias))
    with np.errstate(all="ignore"):
        actual = conv2d(*(a if a is None else backend.asarray(a) for a in (x, w, bias)), **options)
        expected = reference.conv2d(x, w, bias, **options)
        sizes = (None if a is None else np.abs(a).astype("f8") for a in (x, w, bias))
        sums = reference.conv2d(*sizes, **options)
    terms = w.shape[1] * w.shape[2] * w.shape[3] + 1
    assert_close(backend.asnumpy(actual), expected, sums, terms)


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["i2", "f2", "f4", "f8", "c8"])
@pytest.mark.parametrize(
    ("channels", "size", "multiplier", "kernel", "options"),
    [
        (40, (9, 40), 1, (3, 3), {"padding": 1}),  # rows that fill vectors
        (17, (14, 14), 1, (7, 7), {"padding": 3}),  # tiles that overlap, blocks of channels that do
        (24, (7, 5), 1, (3, 3), {"padding": 1}),
        (33, (6, 3), 1, (2, 3), {"padding": 1, "dilation": (2, 1)}),
        (16, (40, 33), 2, (5, 3), {"padding": ((2, 0), (1, 3)), "stride": (2, 3)}),
        (16, (19, 23), 1, (11, 12), {"padding": 2, "stride": (3, 1)}),  # several chains of products
        (3, (200, 3), 2, (9, 3), {"padding": "same"}),  # columns that fill vectors
        (20, (1, 1), 1, (3, 3), {"padding": 1}),
        (5, (20, 44), 1, (3, 4), {"padding": ((2, 0), (1, 3))}),
        (18, (60, 70), 1, (3, 1), {"dilation": (20, 1)}),
    ],
)
def test_depthwise_layers_equal_reference(
    backend, data_format, dtype, channels, size, multiplier, kernel, options
):
    rng = np.random.default_rng(0)  # whole numbers: sums are exact in any order
    x = rng.integers(-3, 4, (2, channels, *size)).astype(dtype)
    w = rng.integers(-2, 3, (multiplier * channels, 1, *kernel)).astype(dtype)
    bias = rng.integers(-9, 10, multiplier * channels).astype(dtype)
    options = options | {"groups": channels, "data_format": data_format}
    if data_format == "NHWC":
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    for image in (x, x[:, ::-1, ::-1]):
        actual = conv2d(backend.asarray(image), backend.asarray(w), backend.asarray(bias), **options)
        assert_same(backend.asnumpy(actual), reference.conv2d(image, w, bias, **options))


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["i2", "f2", "f4", "f8", "c8"])
@pytest.mark.parametrize(
    ("images", "channels", "filters", "size", "kernel", "options"),
    [
        (3, 40, 24, (1, 1), 1, {}),
        (3, 40, 24, (1, 1), 1, {"groups": 4}),
        (2, 40, 24, (5, 7), 1, {"groups": 2}),
        (2, 12, 20, (17, 19), 1, {}),
        (2, 12, 20, (17, 19), 1, {"stride": 2}),
        (3, 16, 24, (4, 5), (4, 5), {}),  # a window that sees all of an image
        (3, 16, 24, (4, 5), (4, 5), {"groups": 2}),
        (9, 40, 24, (2, 3), 3, {"padding": 1}),  # images that are multiplied together
        (9, 80, 48, (2, 3), 3, {"padding": 1, "groups": 2}),
        (70, 16, 24, (1, 1), 3, {"padding": 1}),
        (2, 3, 5, (33, 35), (17, 19), {"padding": 3}),  # more taps than are summed at a time
        (2, 3, 5, (80, 4), (9, 3), {"padding": 1}),  # columns rather than rows
        (2, 3, 9, (300, 1), (5, 1), {"dilation": (3, 1), "stride": (2, 1)}),
    ],
)
def test_layers_of_every_kind_equal_reference(
    backend, data_format, dtype, images, channels, filters, size, kernel, options
):
    rng = np.random.default_rng(0)  # whole numbers: sums are exact in any order
    kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    x = rng.integers(-1, 2, (images, channels, *size)).astype(dtype)
    w = rng.integers(-1, 2, (filters, channels // options.get("groups", 1), kh, kw)).astype(dtype)
    bias = rng.integers(-9, 10, filters).astype(dtype)
    if data_format == "NHWC":
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    for image in (x, x[..., ::-1]):
        given = (backend.asarray(image), backend.asarray(w), backend.asarray(bias))
        expected = reference.conv2d(image, w, bias, data_format=data_format, **options)
        out = backend.asarray(np.empty_like(expected))
        for more in ({}, {"out": out}):
            actual = conv2d(*given, data_format=data_format, **options, **more)
            assert_same(backend.asnumpy(actual), expected)


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize("size", [(6, 40), (6, 5), (1, 1), (40, 2)])
@pytest.mark.parametrize(("groups", "kernel"), [(1, 3), (2, 3), (16, 3), (16, 5), (2, 1), (1, 1)])
def test_strange_numbers_stay_in_their_group_and_meet_zeros_outside(
    backend, data_format, dtype, size, groups, kernel
):
    x = values(1, (2, 16, *size), dtype)
    w = values(2, (32, 16 // groups, kernel, kernel), dtype, magnitude=1.0)
    x[0, 3, 0, 0], x[1, 9, -1, -1] = np.nan, np.inf
    w[5, 0, 0, 0], w[30, 0, -1, -1] = np.inf, np.nan  # times the zeros outside, NaN
    if data_format == "NHWC":
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    options = {"groups": groups, "padding": kernel // 2, "data_format": data_format}
    with np.errstate(all="ignore"):
        expected = reference.conv2d(x, w, **options)
        sums = reference.conv2d(np.abs(x).astype("f8"), np.abs(w).astype("f8"), **options)
        actual = conv2d(backend.asarray(x), backend.asarray(w), **options)
    assert_close(backend.asnumpy(actual), expected, sums, 16 // groups * kernel**2)


@pytest.mark.parametrize("groups", [1, 16])
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("kernel", [17, 40])
def test_rounding_errors_of_large_windows_do_not_add_up(backend, groups, data_format, kernel):
    full = (1, 16, kernel, 2 * kernel) if data_format == "NCHW" else (1, kernel, 2 * kernel, 16)
    x, w = np.full(full, 0.1, "f4"), np.full((16, 16 // groups, kernel, kernel), 0.3, "f4")
    actual = conv2d(backend.asarray(x), backend.asarray(w), groups=groups, data_format=data_format)
    terms = w[0].size
    exact = float(x.flat[0]) * float(w.flat[0]) * terms
    error = np.abs(backend.asnumpy(actual).astype("f8") - exact)
    assert (error <= 4 * np.sqrt(terms) * np.finfo("f4").eps * exact).all()


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["f4", "f2", "i8"])
@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (3, 0), (1, 0), ((2, 4), ((1, 0), (2, 1)))])
def test_conv2d_in_many_blocks_equals_reference(backend, monkeypatch, data_format, dtype, kernel, padding):
    package = "cuda" if backend.namespace == "cupy" else "cpu"
    monkeypatch.setattr(f"fastconv.{package}.correlation.blocks.BLOCK_BYTES", 4096)
    kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    shape = (2, 60, 9, 11) if data_format == "NCHW" else (2, 9, 11, 60)
    x, w, bias = (np.rint(values(i, s, dtype)) for i, s in enumerate((shape, (10, 30, kh, kw), (10,))))
    x, w = np.clip(x, -9, 9).astype(dtype), np.clip(w, -1, 1).astype(dtype)  # sums are exact in any order
    bias = np.clip(bias, -9, 9).astype(dtype)
    options = {"padding": padding, "groups": 2, "data_format": data_format}
    with planned_anew():
        actual = conv2d(backend.asarray(x), backend.asarray(w), backend.asarray(bias), **options)
    assert_same(backend.asnumpy(actual), reference.conv2d(x, w, bias, **options))


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    ("channels", "size", "filters", "kernel", "options"),
    [
        (40, (33, 70), 20, (3, 3), {"padding": 1}),  # several blocks of channels, pieces of the image
        (40, (33, 70), 20, (3, 3), {"padding": 2, "stride": (1, 2), "dilation": 2}),
        (30, (5, 9), 600, (3, 2), {"padding": "same"}),  # several parts of the filters
        (34, (15, 16), 34, (3, 3), {"padding": 1, "groups": 17}),
        (18, (9, 40), 4, (3, 3), {"padding": 1, "dilation": 2, "groups": 2}),  # few filters
        (70, (40, 5), 6, (3, 2), {"padding": ((2, 1), (0, 1)), "dilation": (2, 1)}),
        (2, (3, 700), 3, (2, 3), {"dilation": (1, 300)}),  # a row of windows farther apart than a strip
        (1, (40, 300), 9, (16, 16), {}),
        (1, (40, 40), 2, (17, 17), {"padding": 8}),  # more taps than are summed at a time
        (3, (0, 4), 2, (1, 1), {"padding": 1}),  # nothing but padding
    ],
)
def test_large_layers_equal_reference(backend, data_format, dtype, channels, size, filters, kernel, options):
    groups = options.get("groups", 1)
    rng = np.random.default_rng(0)  # whole numbers: sums are exact in any order
    x = rng.integers(-9, 10, (2, channels, *size)).astype(dtype)
    w = rng.integers(-9, 10, (filters, channels // groups, *kernel)).astype(dtype)
    bias = rng.integers(-9, 10, filters).astype(dtype)
    if data_format == "NHWC":
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    for image in (x, x[:, ::-1, ::-1]):
        given = (backend.asarray(image), backend.asarray(w), backend.asarray(bias))
        actual = conv2d(*given, data_format=data_format, **options)
        assert_same(
            backend.asnumpy(actual), reference.conv2d(image, w, bias, data_format=data_format, **options)
        )


@given(seeds, windows(least=1, padding=symmetric_paddings), st.integers(1, 3))
def test_reference_conv2d_equals_pytorch(torch, seed, drawn, groups):
    size, kernel, options = drawn
    x, w = values(seed, (2, 2 * groups, *size), "f8"), values(seed + 1, (3 * groups, 2, *kernel), "f8")
    bias = values(seed + 2, (3 * groups,), "f8")
    expected = torch.nn.functional.conv2d(*map(torch.from_numpy, (x, w, bias)), groups=groups, **options)
    np.testing.assert_allclose(reference.conv2d(x, w, bias, groups=groups, **options), expected, atol=1e-10)


@given(*[st.integers(1, 10**6)] * 2, st.integers(1, 100), st.tuples(*[st.integers(1, 10**6)] * 4))
def test_blocks_of_conv2d_on_a_gpu_are_small(channels, filters, taps, sizes):
    from fastconv.cuda.correlation.blocks import _steps  # which needs CuPy, or its stand-in

    planes, groups, *others = _steps(channels, filters, taps, sizes, most=2**20)
    windows = groups * math.prod(others)
    assert windows <= max(1, 2**20 // max(planes * taps, filters))
    assert groups * planes * taps * filters <= max(2**20, taps * filters)


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("layout", ["contiguous", "reversed"])
@pytest.mark.parametrize(
    ("channels", "filters", "groups", "taps", "side"),
    [
        (8, 4, 1, 5, 500),
        (1, 256, 1, 5, 500),
        (4096, 4, 1, 5, 14),
        (512, 256, 1, 5, 14),
        (256, 8, 1, 1, 300),
        (96, 96, 96, 5, 500),
    ],
)
def test_conv2d_needs_little_memory(data_format, layout, channels, filters, groups, taps, side):
    shape = (1, channels, side, side) if data_format == "NCHW" else (1, side, side, channels)
    x = np.ones(shape, np.float32)
    if layout == "reversed":
        x = x[..., ::-1]
    w = np.ones((filters, channels // groups, taps, taps), np.float32)
    options = {"data_format": data_format, "groups": groups}
    conv2d(x[:, :8, :8] if data_format == "NHWC" else x[..., :8, :8], w, **options)
    tracemalloc.start()
    y = conv2d(x, w, **options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (y == taps**2 * channels // groups).all()
    assert peak - y.nbytes < 64 * 2**20


def test_sums_of_float16_are_kept_in_float32_over_all_channels(backend):
    x = np.ones((1, 1024, 3, 3), np.float16)
    x[:, 512:] = -1
    w = np.full((520, 1024, 3, 3), 200, np.float16)
    assert (backend.asnumpy(conv2d(backend.asarray(x), backend.asarray(w))) == 0).all()


@pytest.mark.parametrize("dtype", ["u1", "u2", "i1", "f2", "f4"])
def test_depthwise_layers_of_every_dtype_take_a_bias(backend, dtype):
    x, w = np.full((1, 2, 3, 60), 9, dtype), np.full((2, 1, 1, 60), 2, dtype)
    bias = np.arange(2).astype(dtype)
    actual = conv2d(*map(backend.asarray, (x, w, bias)), groups=2)
    assert_same(backend.asnumpy(actual), reference.conv2d(x, w, bias, groups=2))
