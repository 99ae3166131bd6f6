"""Filtering along any two axes, and images that are likely filtered along the wrong ones."""

import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv
from closeness import assert_close, assert_same
from fastconv import convolve2d, correlate2d, reference
from fastconv.cpu.correlation import methods, tiling
from plans import planned_anew
from strategies import COMPLEX, FLOATS, INTEGERS, arrays, few, values

NAMES = ("correlate2d", "convolve2d")


@st.composite
def calls(draw):
    """Images of 2 to 5 axes in any layout, kernels of 2 or as many, mode, boundary, fill value, two axes."""
    rank = draw(st.integers(2, 5))
    axes = draw(st.permutations(range(rank)))[:2]
    sides, taps = (
        draw(st.tuples(*[st.sampled_from([1, 2, 5, 9, 40])] * 2)),
        draw(st.tuples(*[st.integers(1, 5)] * 2)),
    )
    mode = draw(st.sampled_from(["full", "same", "valid"]))
    if mode == "valid":
        sides, taps = draw(st.permutations([tuple(map(max, sides, taps)), tuple(map(min, sides, taps))]))
    batch = [
        draw(st.sampled_from([1, 2, 3, 40])) if d == rank - 1 else draw(st.integers(1, 3))
        for d in range(rank)
    ]
    image, kernel = list(batch), [n if draw(st.booleans()) else 1 for n in batch]
    for axis, side, tap in zip(axes, sides, taps, strict=True):
        image[axis], kernel[axis] = side, tap
    dtype = draw(st.sampled_from((*INTEGERS, *FLOATS, *COMPLEX)))
    x = draw(arrays(tuple(image), (dtype,)))
    w = draw(arrays(taps if draw(st.booleans()) else tuple(kernel), (dtype,), magnitude=2.0))
    signed = tuple(axis - rank if draw(st.booleans()) else axis for axis in axes)
    return (
        x,
        w,
        mode,
        draw(st.sampled_from(["fill", "wrap", "symm"])),
        draw(st.sampled_from([0, 1, 3])),
        signed,
    )


def terms(w, axes):
    return w.size if w.ndim == 2 else w.shape[axes[0]] * w.shape[axes[1]]


@pytest.mark.parametrize("name", NAMES)
@given(calls(), st.sampled_from(["auto", "direct", "separable"]))
def test_any_two_axes_equal_reference(backend, name, call, method):
    x, w, *options, axes = call
    if method == "separable":
        w = w[tuple(slice(1) if d == axes[0] % x.ndim and w.ndim > 2 else slice(None) for d in range(w.ndim))]
        w = w[:1] if w.ndim == 2 else w
        options[0] = "same"
    actual = getattr(fastconv, name)(
        backend.asarray(x), backend.asarray(w), *options, method=method, axes=axes
    )
    expected = np.ascontiguousarray(getattr(reference, name)(x, w, *options, axes=axes))
    with np.errstate(all="ignore"):
        sums = getattr(reference, name)(np.abs(x).astype("f8"), np.abs(w).astype("f8"), *options, axes=axes)
    larger = max(terms(w, axes), 1) if options[0] != "valid" else max(terms(w, axes), terms(x, axes))
    assert_close(backend.asnumpy(actual), expected, sums, larger)


@few
@given(calls())
@pytest.mark.parametrize("name", NAMES)
def test_axes_are_those_of_moved_images(backend, name, call):
    x, w, *options, axes = call
    filtered = getattr(fastconv, name)
    w2 = w if w.ndim == 2 else np.moveaxis(w, axes, (-2, -1))
    moved = filtered(
        backend.asarray(np.moveaxis(x, axes, (-2, -1))), backend.asarray(w2), *options, axes=(-2, -1)
    )
    actual = filtered(backend.asarray(x), backend.asarray(w), *options, axes=axes)
    expected = np.moveaxis(backend.asnumpy(moved), (-2, -1), axes)
    if x.dtype.kind in "iu":
        np.testing.assert_array_equal(backend.asnumpy(actual), expected)
    assert actual.shape == expected.shape


@pytest.mark.parametrize("method", ["direct", "separable", "fft"])
@pytest.mark.parametrize("dtype", ["f4", "u1", "c8", "f2"])
@pytest.mark.parametrize("shape", [(70, 300, 3), (5, 6, 2000), (300, 2, 3, 70)])
def test_interleaved_images_of_several_tiles_equal_their_planes(backend, dtype, shape, method):
    """Colours; more channels than a tile has columns; a batch between rows and columns."""
    axes = (0, len(shape) - 1) if len(shape) == 4 else (0, 1)
    shape = tuple(min(n, 30) for n in shape) if method == "fft" else shape
    x = (
        values(1, shape, dtype, magnitude=1.0) % 4
        if dtype == "u1"
        else values(1, shape, dtype, magnitude=1.0)
    )
    w = np.outer(np.arange(1, 6), np.arange(2, 9)).astype(dtype)
    for boundary in ("fill", "wrap", "symm"):
        given_out = backend.asarray(np.full(shape, 77, dtype))
        call = backend.asarray(x), backend.asarray(w), "same", boundary, 2
        actual = correlate2d(*call, method=method, axes=axes, out=given_out)
        assert actual is given_out
        planes = np.ascontiguousarray(np.moveaxis(x, axes, (-2, -1)))
        expected = correlate2d(planes, w, "same", boundary, 2, method="direct", axes=(-2, -1))
        sums = correlate2d(
            np.abs(planes).astype("f8"), np.abs(w).astype("f8"), "same", boundary, 2, axes=(-2, -1)
        )
        got = np.ascontiguousarray(np.moveaxis(backend.asnumpy(actual), axes, (-2, -1)))
        assert_close(got, expected, sums, 4 * w.size)


