"""What hypothesis draws.

Shapes, dtypes, layouts and options are drawn one by one, so that they shrink; values come from a drawn
seed, which is fast enough for 10,000 examples. What is drawn computes something: no length is 0 and every
window fits. Empty arrays have strategies of their own, which begin with ``empty``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

INTEGERS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
FLOATS = ("f2", "f4", "f8")
REAL = ("?", *INTEGERS, *FLOATS)
SIGNED = ("?", "i1", "i2", "i4", "i8", *FLOATS)
"""Of which both signs occur, so that nothing is to be said where signs are taken."""
COMPLEX = ("c8", "c16")
LAYOUTS = ("C", "F", "reversed", "strided", "byteswapped", "read-only")
LENGTHS = (1, 2, 3, 7, 63, 64, 65, 130)

MANY, FEW = 1 / 8, 1 / 300
"""Shares of NaN, infinities and -0.0: for what looks at one element, and for sums, of which one such term
would hide all the others."""

Pair = tuple[int, int]

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=max(settings.default.max_examples // 5, 1))
"""For a test that is parametrized as well. hypothesis draws variations of what it drew before, so that of 60
draws some have no groups at all: what must not be missed is a parameter, which has draws of its own."""


def values(
    seed: int, shape: tuple[int, ...], dtype: str, *, magnitude: float = 8.0, special: float = 0
) -> np.ndarray:
    """Numbers of ``dtype`` with zeros and repeats among them, and a share of ``special`` ones."""
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
        places = rng.integers(0, x.size, max(1, int(x.size * special)))
        x.reshape(-1)[places] = rng.choice(np.array([np.nan, np.inf, -np.inf, -0.0], kind), places.shape)
    return x


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    """The same array in another memory layout."""
    backwards = tuple(slice(None, None, -1) for _ in x.shape)
    if layout == "F":
        return np.array(x, order="F")
    if layout == "reversed":
        return x[backwards].copy()[backwards]
    if layout == "strided":
        spread = np.zeros((*x.shape, 2), x.dtype)
        spread[..., 0] = x
        return spread[..., 0]
    if layout == "byteswapped" and x.ndim:
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
    special: float = 0,
) -> np.ndarray:
    """An array of ``shape``, of any of ``dtypes``, in any layout, one in four with ``special`` numbers."""
    share = special if special and draw(st.integers(0, 3)) == 0 else 0
    x = values(draw(seeds), shape, draw(st.sampled_from(dtypes)), magnitude=magnitude, special=share)
    return laid_out(x, draw(st.sampled_from(LAYOUTS)))


@st.composite
def in_any_memory(draw: st.DrawFn, shape: tuple[int, ...], dtypes: tuple[str, ...]) -> np.ndarray:
    """An array of ``shape`` whose axes lie in memory in any order, each whole, reversed, with gaps of two
    kinds, or repeating one element."""
    order = draw(st.permutations(range(len(shape))))
    ways = [draw(st.sampled_from(["whole", "whole", "reversed", "gaps", "end", "repeats"])) for _ in shape]
    stored = {"gaps": lambda n: 2 * n, "end": lambda n: n + 3, "repeats": lambda n: 1}
    lengths = [stored.get(ways[d], lambda n: n)(shape[d]) for d in order]
    x = values(draw(seeds), tuple(lengths), draw(st.sampled_from(dtypes)))
    taken = {"reversed": slice(None, None, -1), "gaps": slice(None, None, 2), "end": slice(0, -3)}
    x = x[tuple(taken.get(ways[d], slice(None)) for d in order)]
    return np.broadcast_to(x.transpose(np.argsort(order)) if shape else x, shape)


def unaligned(x: np.ndarray) -> np.ndarray:
    """The same array as a field of records, in memory that is a byte off."""
    records = np.zeros(x.shape, [("before", "u1"), ("x", x.dtype)])
    records["x"] = x
    return records["x"]


def shapes(
    min_rank: int = 1, max_rank: int = 3, lengths: tuple[int, ...] = LENGTHS
) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.sampled_from(lengths), min_size=min_rank, max_size=max_rank).map(tuple)


@st.composite
def empty_shapes(draw: st.DrawFn, min_rank: int = 1, max_rank: int = 3) -> tuple[int, ...]:
    """A shape of which at least one length is 0."""
    shape = list(draw(shapes(min_rank, max_rank, (0, 1, 3, 65))))
    shape[draw(st.integers(0, len(shape) - 1))] = 0
    return tuple(shape)


def pairs(low: int, high: int) -> st.SearchStrategy[Any]:
    """An int or a pair of ints."""
    one = st.integers(low, high)
    return one | st.tuples(one, one)


symmetric_paddings = pairs(0, 3)
paddings = (
    symmetric_paddings
    | st.tuples(st.tuples(*[st.integers(0, 3)] * 2), st.tuples(*[st.integers(0, 3)] * 2))
    | st.sampled_from(["valid", "same"])
)
COLUMNS = (0, 1, 2, 3, 5, 8, 15, 16, 17, 33, 40, 63, 64, 66)
"""Columns beyond those that a window needs: what vectors and tiles of 8, 16 and 64 leave over."""


@st.composite
def windows(
    draw: st.DrawFn,
    *,
    most_taps: int = 3,
    least: int = 0,
    room: Pair = (8, 66),
    padding: st.SearchStrategy[Any] = paddings,
) -> tuple[Pair, Pair, dict[str, Any]]:
    """The size of an image, that of a kernel, and the options of a window that fits into the padded image.

    The kernel has up to ``most_taps`` rows and columns, the image at least ``least`` of both, and up to
    ``room`` more than the window needs. An image without a pixel is drawn where padding alone is enough.
    """
    kernel = draw(st.tuples(*[st.integers(1, most_taps)] * 2))
    options = {"stride": draw(pairs(1, 3)), "padding": draw(padding), "dilation": draw(pairs(1, 3))}
    rows, columns = needed(kernel, options)
    height = max(rows, least) + draw(st.integers(0, room[0]))
    width = max(columns, least) + draw(st.sampled_from([n for n in COLUMNS if n <= room[1]]))
    return (height, width), kernel, options


@st.composite
def tall_windows(draw: st.DrawFn, **asked: Any) -> tuple[Pair, Pair, dict[str, Any]]:
    """As :func:`windows`, with rows and columns in each other's place: images narrower than they are tall."""
    size, kernel, options = draw(windows(**asked))
    return size[::-1], kernel[::-1], {k: turned(v) for k, v in options.items()}


def turned(value: Any) -> Any:
    """What is meant for columns and for rows."""
    return value[::-1] if isinstance(value, tuple) else value


def needed(kernel: Pair, options: dict[str, Any]) -> Pair:
    """The smallest image into which a window fits, worked out apart from the library."""
    padding, dilation = options["padding"], options.get("dilation", 1)
    if padding == "same":
        return 1, 1
    rows, columns = (0, 0) if padding == "valid" else both(padding)
    outside = [sum(side) if isinstance(side, tuple) else 2 * side for side in (rows, columns)]
    reach = [step * (taps - 1) + 1 for step, taps in zip(both(dilation), kernel, strict=True)]
    height, width = (max(0, n - known) for n, known in zip(reach, outside, strict=True))
    return height, width


def both(value: Any) -> Any:
    """What is meant for rows and for columns."""
    return value if isinstance(value, tuple) else (value, value)
