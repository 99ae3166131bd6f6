"""Rows whose limit is memory, and the cost of a small call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fastconv import (
    correlate2d,
    im2col,
    pack_filters,
    pack_signs,
    packbits64,
    popcount,
    popcount_sum,
    reference,
    xnor_conv2d,
)
from fastconv._backends import Array
from fastconv._measure import seconds_in_turn
from fastconv.bench import peers
from fastconv.bench.ceilings import copier, filler
from fastconv.bench.model import (
    Comparison,
    Line,
    MismatchError,
    Rival,
    Row,
    Settings,
    Target,
    as_array,
    compared,
    judged,
    pace,
)

SECTION, SMALL = "Bits and patches", "Small calls, checks and dispatch included"
SMALL_CALLS = ("correlate2d 3×3", "xnor_conv2d 3×3", "pack_signs", "popcount")
MICROSECONDS = Target(15, "µs", at_most=True)


def rows() -> list[Row]:
    return [
        *(
            compared(SECTION, f"packbits64 of bool, 2^{power}", partial(pack_bits, power, bound))
            for power, bound in ((20, 1.5), (24, 2.5))
        ),
        compared(SECTION, "pack_signs of float32, 2^24", signs),
        compared(SECTION, "popcount of uint64, 2^20", count),
        compared(SECTION, "popcount_sum of uint64, 2^24", count_sum),
        compared(SECTION, "im2col 8×64×56², 3×3", patches),
        compared(SECTION, "im2col 8×64×56², 3×3, out=", patches_written),
        *(Row(SMALL, f"{name}, 16×16", partial(small, name)) for name in SMALL_CALLS),
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


def _image(settings: Settings) -> Array:
    n, c, h = settings.pick((8, 64, 56), (1, 2, 7))
    return np.random.default_rng(0).standard_normal((n, c, h, h), np.float32)


def patches(settings: Settings) -> Comparison:
    """Both sides make a new array for every result."""
    x = _image(settings)

    def unfold(torch: Any) -> peers.Call:
        image = torch.from_numpy(x)
        return lambda: torch.nn.functional.unfold(image, 3, padding=1)

    return Comparison(
        lambda: im2col(x, 3, padding=1), [Rival("torch unfold", peers.torch_call(unfold), Target(5))]
    )


def patches_written(settings: Settings) -> Comparison:
    """Write bandwidth is that of ``np.copyto`` of one number to an array of the result's size."""
    x = _image(settings)
    out = im2col(x, 3, padding=1)
    fill = filler(np.empty_like(out))
    return Comparison(
        lambda: im2col(x, 3, padding=1, out=out),
        [Rival("write bandwidth, np.copyto on all threads", fill, Target(80, "%"), read=None)],
    )


def small(name: str, settings: Settings, row: Row) -> list[Line]:
    """One call on 256 pixels, as its user makes it: a new result each time."""
    call, expected = _small_calls()[name]
    if not np.array_equal(as_array(call()), as_array(expected)):
        raise MismatchError(f"{row.name}: fastconv and its reference disagree")
    (seconds,) = seconds_in_turn([call], pace(settings, 1))
    return [judged(row, "", seconds * 1e6, MICROSECONDS, ours=seconds)]


def _small_calls() -> dict[str, tuple[Callable[[], Any], Any]]:
    """The calls of :data:`SMALL_CALLS` and what they have to give, on whole numbers: all sums are exact."""
    rng = np.random.default_rng(0)
    image, weight = (rng.integers(-9, 9, (n, n)).astype(np.float32) for n in (16, 3))
    words, x = rng.integers(0, 2**64, (16, 16), np.uint64), image[None, None]
    filters = pack_filters(weight[None, None])
    return {
        "correlate2d 3×3": (
            lambda: correlate2d(image, weight, "same"),
            reference.correlate2d(image, weight, "same"),
        ),
        "xnor_conv2d 3×3": (
            lambda: xnor_conv2d(x, filters, padding=1),
            reference.xnor_conv2d(x, filters, padding=1),
        ),
        "pack_signs": (lambda: pack_signs(image), reference.pack_signs(image)),
        "popcount": (lambda: popcount(words), reference.popcount(words)),
    }
