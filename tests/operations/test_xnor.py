"""XNOR: against the reference, PyTorch, and by algebra."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconv import (
    PackedFilters,
    PackedSigns,
    Threshold,
    activation_scale,
    binarize_residual,
    binary_max_pool2d,
    fold_batchnorm,
    hamming_distance,
    pack_filters,
    reference,
    xnor_conv2d,
    xnor_linear,
    xnor_matmul,
)
from strategies import (
    FLOATS,
    REAL,
    arrays,
    assert_close,
    assert_same,
    fits,
    pairs,
    seeds,
    shapes,
    values,
    windows,
)

CHANNELS = (0, 1, 2, 3, 5, 24, 63, 64, 65, 130)
FILTERS = (0, 1, 2, 7, 8, 9, 33, 70)


def to_backend(backend, value):
    """``value`` with its arrays in the library under test."""
    if isinstance(value, PackedSigns):
        return PackedSigns(backend.asarray(value.words), value.length)
    if isinstance(value, PackedFilters):
        return PackedFilters(backend.asarray(value.words), value.channels, backend.asarray(value.alpha))
    if isinstance(value, Threshold):
        return Threshold(backend.asarray(value.tau), backend.asarray(value.flip))
    return backend.asarray(value) if isinstance(value, np.ndarray) else value


def assert_result(backend, actual, expected, magnitude=0.0):
    if isinstance(expected, PackedSigns):
        assert actual.shape == expected.shape
        assert_same(backend.asnumpy(actual.words), expected.words)
    elif expected.dtype == np.int32:
        assert_same(backend.asnumpy(actual), expected)
    else:
        assert_close(backend.asnumpy(actual), expected, np.asarray(magnitude) + np.abs(expected), 2)


def threshold(seed, filters, terms):
    """A threshold near the values of sums of ``terms`` signs, some channels constant."""
    rng = np.random.default_rng(seed)
    tau = rng.integers(-terms - 1, terms + 1, filters, endpoint=True).astype(np.int32)
    tau[rng.random(filters) < 0.1] = np.iinfo(np.int32).min
    tau[rng.random(filters) < 0.1] = np.iinfo(np.int32).max
    return Threshold(tau, rng.random(filters) < 0.5)


@st.composite
def epilogues(draw, filters, terms, scales=("alpha", "xnor", "array")):
    """Keyword arguments for what happens to the integers."""
    if draw(st.booleans()):
        return {}
    if draw(st.booleans()):
        return {"threshold": threshold(draw(seeds), filters, terms)}
    scale = draw(st.none() | st.sampled_from(scales))
    if scale == "array":
        scale = draw(arrays((filters,), FLOATS, magnitude=1.0))
    bias = draw(st.none() | arrays((filters,), FLOATS))
    return {"scale": scale, "bias": bias}


@st.composite
def convolutions(draw):
    """Input (N, C, H, W), weight and every option but the data format."""
    size, options = draw(windows())
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    if not fits(size, kernel, options):
        options = {"padding": "same"}
        size = (max(size[0], 1), max(size[1], 1))
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    channels, filters = draw(st.sampled_from(CHANNELS)), draw(st.sampled_from(FILTERS))
    if groups > 1:
        channels, filters = min(channels, 66), min(filters, 9)
    if max(channels, filters) > 30:
        size = (min(size[0], 6), min(size[1], 9)) if options.get("padding") == "same" else size
    x = draw(arrays((draw(st.integers(0, 2)), groups * channels, *size), REAL, special=True))
    w = draw(arrays((groups * filters, channels, *kernel), ("?", "i1", *FLOATS), magnitude=1.0))
    options |= {"groups": groups, "pad_value": draw(st.sampled_from([0, 1, -1]))}
    return x, w, options | draw(epilogues(groups * filters, channels * kernel[0] * kernel[1]))


def magnitude(x, w, options):
    """A bound on |scale * y| + |bias|, for the rounding of scaled results."""
    scale, bias = options.get("scale"), options.get("bias")
    if scale is None and bias is None:
        return 0.0
    terms = np.prod(w.shape[1:])
    factors = {
        "alpha": lambda: np.abs(w.astype("f8")).mean() if w.size else 0,
        "xnor": lambda: (
            np.abs(w.astype("f8")).sum() * np.nan_to_num(np.abs(x.astype("f8")), posinf=0).max(initial=0)
        ),
    }
    largest = (
        factors[scale]() if isinstance(scale, str) else np.abs(1 if scale is None else scale).max(initial=0)
    )
    return float(largest) * terms + float(np.abs(0 if bias is None else bias).max(initial=0))


@given(st.data(), convolutions())
def test_conv2d_equals_reference(backend, data, call):
    x, w, options = call
    given_x, given_w = x, w
    if data.draw(st.booleans()):
        given_w = reference.pack_filters(w)
    data_format = data.draw(st.sampled_from(["NCHW", "NHWC"]))
    if data.draw(st.booleans()) and not (
        isinstance(options.get("scale"), str) and options["scale"] == "xnor"
    ):
        given_x = reference.pack_signs(x, axis=1)
    elif data_format == "NHWC":
        given_x = x.transpose(0, 2, 3, 1)
        if data.draw(st.booleans()):
            given_x = np.ascontiguousarray(given_x)
    if data.draw(st.booleans()) and x.shape[0]:
        given_x = (
            PackedSigns(given_x.words[0], given_x.length) if isinstance(given_x, PackedSigns) else given_x[0]
        )
    arguments = {k: to_backend(backend, v) for k, v in options.items()}
    with np.errstate(all="ignore"):
        actual = xnor_conv2d(
            to_backend(backend, given_x), to_backend(backend, given_w), data_format=data_format, **arguments
        )
        expected = reference.xnor_conv2d(given_x, given_w, data_format=data_format, **options)
    assert_result(backend, actual, expected, magnitude(x, w, options))


@given(st.data(), windows(), st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_one_image_equals_reference(backend, data, geometry, kernel):
    size, options = geometry
    if not fits(size, kernel, options):
        return
    x, w = data.draw(arrays(size, REAL)), data.draw(arrays(kernel, FLOATS))
    options |= {"pad_value": data.draw(st.sampled_from([0, 1, -1]))}
    options |= data.draw(epilogues(1, kernel[0] * kernel[1]))
    arguments = {k: to_backend(backend, v) for k, v in options.items()}
    actual = xnor_conv2d(backend.asarray(x), backend.asarray(w), **arguments)
    expected = reference.xnor_conv2d(x, w, **options)
    assert_result(backend, actual, expected, magnitude(x, w[None, None], options))
    if "threshold" not in options:
        assert expected.ndim == 2


@given(seeds, windows(), st.sampled_from([1, 2, 5]), st.integers(1, 2), st.sampled_from([0, 1, -1]))
def test_reference_conv2d_equals_pytorch(torch, seed, geometry, channels, groups, pad_value):
    size, options = geometry
    options["padding"] = (1, 2)
    if not fits(size, (3, 2), options):
        return
    x, w = (
        values(seed, (2, groups * channels, *size), "f4"),
        values(seed + 1, (3 * groups, channels, 3, 2), "f4"),
    )
    signs_x, signs_w = (np.where(a >= 0, 1.0, -1.0) for a in (x, w))
    padded = torch.nn.functional.pad(torch.from_numpy(signs_x), (2, 2, 1, 1), value=pad_value)
    expected = torch.nn.functional.conv2d(
        padded,
        torch.from_numpy(signs_w),
        groups=groups,
        stride=options["stride"],
        dilation=options["dilation"],
    )
    actual = reference.xnor_conv2d(x, w, groups=groups, pad_value=pad_value, **options)
    np.testing.assert_array_equal(actual, expected)


@given(convolutions())
def test_padding_with_nothing_is_the_mean_of_padding_with_either_sign(backend, call):
    x, w, options = call
    for name in ("pad_value", "scale", "bias", "threshold"):
        options.pop(name, None)
    zero, plus, minus = (
        backend.asnumpy(xnor_conv2d(backend.asarray(x), backend.asarray(w), pad_value=v, **options))
        for v in (0, 1, -1)
    )
    np.testing.assert_array_equal(2 * zero, plus + minus)


@given(convolutions())
def test_grouped_convolution_is_one_convolution_for_each_group(backend, call):
    x, w, options = call
    for name in ("scale", "bias", "threshold"):
        options.pop(name, None)
    groups = options.pop("groups")
    whole = backend.asnumpy(xnor_conv2d(backend.asarray(x), backend.asarray(w), groups=groups, **options))
    parts = [
        backend.asnumpy(xnor_conv2d(backend.asarray(a), backend.asarray(b), **options))
        for a, b in zip(np.split(x, groups, axis=1), np.split(w, groups), strict=True)
    ]
    np.testing.assert_array_equal(whole, np.concatenate(parts, axis=1))


@given(seeds, st.sampled_from([1, 3, 64, 65]), st.integers(0, 3))
def test_words_of_zeros_on_both_sides_change_nothing(backend, seed, length, extra):
    a, b = (reference.pack_signs(values(seed + i, (length,), "f4")).words for i in range(2))
    longer = [backend.asarray(np.concatenate([words, np.zeros(extra, np.uint64)])) for words in (a, b)]
    expected = reference.xnor_matmul(PackedSigns(a, length), PackedSigns(b, length))
    assert length - 2 * int(hamming_distance(*longer)) == int(expected)


@st.composite
def products(draw):
    """Operands of a product of signs, possibly 1-D, stacked or packed."""
    m, k, n = (draw(st.sampled_from([0, 1, 2, 5, 13, 64, 65, 130])) for _ in range(3))
    batch = draw(shapes(0, 2, (0, 1, 2, 3)))
    own = [
        tuple(1 if draw(st.booleans()) else d for d in batch)[draw(st.integers(0, len(batch))) :]
        for _ in "ab"
    ]
    a = draw(arrays((k,) if draw(st.integers(0, 4)) == 0 else (*own[0], m, k), REAL, special=True))
    b = draw(arrays((k,) if draw(st.integers(0, 4)) == 0 else (*own[1], k, n), REAL, special=True))
    pack_a, pack_b = draw(st.booleans()), draw(st.booleans())
    return (
        reference.pack_signs(a) if pack_a else a,
        reference.pack_signs(b, axis=-2 if b.ndim > 1 else -1) if pack_b else b,
    )


@given(products())
def test_matmul_equals_reference(backend, operands):
    a, b = operands
    actual = xnor_matmul(to_backend(backend, a), to_backend(backend, b))
    assert_result(backend, actual, reference.xnor_matmul(a, b))


@given(seeds, st.integers(1, 70), st.integers(1, 200), st.integers(1, 70))
def test_matmul_equals_numpy(backend, seed, m, k, n):
    a, b = values(seed, (m, k), "f4"), values(seed + 1, (k, n), "f4")
    expected = np.where(a >= 0, 1.0, -1.0) @ np.where(b >= 0, 1.0, -1.0)
    actual = xnor_matmul(backend.asarray(a), backend.asarray(b))
    np.testing.assert_array_equal(backend.asnumpy(actual), expected)


@given(st.data())
def test_linear_equals_reference(backend, data):
    features, outputs = data.draw(st.sampled_from(CHANNELS)), data.draw(st.sampled_from(FILTERS))
    x = data.draw(arrays((*data.draw(shapes(0, 2, (0, 1, 2, 7))), features), REAL))
    w = data.draw(arrays((outputs, features), ("?", "i1", *FLOATS), magnitude=1.0))
    options = data.draw(epilogues(outputs, features))
    by_magnitude = isinstance(options.get("scale"), str)
    given_x = reference.pack_signs(x) if data.draw(st.booleans()) and options.get("scale") is None else x
    weights = [w, reference.pack_filters(w[:, :, None, None])] + (
        [] if by_magnitude else [reference.pack_signs(w)]
    )
    given_w = data.draw(st.sampled_from(weights))
    arguments = {k: to_backend(backend, v) for k, v in options.items()}
    actual = xnor_linear(to_backend(backend, given_x), to_backend(backend, given_w), **arguments)
    expected = reference.xnor_linear(given_x, given_w, **options)
    assert_result(backend, actual, expected, magnitude(x, w, options))


@given(st.data(), windows(), st.tuples(st.integers(1, 3), st.integers(1, 3)), st.integers(1, 3))
def test_activation_scale_equals_reference(backend, data, geometry, kernel, groups):
    size, options = geometry
    if not fits(size, kernel, options):
        return
    full = (data.draw(st.integers(0, 2)), groups * data.draw(st.integers(0, 3)), *size)
    rank = data.draw(st.integers(2, 4))
    x = data.draw(arrays(full[4 - rank :], REAL, special=True))
    options |= {"groups": groups if rank > 2 else 1}
    if rank > 2 and data.draw(st.booleans()):
        x, options = np.moveaxis(x, -3, -1), options | {"data_format": "NHWC"}
    actual = activation_scale(backend.asarray(x), kernel, **options)
    with np.errstate(all="ignore"):
        expected = reference.activation_scale(x, kernel, **options)
    assert_close(backend.asnumpy(actual), expected, np.nan_to_num(np.abs(expected), posinf=0), 1)


def test_activation_scale_is_the_mean_of_absolute_values(backend):
    x = values(0, (6, 7), "f8")
    actual = backend.asnumpy(activation_scale(backend.asarray(x), (2, 3)))
    patches = np.lib.stride_tricks.sliding_window_view(np.abs(x), (2, 3))
    np.testing.assert_allclose(actual, patches.mean(axis=(-1, -2)), rtol=1e-14)


@given(st.data())
def test_pack_filters_equals_reference(backend, data):
    shape = data.draw(st.tuples(*(st.sampled_from(n) for n in (FILTERS, CHANNELS, (1, 2), (1, 3)))))
    w, zero = data.draw(arrays(shape, REAL)), data.draw(st.sampled_from([1, -1]))
    actual, expected = pack_filters(backend.asarray(w), zero=zero), reference.pack_filters(w, zero=zero)
    assert actual.shape == expected.shape == w.shape
    assert_same(backend.asnumpy(actual.words), expected.words)
    assert_close(backend.asnumpy(actual.alpha), expected.alpha, expected.alpha, 1)


def test_filters_pickle_and_serve_again(backend):
    x, w = backend.asarray(values(0, (1, 70, 6, 6), "f4")), backend.asarray(values(1, (9, 70, 3, 3), "f4"))
    filters = pack_filters(w)
    y = xnor_conv2d(x, filters, padding=1)
    again = pickle.loads(pickle.dumps(filters))
    assert len(pickle.dumps(filters)) < filters.nbytes + 1000  # not what the kernels derived from it
    np.testing.assert_array_equal(backend.asnumpy(xnor_conv2d(x, again, padding=1)), backend.asnumpy(y))


parameters = st.tuples(seeds, st.sampled_from([0, 1, 2, 9, 577]))


def batchnorm(seed):
    """Parameters of 8 channels: gamma negative and zero among them; scales from tiny to huge."""
    rng = np.random.default_rng(seed)
    gamma = rng.standard_normal(8) * rng.choice([0, 1e-3, 1, 100], 8)
    beta = rng.standard_normal(8) * rng.choice([0, 1e-3, 1], 8)
    mean, var = (
        rng.standard_normal(8) * rng.choice([0, 1, 50], 8),
        rng.random(8) * rng.choice([0, 1, 1000], 8),
    )
    alpha, bias = rng.standard_normal(8) * rng.choice([0, 0.01, 1], 8), rng.standard_normal(8)
    return [p.astype(np.float32) for p in (gamma, beta, mean, var, alpha, bias)]


@given(parameters, st.booleans())
def test_folded_batchnorm_equals_the_float_chain_for_every_integer(backend, drawn, scaled):
    seed, n = drawn
    gamma, beta, mean, var, alpha, bias = batchnorm(seed)
    extra = {"alpha": alpha, "bias": bias} if scaled else {}
    folded = fold_batchnorm(
        *map(backend.asarray, (gamma, beta, mean, var)),
        n=n,
        **{k: backend.asarray(v) for k, v in extra.items()},
    )
    y = np.arange(-n, n + 1)[:, None]
    t = y.astype(np.float32)
    if scaled:
        t = alpha * t + bias
    slope = gamma * (np.float32(1) / np.sqrt(var + np.float32(1e-5)))
    expected = t * slope + (beta - mean * slope) >= 0
    tau, flip = backend.asnumpy(folded.tau), backend.asnumpy(folded.flip)
    np.testing.assert_array_equal((y >= tau) ^ flip, expected)
    again = reference.fold_batchnorm(gamma, beta, mean, var, n=n, **extra)
    assert_same(tau, again.tau)
    assert_same(flip, again.flip)


@given(parameters)
def test_folded_batchnorm_agrees_with_pytorch_away_from_zero(torch, drawn):
    seed, n = drawn
    gamma, beta, mean, var, alpha, bias = batchnorm(seed)
    folded = fold_batchnorm(gamma, beta, mean, var, n=n, alpha=alpha, bias=bias)
    y = np.arange(-n, n + 1)[:, None]
    t = torch.from_numpy((alpha * y + bias).astype(np.float64))
    exact = torch.nn.functional.batch_norm(
        t,
        *(torch.from_numpy(p.astype(np.float64)) for p in (mean, var, gamma, beta)),
        training=False,
        eps=1e-5,
    ).numpy()
    slope = np.abs(gamma) / np.sqrt(var + 1e-5)
    clear = np.abs(exact) > 1e-5 * (
        slope * (np.abs(alpha * y) + np.abs(bias) + np.abs(mean)) + np.abs(beta) + 1e-6
    )
    np.testing.assert_array_equal(((y >= folded.tau) ^ folded.flip)[clear], (exact >= 0)[clear])


def test_threshold_reaches_the_ends_of_int32(backend):
    n = 2**31 - 1
    folded = fold_batchnorm(*map(backend.asarray, np.float32([[1, -1], [0, 0], [0, 0], [1, 1]])), n=n)
    assert backend.asnumpy(folded.tau).tolist() == [0, 1]
    assert backend.asnumpy(folded.flip).tolist() == [False, True]


@given(convolutions(), seeds)
def test_packed_output_is_the_sign_of_the_float_chain(backend, call, seed):
    x, w, options = call
    for name in ("scale", "bias", "threshold"):
        options.pop(name, None)
    n, filters = int(np.prod(w.shape[1:])), w.shape[0]
    gamma, beta, mean, var, alpha, bias = (np.resize(p, filters) for p in batchnorm(seed))
    y = backend.asnumpy(xnor_conv2d(backend.asarray(x), backend.asarray(w), **options)).transpose(0, 2, 3, 1)
    folded = fold_batchnorm(
        *map(backend.asarray, (gamma, beta, mean, var)),
        n=n,
        alpha=backend.asarray(alpha),
        bias=backend.asarray(bias),
    )
    packed = xnor_conv2d(backend.asarray(x), backend.asarray(w), threshold=folded, **options)
    slope = gamma * (np.float32(1) / np.sqrt(var + np.float32(1e-5)))
    chain = (alpha * y.astype(np.float32) + bias) * slope + (beta - mean * slope)
    np.testing.assert_array_equal(backend.asnumpy(packed.unpack()), np.where(chain >= 0, 1, -1))


@given(
    st.data(),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_max_pool_equals_reference(backend, data, size, kernel):
    stride, padding = data.draw(st.none() | pairs(1, 3)), data.draw(pairs(0, 2) | st.just("same"))
    if not fits(size, kernel, {"padding": padding, "dilation": 1, "stride": 1}):
        return
    batch = data.draw(st.sampled_from([(), (0,), (1,), (3,)]))
    x = reference.pack_signs(
        data.draw(arrays((*batch, *size, data.draw(st.sampled_from(CHANNELS))), ("f4",)))
    )
    actual = binary_max_pool2d(to_backend(backend, x), kernel, stride=stride, padding=padding)
    assert_result(backend, actual, reference.binary_max_pool2d(x, kernel, stride=stride, padding=padding))


@given(seeds, st.integers(1, 3), st.integers(1, 3))
def test_reference_max_pool_equals_pytorch(torch, seed, kernel, stride):
    x = values(seed, (2, 7, 8, 5), "f4")
    signs = torch.from_numpy(np.where(x >= 0, 1.0, -1.0)).permute(0, 3, 1, 2)
    expected = torch.nn.functional.max_pool2d(signs, kernel, stride, padding=kernel // 2).permute(0, 2, 3, 1)
    actual = reference.binary_max_pool2d(reference.pack_signs(x), kernel, stride=stride, padding=kernel // 2)
    np.testing.assert_array_equal(actual.unpack(), expected)


@given(st.data(), st.integers(1, 4))
def test_residual_terms_equal_reference(backend, data, bits):
    x = data.draw(arrays(data.draw(shapes(1, 3, (0, 1, 3, 65))), REAL))
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


@pytest.mark.parametrize("channels", [1, 64])
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_rows_longer_than_a_workers_scratch_equal_reference(backend, channels, data_format):
    shape = (1, channels, 3, 3000) if data_format == "NCHW" else (1, 3, 3000, channels)
    x, w = values(0, shape, "f4"), values(1, (2, channels, 3, 3), "f4")
    actual = xnor_conv2d(backend.asarray(x), backend.asarray(w), padding=1, data_format=data_format)
    assert_result(backend, actual, reference.xnor_conv2d(x, w, padding=1, data_format=data_format))


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8", "<f4", ">i4"])
@pytest.mark.parametrize("channels", [2, 40])
def test_scale_of_any_byte_order_equals_reference(dtype, channels):
    x = np.random.default_rng(0).integers(-9, 9, (2, channels, 5, 6)).astype(dtype)
    expected = reference.activation_scale(x, 3, padding=1)
    np.testing.assert_allclose(activation_scale(x, 3, padding=1), expected, rtol=1e-6)


def test_scale_of_huge_numbers_is_finite():
    x = np.full((1, 2), 3e38, np.float32)
    np.testing.assert_array_equal(activation_scale(x, (1, 2)), reference.activation_scale(x, (1, 2)))
