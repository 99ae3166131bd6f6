"""What hypothesis draws, and how results are compared.

Shapes, dtypes, layouts and options are drawn one by one, so that they shrink; values come from a drawn
seed, which is fast enough for 10,000 examples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

INTEGERS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
FLOATS = ("f2", "f4", "f8")
REAL = ("?", *INTEGERS, *FLOATS)
COMPLEX = ("c8", "c16")
LAYOUTS = ("C", "F", "reversed", "strided", "byteswapped", "read-only")

seeds = st.integers(0, 2**32 - 1)


def values(
    seed: int, shape: tuple[int, ...], dtype: str, *, magnitude: float = 8.0, special: bool = False
) -> np.ndarray:
    """Numbers of ``dtype`` with zeros and repeats among them; ``special`` adds NaN, infinities and -0.0."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind == np.bool_:
        return rng.random(shape) < 0.5
    if kind.kind in "iu":
        info = np.iinfo(kind)
        anything = rng.integers(info.min, info.max, shape, dtype=kind, endpoint=True)
        small = rng.integers(max(info.min, -3), 3, shape, endpoint=True).astype(kind)
        return np.where(rng.random(shape) < 0.5, anything, small)
    x = rng.standard_normal(shape) * magnitude
    x = np.where(rng.random(shape) < 0.3, np.rint(x), x)
    if kind.kind == "c":
        x = x + 1j * rng.standard_normal(shape) * magnitude
    x = x.astype(kind)
    if special and x.size:
        places = rng.integers(0, x.size, max(1, x.size // 8))
        x.reshape(-1)[places] = rng.choice(np.array([np.nan, np.inf, -np.inf, -0.0], kind), places.shape)
    return x


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    """The same array in another memory layout."""
    backwards = tuple(slice(None, None, -1) for _ in x.shape)
    if layout == "F":
        return np.asfortranarray(x)
    if layout == "reversed":
        return x[backwards].copy()[backwards]
    if layout == "strided":
        spread = np.zeros((*x.shape, 2), x.dtype)
        spread[..., 0] = x
        return spread[..., 0]
    if layout == "byteswapped":
        return x.astype(x.dtype.newbyteorder(">"))
    x = np.array(x)
    x.flags.writeable = layout != "read-only"
    return x


@st.composite
def arrays(
    draw: st.DrawFn,
    shape: tuple[int, ...],
    dtypes: tuple[str, ...],
    *,
    magnitude: float = 8.0,
    special: bool = False,
) -> np.ndarray:
    """An array of ``shape``, of any of ``dtypes``, in any layout."""
    x = values(
        draw(seeds), shape, draw(st.sampled_from(dtypes)), magnitude=magnitude,
        special=special and draw(st.booleans()),
    )  # fmt: skip
    return laid_out(x, draw(st.sampled_from(LAYOUTS)))


def shapes(min_rank: int = 1, max_rank: int = 3, lengths: Any = (0, 1, 2, 3, 7, 63, 64, 65, 130)) -> Any:
    return st.lists(st.sampled_from(lengths), min_size=min_rank, max_size=max_rank).map(tuple)


def pairs(low: int, high: int) -> st.SearchStrategy[Any]:
    """An int or a pair of ints."""
    one = st.integers(low, high)
    return one | st.tuples(one, one)


paddings = (
    pairs(0, 3)
    | st.tuples(st.tuples(*[st.integers(0, 3)] * 2), st.tuples(*[st.integers(0, 3)] * 2))
    | st.sampled_from(["valid", "same"])
)


@st.composite
def windows(draw: st.DrawFn) -> tuple[tuple[int, int], dict[str, Any]]:
    """The size of an image and stride, padding and dilation of a 2-D window, which may not fit."""
    size = draw(st.tuples(st.integers(0, 9), st.integers(0, 40)))
    options = {"stride": draw(pairs(1, 3)), "padding": draw(paddings), "dilation": draw(pairs(1, 3))}
    return size, options


def fits(size: tuple[int, int], kernel: tuple[int, int], options: dict[str, Any]) -> bool:
    """Whether the window fits, worked out apart from the library."""
    padding, dilation = options["padding"], options["dilation"]
    if padding == "same":
        padding = 10**6
    elif padding == "valid":
        padding = 0
    rows, columns = padding if isinstance(padding, tuple) else (padding, padding)
    total = [sum(side) if isinstance(side, tuple) else 2 * side for side in (rows, columns)]
    dilations = dilation if isinstance(dilation, tuple) else (dilation, dilation)
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    extent = zip(size, total, reach, strict=True)
    if options["padding"] == "same":
        return min(size) > 0 or all(n + t >= r for n, t, r in zip(size, (0, 0), reach, strict=True))
    return all(n + t >= r for n, t, r in extent)


def assert_same(actual: Any, expected: Any) -> None:
    """Equal in dtype, shape and every value; C-contiguous, native, owning its memory."""
    actual = np.asarray(actual)
    assert actual.dtype == expected.dtype
    assert actual.dtype.isnative
    assert actual.shape == expected.shape
    assert actual.flags.c_contiguous
    assert actual.flags.owndata
    np.testing.assert_array_equal(actual, expected)


def assert_close(actual: Any, expected: Any, magnitude: Any, terms: int) -> None:
    """Within SPEC's rounding of sums of ``terms`` products, ``magnitude`` the sums of their absolute
    values: 4 sqrt(T) eps sum(|a||b|); and NaN and infinities in the same places."""
    actual = np.asarray(actual)
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert actual.flags.c_contiguous
    assert actual.flags.owndata
    if actual.dtype.kind in "biu":
        np.testing.assert_array_equal(actual, expected)
        return
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    infinite = ~finite & ~np.isnan(expected)
    np.testing.assert_array_equal(actual[infinite], expected[infinite])
    eps = np.finfo(expected.dtype).eps
    bound = np.broadcast_to(
        4 * np.sqrt(max(terms, 1)) * eps * np.asarray(magnitude, np.float64), expected.shape
    )
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    error = np.abs(actual[finite].astype(wide) - expected[finite].astype(wide))
    tiny = np.finfo(expected.dtype).smallest_subnormal
    assert (error <= bound[finite] + tiny).all(), (error.max(), bound[finite].min())
