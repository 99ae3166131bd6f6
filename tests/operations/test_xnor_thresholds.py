"""Thresholds and packed pooling: what a binary network does between its products, in bits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from binary_calls import CHANNELS, assert_result, convolutions, to_backend
from closeness import assert_same
from fastconv import binary_max_pool2d, fold_batchnorm, reference, xnor_conv2d
from strategies import arrays, pairs, seeds, tall_windows, values, windows

parameters = st.tuples(seeds, st.sampled_from([1, 2, 9, 577]))


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


@given(convolutions(outputs=("integers",)), seeds)
def test_packed_output_is_the_sign_of_the_float_chain(backend, call, seed):
    x, w = backend.asarray(call.x), backend.asarray(call.weight)
    gamma, beta, mean, var, alpha, bias = (np.resize(p, len(call.weight)) for p in batchnorm(seed))
    y = backend.asnumpy(xnor_conv2d(x, w, **call.place)).transpose(0, 2, 3, 1)
    folded = fold_batchnorm(
        *map(backend.asarray, (gamma, beta, mean, var)),
        n=call.terms,
        alpha=backend.asarray(alpha),
        bias=backend.asarray(bias),
    )
    packed = xnor_conv2d(x, w, threshold=folded, **call.place)
    slope = gamma * (np.float32(1) / np.sqrt(var + np.float32(1e-5)))
    chain = (alpha * y.astype(np.float32) + bias) * slope + (beta - mean * slope)
    np.testing.assert_array_equal(backend.asnumpy(packed.unpack()), np.where(chain >= 0, 1, -1))


POOLED = {"padding": pairs(0, 2) | st.just("same")}


@given(st.data(), windows(**POOLED) | tall_windows(**POOLED))
def test_max_pool_equals_reference(backend, data, drawn):
    size, kernel, options = drawn
    stride = data.draw(st.sampled_from([None, options["stride"]]))
    batch = data.draw(st.sampled_from([(), (1,), (3,)]))
    x = reference.pack_signs(
        data.draw(arrays((*batch, *size, data.draw(st.sampled_from(CHANNELS))), ("f4",)))
    )
    place = {"stride": stride, "padding": options["padding"]}
    actual = binary_max_pool2d(to_backend(backend, x), kernel, **place)
    assert_result(backend, actual, reference.binary_max_pool2d(x, kernel, **place))


@given(seeds, st.integers(1, 3), st.integers(1, 3))
def test_reference_max_pool_equals_pytorch(torch, seed, kernel, stride):
    x = values(seed, (2, 7, 8, 5), "f4")
    signs = torch.from_numpy(np.where(x >= 0, 1.0, -1.0)).permute(0, 3, 1, 2)
    expected = torch.nn.functional.max_pool2d(signs, kernel, stride, padding=kernel // 2).permute(0, 2, 3, 1)
    actual = reference.binary_max_pool2d(reference.pack_signs(x), kernel, stride=stride, padding=kernel // 2)
    np.testing.assert_array_equal(actual.unpack(), expected)
