"""Rows of packing and counting bits, whose limit is memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastconv import pack_signs, packbits64, popcount, popcount_sum
from peers.bandwidth import copier
from peers.compare import Comparison, Rival, compared
from peers.table import Array, Row, Settings, Target

SECTION = "Bits and patches"


def rows() -> list[Row]:
    return [
        *(
            compared(SECTION, f"packbits64 of bool, 2^{power}", partial(pack_bits, power, bound))
            for power, bound in ((20, 1.5), (24, 2.5))
        ),
        compared(SECTION, "pack_signs of float32, 2^24", signs),
        compared(SECTION, "popcount of uint64, 2^20", count),
        compared(SECTION, "popcount_sum of uint64, 2^24", count_sum),
    ]


def _words(settings: Settings, power: int) -> Array:
    return np.random.default_rng(0).integers(0, 2**64, settings.pick(2**power, 2**12), np.uint64)


def pack_bits(power: int, bound: float, settings: Settings) -> Comparison:
    bits = _words(settings, power) > 2**63
    return Comparison(
        lambda: packbits64(bits),
        [
            Rival(
                "numpy.packbits (1 thread)",
                lambda: np.packbits(bits, bitorder="little"),
                Target(bound),
                read=lambda packed: packed.view("<u8"),
            )
        ],
    )


def signs(settings: Settings) -> Comparison:
    """Bandwidth is bytes read and written per second: for the copy twice its size, for us 33/32 of it."""
    x = np.random.default_rng(0).standard_normal(settings.pick(2**24, 2**12), np.float32)

    def numpy_signs() -> Array:
        return np.packbits(x >= 0, bitorder="little")

    return Comparison(
        lambda: pack_signs(x),
        [
            Rival("NumPy, x >= 0 and packbits (1 thread)", numpy_signs, read=lambda bits: bits.view("<u8")),
            Rival(
                "copy bandwidth, np.copyto on all threads",
                copier(x),
                Target(85, "%"),
                read=None,
                share=(1 + 1 / 32) / 2,
            ),
        ],
    )


def count(settings: Settings) -> Comparison:
    x = _words(settings, 20)
    out, other = np.empty((2, x.size), np.uint8)
    return Comparison(
        lambda: popcount(x, out=out),
        [Rival("numpy.bitwise_count (1 thread)", lambda: np.bitwise_count(x, out=other), Target(1.3))],
    )


def count_sum(settings: Settings) -> Comparison:
    x = _words(settings, 24)

    def numpy_sum() -> Any:
        return np.bitwise_count(x).sum(dtype=np.int64)

    return Comparison(
        lambda: popcount_sum(x), [Rival("numpy.bitwise_count, sum (1 thread)", numpy_sum, Target(5))]
    )
