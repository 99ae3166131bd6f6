"""One call of every operation on arrays, for tests of what all of them have to do.

``call(library, *arrays)`` works with ``fastconv`` and its reference, on arrays of any library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv import PackedFilters, PackedSigns, Threshold
from strategies import values


@dataclass(frozen=True)
class Call:
    """A call, and the shapes and dtypes of the arrays it takes."""

    shapes: tuple[tuple[tuple[int, ...], str], ...]
    call: Callable[..., Any]

    def arrays(self, seed: int = 0) -> list[np.ndarray]:
        return [values(seed + i, shape, dtype) for i, (shape, dtype) in enumerate(self.shapes)]


X, WEIGHT = ((2, 66, 6, 7), "f4"), ((5, 66, 3, 3), "f4")
PER_FILTER, TAU, FLIP = ((5,), "f4"), ((5,), "i4"), ((5,), "?")
ROWS, COLUMNS = ((9, 70), "f4"), ((70, 5), "f4")
IMAGE, KERNEL = ((2, 40, 33), "f4"), ((5, 4), "f4")

CALLS = {
    "popcount": Call((((7, 90), "u8"),), lambda f, x: f.popcount(x)),
    "popcount_sum": Call((((7, 90), "u8"),), lambda f, x: f.popcount_sum(x, axis=1)),
    "packbits64": Call((((7, 99), "u1"),), lambda f, x: f.packbits64(x)),
    "unpackbits64": Call((((7, 3), "u8"),), lambda f, x: f.unpackbits64(x, count=130)),
    "pack_signs": Call((X,), lambda f, x: f.pack_signs(x, axis=1)),
    "hamming_distance": Call((((7, 9), "u8"), ((9,), "u8")), lambda f, a, b: f.hamming_distance(a, b)),
    "correlate2d": Call(
        (IMAGE, KERNEL), lambda f, x, k: f.correlate2d(x, k, "same", "symm", method="direct")
    ),
    "convolve2d": Call((IMAGE, KERNEL), lambda f, x, k: f.convolve2d(x, k)),
    "conv2d": Call((X, WEIGHT, PER_FILTER), lambda f, x, w, b: f.conv2d(x, w, b, padding=1)),
    "im2col": Call((X,), lambda f, x: f.im2col(x, 3, padding=1, stride=2)),
    "col2im": Call((((2, 12, 20), "f4"),), lambda f, x: f.col2im(x, (5, 6), 2)),
    "xnor_matmul": Call((ROWS, COLUMNS), lambda f, a, b: f.xnor_matmul(a, b)),
    "xnor_linear": Call((ROWS, ((5, 70), "f4")), lambda f, x, w: f.xnor_linear(x, w, scale="alpha")),
    "pack_filters": Call((WEIGHT,), lambda f, w: f.pack_filters(w)),
    "xnor_conv2d": Call((X, WEIGHT), lambda f, x, w: f.xnor_conv2d(x, w, padding=1)),
    "xnor_conv2d, scaled": Call(
        (X, WEIGHT, PER_FILTER), lambda f, x, w, b: f.xnor_conv2d(x, w, padding=1, scale="xnor", bias=b)
    ),
    "xnor_conv2d, packed": Call(
        (X, WEIGHT, TAU, FLIP),
        lambda f, x, w, tau, flip: f.xnor_conv2d(
            f.pack_signs(x, axis=1), f.pack_filters(w), padding=1, threshold=Threshold(tau, flip)
        ),
    ),
    "xnor_conv2d, numbers and signs": Call(
        (X, WEIGHT, PER_FILTER, ((2, 5, 6, 7), "f4")),
        lambda f, x, w, b, r: f.xnor_conv2d(
            x, w, padding=1, scale=b, residual=r, activation=["relu", ("prelu", b)], signs=(b, True)
        ),
    ),
    "xnor_conv2d, few channels": Call(
        (((9, 12), "f4"), ((3, 3), "f4")), lambda f, x, w: f.xnor_conv2d(x, w, padding="same", pad_value=-1)
    ),
    "activation_scale": Call((X,), lambda f, x: f.activation_scale(x, 3, padding=1)),
    "fold_batchnorm": Call((PER_FILTER,) * 4, lambda f, *bn: f.fold_batchnorm(*bn[:3], bn[3] ** 2, n=70)),
    "binary_max_pool2d": Call((X,), lambda f, x: f.binary_max_pool2d(f.pack_signs(x, axis=1), 2)),
    "binarize_residual": Call((X,), lambda f, x: f.binarize_residual(x, 2, axis=0)),
}


def leaves(result: Any) -> list[Any]:
    """The arrays that a result is made of."""
    match result:
        case PackedSigns():
            return [result.words]
        case PackedFilters():
            return [result.words, result.alpha]
        case Threshold():
            return [result.tau, result.flip]
        case list() | tuple():
            return [leaf for part in result for leaf in leaves(part)]
    return [result]


def assert_agree(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Whole numbers are equal; floats nearly, on these few."""
    assert len(actual) == len(expected)
    for mine, theirs in zip(actual, map(np.asarray, expected), strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        tolerance = 0 if theirs.dtype.kind in "biu" else 1e-4
        np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance * 100)
