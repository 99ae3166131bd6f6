"""Correlation and convolution: against the reference, SciPy and PyTorch, and by algebra."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

import fastconv
from closeness import assert_close, assert_same, assert_within, rounding_of_sums
from fastconv import convolve2d, correlate2d, reference
from fastconv.cpu.correlation import tiling
from fastconv.cpu.exchange import exchange
from plans import planned_anew
from strategies import (
    COMPLEX,
    FEW,
    FLOATS,
    INTEGERS,
    arrays,
    few,
    seeds,
    shapes,
    values,
)

NUMBERS = (*INTEGERS, *FLOATS, *COMPLEX)
operations = st.sampled_from(["correlate2d", "convolve2d"])
modes = st.sampled_from(["full", "same", "valid"])
BOUNDARIES = ("fill", "wrap", "symm")
wide = st.tuples(st.integers(1, 12), st.sampled_from([1, 2, 3, 5, 8, 40, 230]))
tall = st.tuples(st.sampled_from([40, 230]), st.sampled_from([1, 2, 3, 4, 8, 17]))
sizes = wide | tall
small = st.tuples(st.integers(1, 6), st.integers(1, 6)) | st.tuples(*[st.sampled_from([1, 9, 17])] * 2)


def magnitude(name, x, w, *options):
    """Sums of absolute products, in float64."""
    with np.errstate(all="ignore"):
        return getattr(reference, name)(np.abs(x).astype("f8"), np.abs(w).astype("f8"), *options)


@st.composite
def calls(draw, dtypes=NUMBERS, special=0, boundaries=BOUNDARIES):
    """Image and kernel of one dtype, mode, boundary and fill value."""
    size, kernel = draw(sizes | small), draw(small)
    mode, boundary = draw(modes), draw(st.sampled_from(boundaries))
    if mode == "valid":  # where one input must be as large as the other in both directions
        larger, smaller = (tuple(map(order, size, kernel)) for order in (max, min))
        size, kernel = draw(st.permutations([larger, smaller]))
    dtype = draw(st.sampled_from(dtypes))
    batch = draw(shapes(0, 2, (1, 2)))
    shared = tuple(1 if draw(st.booleans()) else n for n in batch)
    x = draw(arrays((*batch, *size), (dtype,), special=special))
    w = draw(arrays((*shared, *kernel), (dtype,), magnitude=2.0))
    return x, w, mode, boundary, draw(st.sampled_from([0, 1, 3]))


@pytest.mark.parametrize("name", ["correlate2d", "convolve2d"])
@pytest.mark.parametrize("boundary", ["fill", "wrap", "symm"])
@few
@given(st.data(), st.sampled_from(["auto", "direct"]))
def test_correlation_equals_reference(backend, name, boundary, data, method):
    call = data.draw(calls(special=FEW, boundaries=(boundary,)))
    x, w, *options = call
    actual = getattr(fastconv, name)(backend.asarray(x), backend.asarray(w), *options, method=method)
    expected = getattr(reference, name)(x, w, *options)
    sums = magnitude(name, x, w, *options)
    assert_close(backend.asnumpy(actual), expected, sums, w.shape[-1] * w.shape[-2])


@given(calls(("i1", "u1", "i4", "f4", "f8", "c8", "c16")), operations)
def test_fft_equals_reference(backend, call, name):
    x, w, *options = call
    if x.dtype.itemsize == 4 and x.dtype.kind == "i":
        x, w = x % 1000, w % 1000
    actual = getattr(fastconv, name)(backend.asarray(x), backend.asarray(w), *options, method="fft")
    expected = getattr(reference, name)(x, w, *options)
    wide = np.complex128 if w.dtype.kind == "c" else np.float64
    largest = np.abs(x.astype(wide)).max(initial=3) * np.abs(w.astype(wide)).sum()
    terms = w.shape[-1] * w.shape[-2]
    own = rounding_of_sums(magnitude(name, x, w, *options), terms, expected.dtype)
    everywhere = rounding_of_sums(largest, terms, np.dtype("f8"))  # a transform spreads what it rounds
    assert_within(backend.asnumpy(actual), expected, own + everywhere)


@given(st.data(), seeds, operations, st.sampled_from(["auto", "separable"]))
def test_kernels_of_rank_1_equal_reference(backend, data, seed, name, method):
    size, (kh, kw) = data.draw(sizes), data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    dtype = data.draw(st.sampled_from(NUMBERS))
    # Where the NaN of a complex infinity ends up, "auto" alone promises.
    x = data.draw(arrays((2, *size), (dtype,), special=FEW if method == "auto" or dtype[0] != "c" else 0))
    column, row = values(seed, (2, kh, 1), "i1") % 8 - 3, values(seed + 1, (2, 1, kw), "i1") % 8 - 3
    w = (np.abs(column * row) if dtype[0] == "u" else column * row).astype(dtype)
    if w.dtype.kind in "fc":
        w = w * w.dtype.type(0.1)
    options = "same", data.draw(st.sampled_from(BOUNDARIES)), 1
    actual = getattr(fastconv, name)(backend.asarray(x), backend.asarray(w), *options, method=method)
    expected = getattr(reference, name)(x, w, *options)
    assert_close(backend.asnumpy(actual), expected, magnitude(name, x, w, *options), kh * kw)


@given(calls(("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", "c16")), operations)
def test_reference_equals_scipy(call, name):
    x, w, *options = call
    x, w = x[(0,) * (x.ndim - 2)], w[(0,) * (w.ndim - 2)]
    expected = getattr(signal, name)(x, w, *options)
    terms = w.shape[0] * w.shape[1]
    actual = getattr(reference, name)(x, w, *options)
    assert_close(actual, expected.astype(actual.dtype), magnitude(name, x, w, *options), terms)
    assert expected.dtype.newbyteorder("=") == actual.dtype


@pytest.mark.empties
@given(seeds, st.sampled_from(["i4", "f4", "c8"]), st.integers(1, 3), modes)
def test_empty_kernels_give_zeros_like_scipy(backend, seed, dtype, n, mode):
    x, w = values(seed, (n, 3), dtype), np.zeros((0, 2), dtype)
    expected = signal.correlate2d(x, w, mode)
    assert_same(backend.asnumpy(correlate2d(backend.asarray(x), backend.asarray(w), mode)), expected)


@given(calls(("i4", "c16")))
def test_convolution_is_correlation_with_the_flipped_kernel(backend, call):
    x, w, _, boundary, fill = call
    flipped = w[..., ::-1, ::-1].conj()
    a = convolve2d(backend.asarray(x), backend.asarray(w), "full", boundary, fill)
    b = correlate2d(backend.asarray(x), backend.asarray(flipped), "full", boundary, fill)
    np.testing.assert_allclose(backend.asnumpy(a), backend.asnumpy(b), rtol=1e-12, atol=1e-9)


@given(
    st.data(),
    st.sampled_from([("u1", "i4"), ("i2", "f2"), ("f4", "f8"), ("?", "i8")]),
)
def test_dtype_is_accumulated_in_and_returned(backend, data, dtypes):
    given_dtype, result = dtypes
    x = data.draw(arrays((6, 9), (given_dtype,)))
    w = data.draw(arrays((3, 3), (given_dtype,)))
    actual = correlate2d(backend.asarray(x), backend.asarray(w), dtype=result)
    expected = reference.correlate2d(x, w, dtype=result)
    assert_close(backend.asnumpy(actual), expected, magnitude("correlate2d", x, w), 9)
    if result == "i4":
        exact = signal.correlate2d(x.astype("i8"), w.astype("i8"))
        np.testing.assert_array_equal(backend.asnumpy(actual), exact)


@given(
    st.data(),
    st.sampled_from([("u1", "f4"), ("i4", "f4"), ("f4", "c8")]),
)
def test_mixed_dtypes_are_promoted(backend, data, dtypes):
    dtypes = data.draw(st.permutations(dtypes))
    x, w = data.draw(arrays((6, 9), (dtypes[0],))), data.draw(arrays((3, 3), (dtypes[1],), magnitude=1.0))
    actual = correlate2d(backend.asarray(x), backend.asarray(w))
    assert_close(backend.asnumpy(actual), reference.correlate2d(x, w), magnitude("correlate2d", x, w), 9)


@pytest.mark.parametrize("method", ["direct", "fft", "auto"])
@pytest.mark.parametrize(
    ("image", "kernel"),
    [((300, 5000), (3, 4)), ((130, 700), (31, 31)), ((90, 900), (5, 150)), ((40, 40), (90, 35))],
)
def test_images_of_several_tiles_equal_scipy(backend, image, kernel, method):
    x, w = values(1, image, "f4"), values(2, kernel, "f4")
    actual = backend.asnumpy(
        correlate2d(backend.asarray(x), backend.asarray(w), "same", "symm", method=method)
    )
    expected = signal.correlate2d(x.astype("f8"), w.astype("f8"), "same", "symm").astype("f4")
    assert_close(actual, expected, magnitude("correlate2d", x, w, "same", "symm"), w.size)


@pytest.mark.soak
@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("shape", [(260, 1100), (24, 70, 130)])
@pytest.mark.parametrize("rank", [1, 9])
def test_tiles_of_every_dtype_equal_reference(backend, dtype, shape, rank):
    x = values(1, shape, dtype)
    if x.dtype.kind in "fc":  # some tiles are finite, some not
        x[..., 3, 5] = np.nan
    if x.dtype.kind == "f":
        x[..., 40, 70:72] = np.inf, -np.inf
        x[..., 60, 100:103] = np.finfo(dtype).max  # finite times small taps, but not if summed by row first
    w = values(2, (9, 9), "i1") % 8 - 3
    if rank == 1:
        w = w[:, :1] * w[:1]
    w = (abs(w) if dtype[0] == "u" else w).astype(dtype)
    if w.dtype.kind in "fc":
        w = w * w.dtype.type(0.01)
    actual = convolve2d(backend.asarray(x), backend.asarray(w), "same", "wrap")
    expected = reference.convolve2d(x, w, "same", "wrap")
    assert_close(backend.asnumpy(actual), expected, magnitude("convolve2d", x, w, "same", "wrap"), w.size)


@given(seeds, st.lists(st.sampled_from([(1, 2), (2, 1), (2, 2), (1, 1), (3, 3)]), max_size=7), operations)
def test_batches_broadcast(backend, seed, batch, name):
    x = values(seed, (*(n for n, _ in batch), 3, 4), "i4")
    w = values(seed + 1, (*(n for _, n in batch[seed % 3 :]), 2, 2), "i4")
    actual = getattr(fastconv, name)(backend.asarray(x), backend.asarray(w), "same")
    assert_same(backend.asnumpy(actual), getattr(reference, name)(x, w, "same"))


@pytest.mark.parametrize("kernel", [(9, 9), (200, 200), (1, 10000), (10000, 1)])
@pytest.mark.parametrize("dtype", ["f4", "c8", "f2"])
def test_rounding_errors_of_equal_terms_do_not_add_up(backend, kernel, dtype):
    x, w = np.full(kernel, 0.1, dtype), np.full(kernel, 0.3, dtype)
    actual = backend.asnumpy(correlate2d(backend.asarray(x), backend.asarray(w), "valid", method="direct"))
    exact = (x.astype("c16") * w.astype("c16")).sum()
    assert abs(actual[0, 0] - exact) <= 4 * np.sqrt(x.size) * np.finfo(dtype).eps * abs(exact)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "c8", "c16"])
@pytest.mark.parametrize("width", [160, 672, 677])
@pytest.mark.parametrize("boundary", ["fill", "symm"])
def test_results_written_past_the_caches_equal_reference(monkeypatch, dtype, width, boundary):
    monkeypatch.setattr(tiling, "LARGE", 0)
    x, w = values(1, (2, 70, width), dtype), values(2, (3, 5), dtype)
    expected = reference.correlate2d(x, w, "same", boundary)
    for start in range(4):  # where in a cache line results begin
        out = np.zeros(x.size + 8, x.dtype)[start : start + x.size].reshape(x.shape)
        with planned_anew():
            correlate2d(x, w, "same", boundary, out=out)
        assert_close(out.copy(), expected, magnitude("correlate2d", x, w, "same", boundary), w.size)


@pytest.mark.parametrize(
    ("dtype", "lowest"), [("i4", -(2**31)), ("u4", 2**31), ("i8", -(2**63)), ("u8", 2**63)]
)
def test_lowest_integers_have_factors(dtype, lowest):
    image = np.arange(30).reshape(5, 6).astype(dtype)
    kernel = np.full((3, 2), lowest, dtype)
    expected = reference.correlate2d(image, kernel)
    np.testing.assert_array_equal(fastconv.correlate2d(image, kernel, method="separable"), expected)


@pytest.mark.parametrize("dtype", ["?", "i2", "f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("height", [1, 16, 67, 2500])
@pytest.mark.parametrize("width", range(1, 10))
def test_rows_and_columns_are_exchanged(dtype, height, width):
    columns = np.arange(3 * width * height).reshape(3, width, height).astype(dtype)
    memory = np.zeros((5, height, width), dtype)
    exchange(columns, memory[1:4])
    np.testing.assert_array_equal(memory[1:4], columns.swapaxes(1, 2))
    assert not memory[[0, 4]].any()
