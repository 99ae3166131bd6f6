"""Patches: against the reference, against PyTorch, and as each other's adjoint."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from closeness import assert_close, assert_same
from fastconv import col2im, im2col, reference
from strategies import (
    COMPLEX,
    FLOATS,
    INTEGERS,
    MANY,
    arrays,
    both,
    seeds,
    shapes,
    symmetric_paddings,
    tall_windows,
    values,
    windows,
)

EVERY = ("?", *INTEGERS, *FLOATS, *COMPLEX)
batches = shapes(0, 2, (1, 2, 3))


def order(options):
    return options["dilation"], options["padding"], options["stride"]


def taps_along(axis, size, kernel, options):
    """For each tap the places that it meets along an axis, worked out apart from the library."""
    step, dilation = both(options["stride"])[axis], both(options["dilation"])[axis]
    n, reach, padding = size[axis], dilation * (kernel[axis] - 1) + 1, options["padding"]
    if padding == "same":  # as many windows as strides, what is odd goes to the end
        count = -(-n // step)
        before = max((count - 1) * step + reach - n, 0) // 2
    else:
        side = 0 if padding == "valid" else both(padding)[axis]
        before, after = both(side)
        count = (n + before + after - reach) // step + 1
    return [[i * step + tap * dilation - before for i in range(count)] for tap in range(kernel[axis])]


@given(seeds, windows(room=(4, 8)))
def test_reference_takes_windows_one_by_one(seed, drawn):
    size, kernel, options = drawn
    x = values(seed, size, "i4")
    rows, columns = (taps_along(axis, size, kernel, options) for axis in (0, 1))
    expected = [
        [x[y, z] if 0 <= y < size[0] and 0 <= z < size[1] else 0 for y in down for z in across]
        for down in rows
        for across in columns
    ]
    np.testing.assert_array_equal(reference.im2col(x, kernel, *order(options)), expected)


@given(st.data(), windows(most_taps=4) | tall_windows(most_taps=4))
def test_im2col_equals_reference(backend, data, drawn):
    size, kernel, options = drawn
    x = data.draw(arrays((*data.draw(batches), *size), EVERY, special=MANY))
    actual = im2col(backend.asarray(x), kernel, *order(options))
    assert_same(backend.asnumpy(actual), reference.im2col(x, kernel, *order(options)))


@given(st.data(), windows(most_taps=4, least=1) | tall_windows(most_taps=4, least=1))
def test_col2im_equals_reference(backend, data, drawn):
    size, kernel, options = drawn
    taps, positions = (
        kernel[0] * kernel[1],
        reference.im2col(np.zeros(size), kernel, *order(options)).shape[-1],
    )
    batch = data.draw(shapes(0, 1, (1, 2)))
    cols = data.draw(arrays((*batch, data.draw(st.integers(1, 3)) * taps, positions), EVERY))
    actual = col2im(backend.asarray(cols), size, kernel, *order(options))
    expected = reference.col2im(cols, size, kernel, *order(options))
    if cols.dtype.kind in "fc":
        magnitude = reference.col2im(np.abs(cols).astype(np.float64), size, kernel, *order(options))
        assert_close(backend.asnumpy(actual), expected, magnitude, taps)
    else:
        assert_same(backend.asnumpy(actual), expected)


@pytest.mark.parametrize("layout", ["contiguous", "channels last", "reversed", "byteswapped"])
@pytest.mark.parametrize("dtype", ["?", "i2", "f2", "f4", "c8"])
def test_large_patches_equal_reference(backend, layout, dtype):
    x = values(0, (3, 5, 40, 70), dtype)
    x = np.rint(x.real).astype(dtype)  # sums are exact in any order
    if layout == "channels last":
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    if layout == "reversed":
        x = x[::-1, :, ::-1, ::-1]
    if layout == "byteswapped":
        x = x.astype(x.dtype.newbyteorder(">"))
    for options in (
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3},
        {"kernel_size": (2, 3), "stride": 2, "padding": 1},
        {"kernel_size": 3, "dilation": 2, "padding": 2, "stride": (1, 3)},
    ):
        cols = reference.im2col(x, **options)
        assert_same(backend.asnumpy(im2col(backend.asarray(x), **options)), cols)
        if layout == "byteswapped":
            cols = cols.astype(cols.dtype.newbyteorder(">"))
        if layout == "reversed":
            cols = cols[::-1, ::-1, ::-1]
        actual = col2im(backend.asarray(cols), (40, 70), **options)
        assert_same(backend.asnumpy(actual), reference.col2im(cols, (40, 70), **options))


@pytest.mark.parametrize("dtype", ["?", "u1", "f2", "i4", "f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 12, 21])
def test_patches_of_tall_images_equal_reference(backend, dtype, width):
    x = (np.arange(2 * 401 * width) % 7).reshape(2, 401, width).astype(dtype)  # several bands of rows
    x.flat[::11] = 0
    for kernel, *options in (
        ((2, 2), 1, 1, 1),
        ((3, 3), 1, 1, 1),
        ((3, 2), (2, 1), ((3, 0), (2, 1)), 1),
        ((3, 3), 1, (0, 1), 2),
        ((4, 1), 1, ((5, 1), (0, 2)), (3, 1)),
        ((2, 3), (7, 2), 2, (2, 3)),
        ((1, 2), 1, ((0, 0), (9, 9)), (1, 2)),  # some taps see nothing
        ((3, 3), (50, 1), 1, 1),  # rows far apart
        ((2, 2), 1, ((0, 80), (1, 0)), 1),  # rows of windows that see nothing
    ):
        columns = reference.im2col(x, kernel, *options)
        assert_same(backend.asnumpy(im2col(backend.asarray(x), kernel, *options)), columns)
        back = col2im(backend.asarray(columns), x.shape[1:], kernel, *options)
        assert_same(backend.asnumpy(back), reference.col2im(columns, x.shape[1:], kernel, *options))


def test_im2col_of_images_beyond_32_bits_takes_the_same_steps(backend, monkeypatch):
    if backend.namespace == "cupy":
        monkeypatch.setattr("fastconv.cuda.patches.NARROW", 0)
    x = values(0, (2, 9, 20), "f4")
    options = {"kernel_size": (3, 2), "dilation": 2, "padding": ((3, 1), (0, 2)), "stride": (1, 2)}
    assert_same(backend.asnumpy(im2col(backend.asarray(x), **options)), reference.im2col(x, **options))


@given(seeds, windows(most_taps=4, least=1))
def test_col2im_is_the_adjoint_of_im2col(backend, seed, drawn):
    size, kernel, options = drawn
    x = values(seed, (2, *size), "i4").astype(np.int64)
    columns = im2col(backend.asarray(x), kernel, *order(options))
    y = values(seed + 1, columns.shape, "i4").astype(np.int64)
    back = col2im(backend.asarray(y), size, kernel, *order(options))
    assert (backend.asnumpy(columns) * y).sum() == (x * backend.asnumpy(back)).sum()


@given(seeds, windows(most_taps=4, least=1, padding=symmetric_paddings))
def test_reference_equals_pytorch(torch, seed, drawn):
    size, kernel, options = drawn
    x = values(seed, (2, 3, *size), "f4")
    cols = reference.im2col(x, kernel, *order(options))
    np.testing.assert_array_equal(
        cols, torch.nn.functional.unfold(torch.from_numpy(x), kernel, *order(options))
    )
    y = np.rint(cols)
    folded = torch.nn.functional.fold(torch.from_numpy(y), size, kernel, *order(options))
    np.testing.assert_array_equal(reference.col2im(y, size, kernel, *order(options)), folded)


def test_windows_of_nothing_but_padding_are_zeros(backend):
    for size in ((3, 0), (0, 3)):
        actual = im2col(backend.asarray(np.zeros(size, "u1")), 2, padding=1)
        assert_same(backend.asnumpy(actual), reference.im2col(np.zeros(size, "u1"), 2, padding=1))


def test_im2col_of_a_plain_image_has_no_channel(backend):
    x = backend.asarray(np.arange(12).reshape(3, 4))
    assert im2col(x, (3, 4)).shape == (12, 1)
    assert im2col(x[None], (3, 4)).shape == (12, 1)
    assert im2col(x[None, None], (3, 4)).shape == (1, 12, 1)
