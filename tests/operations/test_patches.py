"""Patches: against the reference, against PyTorch, and as each other's adjoint."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconv import col2im, im2col, reference
from strategies import (
    COMPLEX,
    FLOATS,
    INTEGERS,
    arrays,
    assert_close,
    assert_same,
    fits,
    seeds,
    shapes,
    values,
    windows,
)

EVERY = ("?", *INTEGERS, *FLOATS, *COMPLEX)
kernels = st.tuples(st.integers(1, 4), st.integers(1, 4))
batches = shapes(0, 2, (0, 1, 2, 3))


def order(options):
    return options["dilation"], options["padding"], options["stride"]


@given(st.data(), windows(), kernels)
def test_im2col_equals_reference(backend, data, geometry, kernel):
    size, options = geometry
    x = data.draw(arrays((*data.draw(batches), *size), (*EVERY, "g", "m8[s]")[:13], special=True))
    if not fits(size, kernel, options):
        with pytest.raises(ValueError, match="does not fit"):
            im2col(backend.asarray(x), kernel, *order(options))
        return
    actual = im2col(backend.asarray(x), kernel, *order(options))
    assert_same(backend.asnumpy(actual), reference.im2col(x, kernel, *order(options)))


@given(st.data(), windows(), kernels)
def test_col2im_equals_reference(backend, data, geometry, kernel):
    size, options = geometry
    if not fits(size, kernel, options):
        return
    taps, positions = (
        kernel[0] * kernel[1],
        reference.im2col(np.zeros(size), kernel, *order(options)).shape[-1],
    )
    batch = data.draw(shapes(0, 1, (0, 1, 2)))
    cols = data.draw(arrays((*batch, data.draw(st.integers(0, 3)) * taps, positions), EVERY))
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


def test_im2col_of_images_beyond_32_bits_takes_the_same_steps(backend, monkeypatch):
    if backend.namespace == "cupy":
        monkeypatch.setattr("fastconv.cuda.patches.NARROW", 0)
    x = values(0, (2, 9, 20), "f4")
    options = {"kernel_size": (3, 2), "dilation": 2, "padding": ((3, 1), (0, 2)), "stride": (1, 2)}
    assert_same(backend.asnumpy(im2col(backend.asarray(x), **options)), reference.im2col(x, **options))


@given(seeds, windows(), kernels)
def test_col2im_is_the_adjoint_of_im2col(backend, seed, geometry, kernel):
    size, options = geometry
    if not fits(size, kernel, options):
        return
    x = values(seed, (2, *size), "i4").astype(np.int64)
    columns = im2col(backend.asarray(x), kernel, *order(options))
    y = values(seed + 1, columns.shape, "i4").astype(np.int64)
    back = col2im(backend.asarray(y), size, kernel, *order(options))
    assert (backend.asnumpy(columns) * y).sum() == (x * backend.asnumpy(back)).sum()


@given(seeds, windows(), kernels)
def test_reference_equals_pytorch(torch, seed, geometry, kernel):
    size, options = geometry
    if not fits(size, kernel, options) or 0 in size:
        return
    if isinstance(options["padding"], str) or isinstance(np.ravel(options["padding"])[0], str):
        options["padding"] = 0
    if np.ndim(options["padding"]) > 1:
        options["padding"] = tuple(side[0] for side in options["padding"])
    if not fits(size, kernel, options):
        return
    x = values(seed, (2, 3, *size), "f4")
    cols = reference.im2col(x, kernel, *order(options))
    np.testing.assert_array_equal(
        cols, torch.nn.functional.unfold(torch.from_numpy(x), kernel, *order(options))
    )
    y = np.rint(cols)
    folded = torch.nn.functional.fold(torch.from_numpy(y), size, kernel, *order(options))
    np.testing.assert_array_equal(reference.col2im(y, size, kernel, *order(options)), folded)


def test_im2col_of_a_plain_image_has_no_channel(backend):
    x = backend.asarray(np.arange(12).reshape(3, 4))
    assert im2col(x, (3, 4)).shape == (12, 1)
    assert im2col(x[None], (3, 4)).shape == (12, 1)
    assert im2col(x[None, None], (3, 4)).shape == (1, 12, 1)
