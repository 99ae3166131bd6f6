"""Rows of what one small call costs: 256 pixels, beside no other library."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fastconv import correlate2d, pack_filters, pack_signs, popcount, reference, xnor_conv2d
from fastconv.demo.measure import seconds_in_turn
from peers.compare import MismatchError, as_array, pace
from peers.table import Line, Row, Settings, Target, judged

SECTION = "Small calls, checks and dispatch included"
CALLS = ("correlate2d 3×3", "xnor_conv2d 3×3", "pack_signs", "popcount")
MICROSECONDS = Target(15, "µs", at_most=True)


def rows() -> list[Row]:
    return [Row(SECTION, f"{name}, 16×16", partial(small, name)) for name in CALLS]


def small(name: str, settings: Settings, row: Row) -> list[Line]:
    """One call on 256 pixels, as its user makes it: a new result each time."""
    call, expected = _calls()[name]
    if not np.array_equal(as_array(call()), as_array(expected)):
        raise MismatchError(f"{row.name}: fastconv and its reference disagree")
    (seconds,) = seconds_in_turn([call], pace(settings, 1))
    return [judged(row, "", seconds * 1e6, MICROSECONDS, ours=seconds)]


def _calls() -> dict[str, tuple[Callable[[], Any], Any]]:
    """The calls of :data:`CALLS` and what they have to give, on whole numbers: all sums are exact."""
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
