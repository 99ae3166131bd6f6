"""Small calls run on the caller's thread, large ones on all: another form of each kernel, the same result."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv
from fastconv import PackedSigns, Threshold
from plans import planned_anew

LIMITS = {
    "bits.count": ["SMALL"],
    "bits.distances": ["SMALL"],
    "bits.nonzeros": ["SMALL"],
    "bits.pack": ["SMALL", "SMALL_PACKED"],
    "correlation.dense": ["SMALL_WORK"],
    "correlation.tiling": ["SERIAL_PRODUCTS"],
    "xnor.means": ["SMALL"],
    "xnor.pack": ["SMALL"],
    "xnor.pixels": ["SMALL_SUMS"],
    "xnor.pool": ["SMALL"],
    "xnor.words": ["SMALL_PRODUCTS"],
    "patches": ["SMALL"],
}
"""What is small, by module of fastconv.cpu."""

SIZES = st.integers(1, 9)


def calls(n: int, c: int, o: int, h: int, w: int) -> dict[str, object]:
    rng = np.random.default_rng([n, c, o, h, w])
    x = rng.integers(-3, 4, (n, 8 * c, h, w)).astype(np.float32)
    weight = rng.integers(-3, 4, (8 * o, 8 * c, 2, 3)).astype(np.float32)
    words = rng.integers(0, 2**64, (h, w, 70), np.uint64)
    tau = rng.integers(-9, 9, 8 * o).astype(np.int32)
    columns = fastconv.im2col(x, (2, 3), padding=1)
    return {
        "popcount": fastconv.popcount(words),
        "popcount_sum": fastconv.popcount_sum(words, axis=1),
        "packbits64": fastconv.packbits64(x > 0, axis=-1),
        "unpackbits64": fastconv.unpackbits64(words, count=70, bitorder="big"),
        "pack_signs": fastconv.pack_signs(x, axis=1).words,
        "hamming_distance": fastconv.hamming_distance(words[:, None], words),
        "correlate2d": fastconv.correlate2d(x, weight[0, 0]),
        "conv2d": fastconv.conv2d(x, weight, padding=1),
        "im2col": columns,
        "col2im": fastconv.col2im(columns, (h, w), (2, 3), padding=1),
        "xnor_matmul": fastconv.xnor_matmul(x[0, 0], x[0, 0].T),
        "xnor_conv2d": fastconv.xnor_conv2d(x, weight, padding=1, scale="xnor"),
        "xnor_conv2d of one channel": fastconv.xnor_conv2d(x[:, :1], weight[:, :1], padding=1),
        "xnor_conv2d to signs": fastconv.xnor_conv2d(x, weight, padding=1, threshold=Threshold(tau, tau > 0)),
    }


@given(SIZES, SIZES, SIZES, SIZES, SIZES)
def test_all_threads_give_what_one_gives(n, c, o, h, w):
    alone = calls(n, c, o, h, w)
    with planned_anew(), pytest.MonkeyPatch.context() as patch:
        for module, names in LIMITS.items():
            for name in names:
                patch.setattr(import_module(f"fastconv.cpu.{module}"), name, -1)
        together = calls(n, c, o, h, w)
    for name, expected in alone.items():
        given = together[name]
        if isinstance(expected, PackedSigns):
            given, expected = given.words, expected.words
        np.testing.assert_array_equal(given, expected, err_msg=name, strict=True)
