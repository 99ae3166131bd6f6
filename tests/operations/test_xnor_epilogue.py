"""What follows a binary product, on every backend: every list of steps, and every kind of result."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epilogue_cases import Case, check, convolutions, layers, powers_of_two, to_backend
from fastconv import PackedFilters, _backends, reference, xnor_conv2d, xnor_linear
from fastconv._epilogue import Epilogue, Outcome, Step
from fastconv._specs.xnor import completed, conv_spec
from strategies import values

SPECIAL = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-40, -1e-40]

EACH_KIND = pytest.mark.parametrize("signed", [False, True], ids=["numbers", "numbers and signs"])
EACH_FORMAT = pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])


@EACH_KIND
@EACH_FORMAT
@given(data=st.data())
def test_convolution_equals_reference(backend, data, data_format, signed):
    case = data.draw(convolutions(data_format, signed))
    check(backend, case, case.run(backend, xnor_conv2d), reference.xnor_conv2d)


@EACH_KIND
@EACH_FORMAT
@given(data=st.data())
def test_deep_convolution_equals_reference(backend, data, data_format, signed):
    case = data.draw(convolutions(data_format, signed, "deep"))
    check(backend, case, case.run(backend, xnor_conv2d), reference.xnor_conv2d)


@EACH_KIND
@EACH_FORMAT
@given(data=st.data())
def test_depthwise_convolution_equals_reference(backend, data, data_format, signed):
    case = data.draw(convolutions(data_format, signed, "depthwise"))
    check(backend, case, case.run(backend, xnor_conv2d), reference.xnor_conv2d)


@EACH_KIND
@given(data=st.data())
def test_linear_layer_equals_reference(backend, data, signed):
    case = data.draw(layers(signed))
    check(backend, case, case.run(backend, xnor_linear), reference.xnor_linear)


OUTS = ("new", "strided", "the residual", "overlapping the residual")


@EACH_KIND
@pytest.mark.parametrize("kind", OUTS)
@given(data=st.data())
def test_out_may_be_any_memory(backend, kind, data, signed):
    case = data.draw(convolutions(data.draw(st.sampled_from(["NCHW", "NHWC"])), signed))
    with np.errstate(all="ignore"):
        expected = reference.xnor_conv2d(case.x, case.weight, **case.plain, **case.ending)
    expected = expected[0] if "signs" in case.ending else expected
    out, residual = place(backend, kind, expected, case.ending.get("residual"))
    ending = dict(case.ending)
    if residual is not None:
        ending["residual"] = backend.read(residual).copy()
    case = case._replace(ending=ending)
    x, weight, plain, given = (to_backend(backend, part) for part in case[:4])
    if residual is not None:
        given["residual"] = residual
    result = xnor_conv2d(x, weight, **plain, **given, out=out)
    assert (result[0] if "signs" in ending else result) is out
    check(backend, case, result, reference.xnor_conv2d)


def place(backend, kind, expected, residual):
    """``out`` for the numbers expected, and the residual if it shares memory with it."""
    n, shape = expected.size, expected.shape
    if kind == "strided":
        return backend.asarray(np.zeros((*shape, 2), expected.dtype))[..., 0], None
    if kind == "new" or residual is None or expected.dtype.kind == "i":
        return backend.asarray(np.zeros(shape, expected.dtype)), None
    with np.errstate(over="ignore"):
        memory = np.concatenate([residual.astype(expected.dtype).reshape(-1), np.ones(1, expected.dtype)])
    memory = backend.asarray(memory)
    first, second = memory[:n].reshape(shape), memory[1:].reshape(shape)
    return (first, first) if kind == "the residual" else (second, first)


@EACH_KIND
@EACH_FORMAT
@given(data=st.data())
def test_exact_means_make_exact_results(backend, data, data_format, signed):
    case = data.draw(powers_of_two(data_format, signed))
    with np.errstate(all="ignore"):
        expected = reference.xnor_conv2d(case.x, case.weight, **case.plain, **case.ending)
    result = case.run(backend, xnor_conv2d)
    if "signs" in case.ending:
        (expected, expected_signs), (result, signs) = expected, result
        np.testing.assert_array_equal(backend.asnumpy(signs.words), expected_signs.words)
    np.testing.assert_array_equal(backend.asnumpy(result), expected)


@EACH_FORMAT
@pytest.mark.parametrize(("groups", "channels", "filters"), [(1, 1, 3), (3, 1, 3), (1, 3, 9), (2, 128, 34)])
def test_rows_longer_than_a_tile(backend, data_format, groups, channels, filters):
    x, w = values(0, (2, channels, 3, 301), "f4"), values(1, (filters, channels // groups or 1, 3, 3), "f4")
    x = np.repeat(x, groups, axis=1) if channels == 1 else x
    last = data_format == "NHWC"
    x = x.transpose(0, 2, 3, 1) if last else x
    plain = {"padding": 1, "groups": groups, "data_format": data_format}
    residual = values(2, reference.xnor_conv2d(x, w, **plain).shape, "f4")
    for ending in ({}, {"signs": values(3, (filters,), "f4")}):
        ending |= {
            "scale": "xnor",
            "residual": residual,
            "activation": ("prelu", values(4, (filters,), "f4")),
        }
        case = Case(x, w, plain, ending, -1 if last else -3)
        check(backend, case, case.run(backend, xnor_conv2d), reference.xnor_conv2d)


@pytest.mark.parametrize("steps", [1, 8, 15, 16, 17, 40])
@pytest.mark.parametrize("filters", [3, 70])
def test_a_list_of_activations_may_be_long(backend, steps, filters):
    x, w = values(0, (2, 65, 4, 5), "f4"), values(1, (filters, 65, 2, 2), "f4")
    kinds = [
        ("shift", values(2, (filters,), "f4")),
        ("prelu", 0.75),
        ("clamp", -60.0, 50),
        "relu",
        ("shift", -7),
    ]
    ending = {"activation": [kinds[k % len(kinds)] for k in range(steps)], "signs": 3.0}
    case = Case(x, w, {}, {**ending, "residual": values(3, (2, filters, 3, 4), "f4")}, -3)
    check(backend, case, case.run(backend, xnor_conv2d), reference.xnor_conv2d)


@EACH_FORMAT
def test_special_numbers_pass_as_comparisons_let_them(backend, data_format):
    x, w = np.ones((1, 1, 7, 7), "f4"), np.ones((2, 1, 1, 1), "f4")
    w[1] = -1
    v = np.resize(np.array(SPECIAL, "f4"), (1, 2, 7, 7))
    if data_format == "NHWC":
        x, v = x.transpose(0, 2, 3, 1), np.ascontiguousarray(v.transpose(0, 2, 3, 1))
    plain = {"data_format": data_format}
    for activation in ("relu", ("prelu", -0.5), ("clamp", -1e-40, 1.0), ("clamp", -np.inf, np.nan)):
        ending = {"residual": v, "bias": np.array([-1, 1], "f4"), "activation": activation, "signs": 0.0}
        case = Case(x, w, plain, ending, -1 if data_format == "NHWC" else -3)
        numbers, signs = case.run(backend, xnor_conv2d)
        with np.errstate(all="ignore"):
            expected, expected_signs = reference.xnor_conv2d(x, w, **plain, **ending)
        np.testing.assert_array_equal(backend.asnumpy(numbers), expected)
        np.testing.assert_array_equal(np.signbit(backend.asnumpy(numbers)), np.signbit(expected))
        np.testing.assert_array_equal(backend.asnumpy(signs.words), expected_signs.words)


def test_activations_are_those_of_pytorch(torch):
    v = np.array([[*SPECIAL, 1.5, -2.5, 3.0, 7.0]], "f4").T
    with np.errstate(all="ignore"):
        given = {
            step if isinstance(step, str) else step[0]: reference.xnor_linear(
                np.ones((len(v), 2), "f4"), np.array([[1, -1.0]], "f4"), residual=v, activation=step
            )
            for step in ("relu", ("prelu", 0.25), ("clamp", -1.0, 2.0))
        }
    tensor = torch.from_numpy(v)
    expected = {
        "relu": torch.relu(tensor),
        "prelu": torch.nn.functional.prelu(tensor, torch.tensor([0.25])),
        "clamp": torch.clamp(tensor, -1.0, 2.0),
    }
    for name, numbers in expected.items():
        np.testing.assert_array_equal(given[name], numbers.numpy())


@EACH_FORMAT
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", ["affine", "fused"])
@pytest.mark.parametrize("backend", ["numpy", "cupy"], indirect=True)
def test_products_and_sums_are_rounded_twice_or_once(backend, kind, signed, data_format):
    """These steps have no argument of a face: plans take them."""
    x, w = values(0, (2, 65, 3, 30), "f4"), values(1, (70, 65, 2, 2), "f4")
    s, b = values(2, (70,), "f4"), values(3, (70,), "f4")
    s *= np.float32(1 + 2**-20)  # so that products do not fit into float32
    sums = reference.xnor_conv2d(x, w)
    with np.errstate(all="ignore"):
        exact = s[:, None, None].astype(np.float64) * sums  # 24 bits by 9: no rounding yet
        expected = (exact + b[:, None, None]).astype(np.float32)
        if kind == "affine":
            expected = exact.astype(np.float32) + b[:, None, None]
    last = data_format == "NHWC"
    x, expected = (a.transpose(0, 2, 3, 1) if last else a for a in (x, expected))
    x, filters = backend.asarray(x), to_backend(backend, reference.pack_filters(w))
    given = [backend.asarray(a) for a in (s, b)]
    outcome = Outcome(np.dtype(np.float32), (kind,), True, signed)
    epilogue = Epilogue(outcome, (Step(kind, tuple(given)),), *([given[1], given[0] < 0] if signed else []))
    spec = conv_spec((data_format, 1, 0, 1, 1, 0), "a test", x.shape, False, w.shape)
    plan = _backends.backend_of("a test", x).plan(completed(spec, np.dtype(np.float32), outcome))
    found = plan(x, filters, epilogue, None)
    numbers, words = found if signed else (found, None)
    np.testing.assert_array_equal(backend.asnumpy(numbers), expected)
    if signed:
        by_filter = expected if last else expected.transpose(0, 2, 3, 1)
        bits = reference.unpackbits64(backend.asnumpy(words), count=70)
        np.testing.assert_array_equal(bits, (by_filter >= b) ^ (s < 0))


@given(data=st.data())
def test_integers_reach_any_number(backend, data):
    """Signs of integers, at bounds between them and beyond all of them."""
    case = data.draw(convolutions(data.draw(st.sampled_from(["NCHW", "NHWC"])), False))
    filters = len(case.weight.words if isinstance(case.weight, PackedFilters) else case.weight)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    special = [np.nan, np.inf, -np.inf, 2.0**31, -(2.0**31) - 1, 2.0**31 - 1, 1e300]
    halves = rng.integers(-9, 9, filters) / 2
    tau = np.where(rng.random(filters) < 0.3, rng.choice(special, filters), halves)
    if case.axis is None:
        tau = tau[0]
    case = case._replace(ending={"signs": (tau, data.draw(st.booleans()))})
    check(backend, case, case.run(backend, xnor_conv2d), reference.xnor_conv2d)


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_more_filters_than_a_word_has_bits_have_bounds_of_their_own(backend, data_format):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 66, 5, 6), "f4"), rng.standard_normal((130, 66, 3, 3), "f4")
    x = x if data_format == "NCHW" else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    tau, flip = rng.integers(-40, 40, 130).astype("f4"), rng.random(130) < 0.5
    scale = np.ones(130, "f4")
    operands = backend.asarray(x), backend.asarray(w)
    ending = {"scale": backend.asarray(scale), "signs": (backend.asarray(tau), backend.asarray(flip))}
    numbers, signs = xnor_conv2d(*operands, data_format=data_format, **ending)
    expected = reference.xnor_conv2d(x, w, data_format=data_format, scale=scale, signs=(tau, flip))
    np.testing.assert_array_equal(backend.asnumpy(numbers), expected[0])
    np.testing.assert_array_equal(backend.asnumpy(signs.words), expected[1].words)
