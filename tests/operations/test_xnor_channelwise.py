"""Numbers channel by channel, on every backend: steps, the largest of each window, steps again, signs.

Nothing public asks for that; deployed networks do.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconv import reference
from fastconv._backends import backend_of
from fastconv._epilogue import PARAMETERS, Epilogue, Outcome, Step
from fastconv._geometry import window
from fastconv._specs.xnor import Channelwise
from strategies import pairs, seeds, values

pytestmark = pytest.mark.parametrize("backend", ["numpy", "cupy"], indirect=True, scope="session")
"""What lends its arrays has no plans of its own."""

CHANNELS = (1, 3, 8, 63, 64, 65, 130)
KINDS = [kind for kind in PARAMETERS if kind not in ("window", "add")]


def stepped(v, kind, numbers):
    """One step in the dtype of v; fused in a wider one, which is exact for what is drawn."""
    if kind == "fused":
        wide = np.longdouble if v.dtype == np.float64 else np.float64
        return (v.astype(wide) * numbers[0] + numbers[1]).astype(v.dtype)
    by_hand = {
        "scale": lambda s: v * s,
        "shift": lambda b: v + b,
        "affine": lambda s, b: v * s + b,
        "prelu": lambda p: np.where(v < 0, p * v, v),
        "relu": lambda: np.where(v < 0, v.dtype.type(0), v),
        "clamp": lambda low, high: np.where(
            np.where(v < low, low, v) > high, high, np.where(v < low, low, v)
        ),
    }
    return by_hand[kind](*numbers)


def pooled(v, geometry):
    """The largest of each window of v (N, H, W, C), NaN if there is one."""
    (top, bottom), (left, right) = geometry.padding
    padded = np.pad(v, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, geometry.kernel, (1, 2))
    rows, columns = geometry.stride
    return windows[:, ::rows, ::columns].max((-2, -1))


@st.composite
def problems(draw):
    """Numbers of few bits, some of them special; steps with numbers of few bits, so that none is rounded but
    at the end; and a window, none of which lies outside."""
    dtype = np.dtype(draw(st.sampled_from(["f4", "f8"])))
    channels, (h, w) = draw(st.sampled_from(CHANNELS)), draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    kernel = draw(st.tuples(st.integers(1, min(3, h)), st.integers(1, min(3, w))))
    padding = tuple((draw(st.integers(0, k // 2)), draw(st.integers(0, k // 2))) for k in kernel)
    geometry = window("test", (h, w), kernel, draw(pairs(1, 3)), padding, 1)
    rng = np.random.default_rng(draw(seeds))
    x = rng.integers(-64, 65, (draw(st.integers(1, 2)), h, w, channels)).astype(dtype) / 4
    if draw(st.booleans()):
        x[rng.random(x.shape) < 0.1] = draw(st.sampled_from([np.nan, np.inf, -np.inf, -0.0]))
    kinds = (
        draw(st.lists(st.sampled_from(KINDS), max_size=3)),
        draw(st.lists(st.sampled_from(KINDS), max_size=2)),
    )
    steps = [
        Step(kind, tuple((rng.integers(-8, 9, channels) / 4).astype(dtype) for _ in range(PARAMETERS[kind])))
        for kind in (*kinds[0], *kinds[1])
    ]
    comparisons = draw(st.integers(0, 3))
    tau = (rng.integers(-16, 17, (comparisons, channels)) / 4).astype(dtype)
    tau[rng.random(tau.shape) < 0.1] = np.inf
    return x, geometry, steps, len(kinds[0]), tau, rng.random(tau.shape) < 0.5


@given(problem=problems(), numbers=st.booleans())
def test_numbers_and_signs_are_those_of_numpy(backend, problem, numbers):
    x, geometry, steps, before, tau, flip = problem
    numbers = numbers or not len(tau)
    with np.errstate(all="ignore"):
        v = x
        for kind, given_ in steps[:before]:
            v = stepped(v, kind, given_)
        v = pooled(v, geometry)
        for kind, given_ in steps[before:]:
            v = stepped(v, kind, given_)
    outcome = Outcome(x.dtype, tuple(step.kind for step in steps), numbers, len(tau) > 0)
    images, channels = len(x), x.shape[-1]
    spec = Channelwise(images, channels, geometry, outcome, before, len(tau))
    to = backend.asarray
    laid_out = tuple(Step(kind, tuple(map(to, given_))) for kind, given_ in steps)
    array = to(x)
    given_out = backend_of("test", array).plan(spec)(array, Epilogue(outcome, laid_out, to(tau), to(flip)))
    assert len(given_out) == numbers + len(tau)
    if numbers:
        np.testing.assert_array_equal(backend.asnumpy(given_out[0]), v)
    for words, bound, flipped in zip(given_out[numbers:], tau, flip, strict=True):
        bits = ((v >= bound) ^ flipped) & ~np.isnan(v)
        np.testing.assert_array_equal(backend.asnumpy(words), reference.packbits64(bits))


@pytest.mark.parametrize("shape", [(2, 40, 33, 64), (1, 3, 700, 130), (70, 1, 1, 96)])
def test_large_images_are_divided_among_threads(backend, shape):
    x = values(7, shape, "f4")
    geometry = window("test", shape[1:3], 1, 1, 0, 1)
    outcome = Outcome(x.dtype, ("shift",), True, True)
    steps = (Step("shift", (backend.asarray(np.full(shape[-1], 0.5, np.float32)),)),)
    bounds = np.zeros((1, shape[-1]), np.float32), np.zeros((1, shape[-1]), np.bool_)
    epilogue = Epilogue(outcome, steps, *map(backend.asarray, bounds))
    array = backend.asarray(x)
    plan = backend_of("test", array).plan(Channelwise(shape[0], shape[-1], geometry, outcome, 1, 1))
    numbers, words = map(backend.asnumpy, plan(array, epilogue))
    np.testing.assert_array_equal(numbers, x + np.float32(0.5))
    np.testing.assert_array_equal(words, reference.packbits64(x + np.float32(0.5) >= 0))
