"""Plans are remembered by exactly what was asked for: equal values need not mean the same."""

import numpy as np
import pytest

from fastconv import conv2d, correlate2d, im2col

X, KERNEL = np.arange(48.0).reshape(1, 1, 6, 8), np.ones((3, 3))


@pytest.mark.parametrize("stride", [2, (2, 2), np.int64(2), (np.int64(2), 2), [2, 2], np.array(2)])
def test_integers_of_every_kind_give_the_same(stride):
    for _ in range(2):
        np.testing.assert_array_equal(im2col(X, 3, stride=stride), im2col(X, 3, stride=2))


@pytest.mark.parametrize("stride", [2.0, (2, 2.0), [2.0, 2], np.float64(2), np.int64(2).view("f8"), 2 + 0j])
def test_what_equals_a_remembered_integer_is_still_refused(stride):
    for accepted in (2, (2, 2), [2, 2], np.int64(2)):
        im2col(X, 3, stride=accepted)
        conv2d(X, X[:, :, :3, :3], stride=accepted)
    with pytest.raises(TypeError, match="stride must be an integer"):
        im2col(X, 3, stride=stride)
    with pytest.raises(TypeError, match="stride must be an integer"):
        conv2d(X, X[:, :, :3, :3], stride=stride)


@pytest.mark.parametrize("dtype", [np.float32, "f4", np.dtype("f4"), np.dtype(">f4")])
def test_dtypes_of_every_kind_give_the_same(dtype):
    for _ in range(2):
        assert correlate2d(X, KERNEL, dtype=dtype).dtype == np.float32


def test_fill_values_are_told_apart_by_their_bits():
    image, tap = np.ones((1, 1)), np.ones((3, 3)) * [[0], [1], [0]] * [1, 0, 0]

    def corner(fill):
        return correlate2d(image, tap, "same", fillvalue=fill)[0, 0]

    one = np.float64(1)
    for fill in (0.0, 1, -1, one, one.view("i8"), 0, -1.0, True, np.nan, one):
        np.testing.assert_equal(corner(fill), corner(np.array([fill])))
        np.testing.assert_equal(corner(fill), 0 * np.float64(fill) * 8 + np.float64(fill))
    row = np.array([[1.0, 0.0, 0.0]])[:, :1]
    for fill in (0.0, -0.0, 0.0):
        outside = correlate2d(-row * 0, -np.ones((1, 2)), fillvalue=fill)[0]
        assert outside.shape == (2,)