@pytest.mark.parametrize("boundary", ["fill", "wrap", "symm"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_colours_under_kernels_of_several_pieces_equal_reference(dtype, boundary):
    """13 columns of 5 taps are summed in two pieces, the second of which begins at a column of its own."""
    x, w = values(1, (40, 90, 3), dtype, magnitude=1.0), values(2, (5, 13), dtype, magnitude=1.0)
    actual = correlate2d(x, w, "same", boundary, 2, axes=(0, 1))
    expected = np.ascontiguousarray(reference.correlate2d(x, w, "same", boundary, 2, axes=(0, 1)))
    sums = reference.correlate2d(
        np.abs(x).astype("f8"), np.abs(w).astype("f8"), "same", boundary, 2, axes=(0, 1)
    )
    assert_close(actual, expected, sums, w.size)


def test_colours_are_neither_copied_nor_slower_to_plan(monkeypatch):
    """No planes are made of images whose colours, or whose planes, lie between other axes."""
    monkeypatch.delattr(methods, "Planes")
    with planned_anew():
        for shape, axes in (
            ((9, 30, 3), (0, 1)),
            ((9, 2, 30), (0, 2)),
            ((9, 2, 30, 3), (2, 0)),
            ((2, 9, 30, 2, 2), (1, 2)),
        ):
            x, w = values(1, shape, "i4"), values(2, (3, 3), "i4")
            assert_same(
                correlate2d(x, w, axes=axes), np.ascontiguousarray(reference.correlate2d(x, w, axes=axes))
            )


def test_interleaved_results_written_past_the_caches_equal_reference(monkeypatch):
    monkeypatch.setattr(tiling, "LARGE", 0)
    for width in (32, 37, 160):
        x, w = values(1, (40, width, 3), "i4"), values(2, (3, 5), "i4")
        with planned_anew():
            actual = correlate2d(x, w, "same", axes=(0, 1))
        assert_same(actual, np.ascontiguousarray(reference.correlate2d(x, w, "same", axes=(0, 1))))


LIKE_PHOTOGRAPHS = [
    ((20, 30, 3), (3, 3)),
    ((20, 30, 4), (1, 2)),
    ((2, 20, 30, 3), (5, 5)),
    ((2, 20, 30, 3), (2, 1, 1, 3, 3)),
]


@pytest.mark.parametrize(("image", "kernel"), LIKE_PHOTOGRAPHS)
@pytest.mark.parametrize("name", NAMES)
def test_colours_filtered_as_columns_are_warned_of_at_the_callers_line(backend, name, image, kernel):
    x, w = backend.asarray(np.ones(image, "f4")), backend.asarray(np.ones(kernel, "f4"))
    for _ in range(2):
        with pytest.warns(
            UserWarning, match=rf"{name}: .*axes=\({len(image) - 3}, {len(image) - 2}\)"
        ) as seen:
            getattr(fastconv, name)(x, w)
        (warning,) = seen
        assert warning.filename in (__file__, getattr(sys.modules.get("recorder"), "__file__", None))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(fastconv, name)(x, w, axes=(-2, -1))


@pytest.mark.parametrize(
    ("image", "kernel"),
    [
        ((20, 30), (3, 3)),
        ((20, 30, 5), (3, 3)),
        ((20, 3), (3, 3)),
        ((3, 20, 30), (3, 3)),
        ((2, 30, 3), (3, 3)),
        ((20, 3, 3), (3, 3)),
        ((20, 30, 3), (5, 1)),
        ((20, 30, 3), (20, 3, 3)),
    ],
)
def test_images_unlike_photographs_are_not_warned_of(image, kernel):
    correlate2d(np.ones(image, "f4"), np.ones(kernel, "f4"))
    convolve2d(np.ones(image, "f4"), np.ones(kernel, "f4"))


def test_a_photograph_given_second_is_warned_of_where_it_is_the_image():
    with pytest.warns(UserWarning, match=r"\(20, 30, 3\).*axes=\(0, 1\)"):
        correlate2d(np.ones((3, 3)), np.ones((20, 30, 3)), "valid")


def test_one_photograph_and_a_bank_of_kernels_on_an_axis_of_their_own(backend):
    photo, bank = values(1, (20, 30, 3), "i4"), values(2, (3, 3, 7, 1), "i4")
    actual = backend.asnumpy(correlate2d(backend.asarray(photo), backend.asarray(bank), axes=(0, 1)))
    assert actual.shape == (22, 32, 7, 3)
    for f in range(7):
        for c in range(3):
            np.testing.assert_array_equal(
                actual[:, :, f, c], correlate2d(photo[:, :, c].copy(), bank[:, :, f, 0])
            )
