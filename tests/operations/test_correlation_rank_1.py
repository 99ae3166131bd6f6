"""Kernels that are a column times a row: two passes are as good as one, whatever the size of the numbers."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv
from closeness import assert_within
from fastconv import correlate2d, reference
from fastconv._shared import rank1
from fastconv.cpu.correlation import methods
from plans import planned_anew
from strategies import COMPLEX, FLOATS, few, seeds, values

WIDEST = {"f2": (-24, 15), "f4": (-149, 127), "f8": (-1074, 1023), "c8": (-149, 126), "c16": (-1074, 1022)}
"""Exponents of the numbers of each dtype."""


NUMPY = SimpleNamespace(asarray=np.asarray, asnumpy=np.asarray)


@pytest.fixture
def always_factored(monkeypatch):
    """Method "auto" looks for factors of every kernel, however little there is to win."""
    monkeypatch.setattr(methods, "worth_factoring", lambda outputs, kernels: True)
    with planned_anew():
        yield


def powers(rng, shape, low, high):
    """Signs and powers of two, from 2**low to 2**high."""
    return np.ldexp(rng.choice([-1.0, 1.0, 1.5], shape).astype(np.longdouble), rng.integers(low, high, shape))


def rounded(x, dtype):
    with np.errstate(all="ignore"):
        return x.astype(dtype)


def assert_as_good_as_direct(backend, x, w, method="auto", fill=0):
    """Finite where direct sums are, and there as near to the exact sums as those have to be."""
    given_arrays = backend.asarray(x), backend.asarray(w)
    actual, direct = (
        backend.asnumpy(correlate2d(*given_arrays, "same", "fill", fill, method=m))
        for m in (method, "direct")
    )
    finite = np.isfinite(direct)
    np.testing.assert_array_equal(np.isfinite(actual), finite)
    wide = np.clongdouble if x.dtype.kind == "c" else np.longdouble
    x, w, limits, taps = x.astype(wide), w.astype(wide), np.finfo(direct.dtype), w.size
    exact = reference.correlate2d(x, w, "same", "fill", fill)
    sums = reference.correlate2d(abs(x), abs(w), "same", "fill", abs(fill))
    bound = 4 * np.sqrt(taps) * limits.eps * sums[finite]
    # each product of direct sums may lose half of the smallest number, and two passes no more than twice that
    bound += (8 if direct.dtype.kind == "c" else 2) * taps * np.longdouble(limits.smallest_subnormal)
    error = abs(actual[finite].astype(wide) - exact[finite])
    assert (error <= bound).all(), (error / bound).max()


@pytest.mark.usefixtures("always_factored")
@pytest.mark.parametrize("dtype", [*FLOATS, *COMPLEX])
@given(seeds, st.sampled_from([(5, 7), (9, 9), (3, 40)]), st.data())
def test_two_passes_lose_nothing_at_wild_magnitudes(dtype, seed, kernel, data):
    """Taps and pixels of any size, whose products are often neither too large nor too small."""
    rng, (low, high) = np.random.default_rng(seed), WIDEST[dtype]
    exponents = st.integers(low, high)
    middle, product, half = data.draw(exponents), data.draw(exponents), data.draw(exponents)
    down, across, around = (data.draw(st.sampled_from([0, 3, (high - low) // 4])) for _ in range(3))
    column = powers(rng, (kernel[0], 1), middle - half - down, middle - half + down + 1)
    row = powers(rng, (1, kernel[1]), half - across, half + 1)
    w = rounded(column * row, dtype)
    centre = min(max(product - middle + down, low), high)
    x = powers(rng, (20, 60), max(low, centre - around), min(high, centre + around) + 1)
    x = rounded(np.where(rng.random(x.shape) < data.draw(st.sampled_from([0.002, 0.02, 1])), x, 0), dtype)
    if dtype[0] == "c":
        x = x * np.array([1, 1j, -1j], dtype)[rng.integers(0, 3, x.shape)]
    assert_as_good_as_direct(NUMPY, x, w)


def gaussian(dtype, size, sigma, made="normalised"):
    """A Gaussian made as users make it, far taps of which are below the normal numbers, or 0."""
    real = np.dtype(dtype).type(0).real.dtype
    distance = np.arange(size) - size // 2
    with np.errstate(all="ignore"):
        line = np.exp(-(distance**2) / (2 * sigma**2)).astype(real)
        kernel = np.outer(line, line)
        match made:
            case "normalised":
                kernel = (kernel / kernel.sum(dtype="f8")).astype(real)
            case "scaled":
                kernel = kernel * real.type(250)
            case "formula":
                far = distance[:, None] ** 2 + distance**2
                kernel = np.exp(-far.astype(real) / real.type(2 * sigma**2))
    if np.dtype(dtype).kind == "c":
        kernel = kernel * np.exp(1j * distance).astype(dtype)
    assert (np.abs(kernel) < np.finfo(real).smallest_normal).any()
    return kernel.astype(dtype)


GAUSSIANS = [
    ("f2", 15, 1.5),
    ("f4", 31, 1.5),
    ("f4", 25, 0.5),
    ("f8", 31, 0.5),
    ("c8", 31, 1.5),
    ("c16", 31, 0.5),
]


def picture(kind, dtype):
    """Images of one bright pixel, of something on black ground, of noise, or of noise with both signs."""
    x = np.abs(values(1, (50, 60), dtype, magnitude=1.0))
    if kind == "one pixel":
        x[...] = 0
        x[40, 30] = 2.0 ** (WIDEST[dtype][1] - 8)
    if kind == "on black":
        x[:30] = x[:, 40:] = 0
    if kind == "two signs":
        x = values(1, (50, 60), dtype, magnitude=1.0) * (x < 1)
    return x.astype(dtype)


@pytest.mark.usefixtures("always_factored")
@pytest.mark.parametrize(("dtype", "size", "sigma"), GAUSSIANS)
@pytest.mark.parametrize("made", ["normalised", "as is", "scaled", "formula"])
def test_gaussians_with_vanishing_corners_are_of_rank_1(backend, dtype, size, sigma, made):
    w = gaussian(dtype, size, sigma, made)
    for kind in ("one pixel", "on black", "two signs"):
        assert_as_good_as_direct(backend, picture(kind, dtype), w, "separable")
    assert_as_good_as_direct(backend, picture("noise", dtype), w)
    assert_as_good_as_direct(backend, picture("on black", dtype), w, "separable", fill=-3)


def test_a_stray_tap_is_not_lost_where_the_product_vanishes(backend):
    line = np.zeros(9, "f4")
    line[3:6] = 1
    w, x = np.outer(line, line), np.zeros((40, 40), "f4")
    w[0, 0] = 1e-10
    x[20, 20] = 1e20
    assert_as_good_as_direct(backend, x, w, "separable")
    assert_as_good_as_direct(backend, -x, w, "separable")


def test_a_tap_that_matters_makes_a_kernel_of_higher_rank(backend):
    w = gaussian("f4", 31, 1.5)
    w[0, 0] = 1e-7
    with pytest.raises(ValueError, match="separable' needs in2 of rank 1"):
        correlate2d(backend.asarray(picture("noise", "f4")), backend.asarray(w), method="separable")


def test_what_overflows_between_the_passes_is_summed_directly(backend):
    w = np.outer(np.array([1e-20, 1, 1e-20], "f4"), np.array([5, 5, 5], "f4"))
    x = np.full((20, 30), 1e18, "f4")
    x[7] = 3e38
    assert_as_good_as_direct(backend, x, w, "separable")
    result = backend.asnumpy(correlate2d(backend.asarray(x), backend.asarray(w), method="separable"))
    assert np.isinf(result[8, 2:-2]).all()
    assert np.isfinite(np.delete(result, 8, axis=0)).all()


@few
@given(seeds, st.sampled_from(["f2", "f4", "f8", "c8", "i1", "i4", "u8"]), st.sampled_from([None, 0, 1, 12]))
@pytest.mark.usefixtures("always_factored")
@pytest.mark.parametrize("name", ["correlate2d", "convolve2d"])
def test_a_bank_is_filtered_as_each_of_its_kernels(backend, name, seed, dtype, full):
    """All of rank 1, or all but one."""
    x = values(seed, (20, 31), dtype, magnitude=1.0)
    w = values(seed + 1, (13, 5, 1), "i1") % 5 * (values(seed + 2, (13, 1, 9), "i1") % 7)
    w = w.astype(dtype)
    if full is not None:
        w[full, 2, 3] += 1
    filtered = getattr(fastconv, name)
    together = backend.asnumpy(filtered(backend.asarray(x), backend.asarray(w), "same"))
    expected = getattr(reference, name)(x, w, "same")
    sums = getattr(reference, name)(np.abs(x).astype("f8"), np.abs(w).astype("f8"), "same")
    eps = np.finfo(dtype).eps if x.dtype.kind in "fc" else 0
    assert_within(together, expected, 4 * np.sqrt(45) * eps * sums)


def of_rank_1(seed, count):
    return values(seed, (count, 9, 1), "f4") * values(seed + 1, (count, 1, 9), "f4")


@pytest.fixture
def looked_at(monkeypatch):
    """How many kernels are looked at for factors, search by search."""
    rank1._remembered.cache_clear()
    found, counts = rank1._found, []

    def counting(kernels, dtype):
        counts.append(len(kernels))
        return found(kernels, dtype)

    monkeypatch.setattr(rank1, "_found", counting)
    return counts


@pytest.mark.usefixtures("always_factored")
def test_the_search_for_factors_stops_at_a_kernel_without(looked_at):
    x = values(1, (20, 20), "f4")
    correlate2d(x, values(2, (500, 9, 9), "f4"))
    assert looked_at == [1]
    w = of_rank_1(3, 500)
    w[20] = values(4, (9, 9), "f4")
    looked_at.clear()
    correlate2d(x, w)
    assert sum(looked_at) < 100


@pytest.mark.usefixtures("always_factored")
@pytest.mark.parametrize("count", [1, 200])
def test_factors_are_remembered_until_a_kernel_is_written_to(looked_at, count):
    x, w = values(1, (20, 20), "f4"), of_rank_1(2, count)
    correlate2d(x, w)
    looked_at.clear()
    correlate2d(x, w)
    correlate2d(values(5, (20, 20), "f4"), w.copy())
    assert sum(looked_at) <= 2 * (count > 1)
    for last in (of_rank_1(9, 1), values(9, (1, 9, 9), "f4")):
        w[-1:] = last
        expected = reference.correlate2d(x, w)
        sums = reference.correlate2d(np.abs(x).astype("f8"), np.abs(w).astype("f8"))
        assert_within(correlate2d(x, w), expected, 36 * np.finfo("f4").eps * sums)


def test_a_search_costs_less_than_it_can_win():
    assert not methods.worth_factoring(1000 * 32 * 32 // 8, (1000, 15, 15))
    assert methods.worth_factoring(1000 * 128 * 128, (1000, 15, 15))
    assert methods.worth_factoring(1024 * 1024, (31, 31))
    assert not methods.worth_factoring(1024 * 1024, (7, 7))
