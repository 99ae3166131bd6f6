"""How results are compared: exactly, or each element within a bound that follows from the arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np


def assert_form(actual: np.ndarray, expected: np.ndarray) -> None:
    """Of the same dtype and shape; C-contiguous, native, owning its memory."""
    assert actual.dtype == expected.dtype
    assert actual.dtype.isnative
    assert actual.shape == expected.shape
    assert actual.flags.c_contiguous
    assert actual.flags.owndata


def assert_same(actual: Any, expected: Any) -> None:
    """Of the same form and equal in every value."""
    actual = np.asarray(actual)
    assert_form(actual, expected)
    np.testing.assert_array_equal(actual, expected)


def assert_within(actual: Any, expected: Any, bound: Any) -> None:
    """Each element within its own ``bound``; NaN and infinities in the same places; integers equal."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert_form(actual, expected)
    if actual.dtype.kind in "biu":
        np.testing.assert_array_equal(actual, expected)
        return
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    infinite = ~finite & ~np.isnan(expected)
    np.testing.assert_array_equal(actual[infinite], expected[infinite])
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    error = np.abs(actual[finite].astype(wide) - expected[finite].astype(wide))
    allowed = np.broadcast_to(np.asarray(bound, np.float64), expected.shape)[finite]
    allowed = allowed + np.finfo(expected.dtype).smallest_subnormal
    beyond = ~(error <= allowed)
    with np.errstate(over="ignore"):
        worst = (error / allowed).max(initial=0)
    assert not beyond.any(), f"{beyond.sum()} of {beyond.size} differ, by up to {worst:.3g} bounds"


def assert_close(actual: Any, expected: Any, magnitude: Any, terms: int) -> None:
    """Each element within 4 sqrt(T) eps sum(|a||b|): ``terms`` is T, ``magnitude`` holds those sums."""
    assert_within(actual, expected, rounding_of_sums(magnitude, terms, expected.dtype))


def rounding_of_sums(magnitude: Any, terms: int, dtype: np.dtype) -> Any:
    """How far two ways to add ``terms`` products may differ in ``dtype``."""
    eps = np.finfo(dtype).eps if dtype.kind in "fc" else 0
    return 4 * np.sqrt(max(terms, 1)) * eps * np.asarray(magnitude, np.float64)
