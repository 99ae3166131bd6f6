"""Bits: counting them, packing them 64 to a word, comparing them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv._advice import how_to_words
from fastconv._backends import Array, adapted, backend_of
from fastconv._checks import (
    as_array,
    as_dtype,
    broadcast_shapes,
    check_out,
    check_signs,
    choice,
    flag,
    integer,
    normalize_axis,
    real_array,
    sign,
)
from fastconv._specs.bits import (
    Hamming,
    PackBits,
    PackSigns,
    Popcount,
    PopcountSum,
    UnpackBits,
    memory_of,
)
from fastconv.packed import PackedSigns


@adapted
def popcount(x: Any, /, *, out: Array | None = None) -> Array:
    """Number of one bits of each element; of ``abs(x)`` for signed integers.

    Parameters
    ----------
    x : array of bool or integers, any shape
    out : array of uint8, shape of ``x``, optional

    Returns
    -------
    array of uint8, shape of ``x``

    Raises
    ------
    TypeError
        If ``x`` is neither bool nor integer.

    Notes
    -----
    The meaning is that of :func:`numpy.bitwise_count`.

    Examples
    --------
    >>> import numpy as np
    >>> popcount(np.array([0, 1, -1, 255]))
    array([0, 1, 1, 8], dtype=uint8)
    """
    backend = backend_of("popcount", x, out)
    x = _integers("popcount", "x", x)
    check_out("popcount", out, x.shape, np.uint8)
    return backend.plan(Popcount(memory_of(x)))(x, out)


@adapted
def popcount_sum(
    x: Any,
    /,
    *,
    axis: int | tuple[int, ...] | None = None,
    keepdims: bool = False,
    out: Array | None = None,
) -> Array:
    """Sum of :func:`popcount` over ``axis``, in one pass.

    Parameters
    ----------
    x : array of bool or integers, any shape
    axis : int, tuple of ints or None
        Axes to sum over; None for all.
    keepdims : bool
        Keep the summed axes with length 1.
    out : array of int64, optional
        Of the result's shape.

    Returns
    -------
    array of int64

    Raises
    ------
    TypeError
        If ``x`` is neither bool nor integer.
    ValueError
        If an axis is out of bounds or named twice.

    Examples
    --------
    >>> import numpy as np
    >>> int(popcount_sum(np.arange(8)))
    12
    >>> popcount_sum(np.arange(8).reshape(2, 4), axis=1)
    array([4, 8])
    """
    backend = backend_of("popcount_sum", x, out)
    x = _integers("popcount_sum", "x", x)
    given = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    accepted = "an integer, a tuple of integers or None"
    axes = tuple(sorted(normalize_axis("popcount_sum", a, x.ndim, accepted) for a in given))
    if len(set(axes)) != len(axes):
        raise ValueError(f"popcount_sum: axis {axis} names a dimension twice")
    kept = tuple(1 if d in axes else n for d, n in enumerate(x.shape))
    keepdims = flag("popcount_sum", "keepdims", keepdims)
    shape = kept if keepdims else tuple(n for d, n in enumerate(x.shape) if d not in axes)
    check_out("popcount_sum", out, shape, np.int64)
    return backend.plan(PopcountSum(memory_of(x), axes, shape))(x, out)


@adapted
def packbits64(
    x: Any, /, *, axis: int | None = -1, bitorder: str = "little", out: Array | None = None
) -> Array:
    """Pack zeros and nonzeros along an axis into 64-bit words.

    Parameters
    ----------
    x : array of bool or integers, shape (..., n, ...)
        Nonzero becomes 1.
    axis : int or None
        The axis of length n; None packs the flattened array.
    bitorder : {"little", "big"}
        Element ``i`` goes to bit ``i % 64`` of word ``i // 64`` ("little") or bit ``63 - i % 64``.
    out : array of uint64, optional
        Of the result's shape.

    Returns
    -------
    array of uint64, shape (..., ceil(n / 64), ...)
        The unused bits of the last word are 0.

    Raises
    ------
    TypeError
        If ``x`` is neither bool nor integer.
    ValueError
        If ``axis`` is out of bounds or ``bitorder`` unknown.

    Notes
    -----
    Equal to :func:`numpy.packbits` of the zero-padded input, viewed as ``<u8`` or ``>u8``.

    Examples
    --------
    >>> import numpy as np
    >>> packbits64(np.array([1, 0, 1, 1]))
    array([13], dtype=uint64)
    """
    backend = backend_of("packbits64", x, out)
    x = _integers("packbits64", "x", x)
    x, axis = _along("packbits64", x, axis)
    choice("packbits64", "bitorder", bitorder, ("little", "big"))
    check_out("packbits64", out, _with_length(x.shape, axis, -(-x.shape[axis] // 64)), np.uint64)
    return backend.plan(PackBits(memory_of(x), axis, bitorder))(x, out)


@adapted
def unpackbits64(
    words: Any,
    /,
    *,
    axis: int | None = -1,
    count: int | None = None,
    bitorder: str = "little",
    out: Array | None = None,
) -> Array:
    """The bits of 64-bit words along an axis, as 0 and 1: the inverse of :func:`packbits64`.

    Parameters
    ----------
    words : array of uint64, shape (..., w, ...)
    axis : int or None
        The axis of length w; None unpacks the flattened array.
    count : int, optional
        How many bits to return; all 64 * w by default.
    bitorder : {"little", "big"}
    out : array of uint8, optional
        Of the result's shape.

    Returns
    -------
    array of uint8, shape (..., count, ...)

    Raises
    ------
    TypeError
        If ``words`` is not uint64.
    ValueError
        If ``count`` is negative or more than 64 * w (:func:`numpy.unpackbits` would pad).

    Examples
    --------
    >>> import numpy as np
    >>> unpackbits64(np.array([13], np.uint64), count=4)
    array([1, 0, 1, 1], dtype=uint8)
    """
    backend = backend_of("unpackbits64", words, out)
    words = _words("unpackbits64", "words", words)
    words, axis = _along("unpackbits64", words, axis)
    choice("unpackbits64", "bitorder", bitorder, ("little", "big"))
    available = 64 * words.shape[axis]
    count = available if count is None else integer("unpackbits64", "count", count, 0, "an integer or None")
    if count > available:
        raise ValueError(f"unpackbits64: count must be at most {available}, got {count}")
    check_out("unpackbits64", out, _with_length(words.shape, axis, count), np.uint8)
    return backend.plan(UnpackBits(memory_of(words), axis, count, bitorder))(words, out)


@adapted
def pack_signs(x: Any, /, *, axis: int = -1, zero: int = 1, threshold: Any = 0) -> PackedSigns:
    """Pack the signs of ``x - threshold`` along an axis.

    Parameters
    ----------
    x : real array, shape (..., n, ...)
        bool (True is +1, False is -1), integers, float16, float32 or float64. Unsigned integers want a
        threshold, of which the int 0, the default, is none: without one, all their signs are +1.
    axis : int
        The axis of length n. It becomes the last one of the result.
    zero : {1, -1}
        The sign of ``x == threshold``: 1 packs ``x >= threshold``, -1 packs ``x > threshold``.
        So -0.0 counts as 0, and NaN is -1 either way.
    threshold : real scalar or array
        Broadcasts against ``x``, for example (C, 1, 1) for one threshold a channel of NCHW. Compared
        as NumPy compares, so 64-bit integers and a float meet in float64. On a GPU, a NaN among them is no
        error, for looking would wait for the device: the sign is -1.

    Returns
    -------
    PackedSigns
        Of logical shape (..., n), the packed axis last.

    Raises
    ------
    TypeError
        If ``x`` or ``threshold`` is complex or not numeric, or ``x`` is of uint64, which is likely words
        (``PackedSigns(words, length)``), without a threshold.
    ValueError
        If ``axis`` is out of bounds, ``zero`` is neither 1 nor -1, or ``threshold`` holds a NaN
        or does not broadcast against ``x``.

    Warns
    -----
    UserWarning
        If ``x`` is of other unsigned integers without a threshold, and ``zero`` is 1.

    Examples
    --------
    >>> import numpy as np
    >>> signs = pack_signs(np.array([0.5, -2.0, 0.0]))
    >>> signs.unpack()
    array([ 1, -1,  1], dtype=int8)
    >>> pack_signs(np.zeros((8, 3, 32, 32)), axis=1).shape
    (8, 32, 32, 3)
    """
    backend = backend_of("pack_signs", x, threshold)
    x = real_array("pack_signs", "x", x)
    if x.ndim == 0:
        raise ValueError("pack_signs: x must have at least 1 dimension, got a scalar")
    axis = normalize_axis("pack_signs", axis, x.ndim)
    zero = sign("pack_signs", "zero", zero, (1, -1))
    thresholds: tuple[int, ...] = ()
    if type(threshold) is int and threshold == 0:
        check_signs("pack_signs", "x", x.dtype, zero, cure="pass threshold=, or ")
    else:
        bounds = real_array("pack_signs", "threshold", threshold)
        if isinstance(bounds, np.ndarray) and np.isnan(bounds).any():
            raise ValueError("pack_signs: threshold must not be NaN")
        if not _fits(bounds.shape, x.shape):
            raise ValueError(
                f"pack_signs: threshold of shape {bounds.shape} does not broadcast to x's shape {x.shape}"
            )
        thresholds = bounds.shape
    words = backend.plan(PackSigns(memory_of(x), axis, zero, thresholds))(x, threshold)
    return PackedSigns(words, x.shape[axis])


@adapted
def hamming_distance(a: Any, b: Any, /, *, dtype: Any = np.int64, out: Array | None = None) -> Array:
    """Number of bits that differ between rows of words.

    Parameters
    ----------
    a, b : arrays of uint64, shape (..., w), or two :class:`PackedSigns` of equal length
        The leading dimensions broadcast.
    dtype : integer dtype, default int64
        That of the result. It has to hold 64 * w, the largest distance there can be: uint8 does up to 3
        words, uint16 up to 1023.
    out : array of ``dtype``, shape (...), optional

    Returns
    -------
    array of ``dtype``, shape (...)

    Raises
    ------
    TypeError
        If one is a :class:`PackedSigns` and the other is not, an array is not uint64, or ``dtype`` is not
        one of integers.
    ValueError
        If the lengths differ, the leading dimensions do not broadcast, or ``dtype`` does not hold 64 * w.

    Examples
    --------
    >>> import numpy as np
    >>> hamming_distance(np.array([[1, 2], [3, 4]], np.uint64), np.array([1, 2], np.uint64))
    array([0, 3])
    >>> hamming_distance(np.array([1, 2], np.uint64), np.array([3, 2], np.uint64), dtype=np.uint8)
    array(1, dtype=uint8)
    """
    if isinstance(a, PackedSigns) != isinstance(b, PackedSigns):
        raise TypeError(
            "hamming_distance: a and b must both be PackedSigns or both arrays of words, "
            f"got {type(a).__name__} and {type(b).__name__}"
        )
    if isinstance(a, PackedSigns):
        if a.length != b.length:
            raise ValueError(f"hamming_distance: lengths {a.length} and {b.length} differ")
        a, b = a.words, b.words
    backend = backend_of("hamming_distance", a, b, out)
    a, b = _words("hamming_distance", "a", a), _words("hamming_distance", "b", b)
    for name, words in (("a", a), ("b", b)):
        if words.ndim == 0:
            raise ValueError(f"hamming_distance: {name} must have at least 1 dimension, got a scalar")
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(
            f"hamming_distance: rows of {a.shape[-1]} and {b.shape[-1]} words cannot be compared"
        )
    batch = broadcast_shapes("hamming_distance", a.shape[:-1], b.shape[:-1])
    kind = _holding("hamming_distance", dtype, a.shape[-1])
    check_out("hamming_distance", out, batch, kind)
    return backend.plan(Hamming(memory_of(a), memory_of(b), batch, kind))(a, b, out)


def _holding(operation: str, dtype: Any, width: int) -> np.dtype[Any]:
    """``dtype`` as one of integers that can be 64 * ``width``."""
    kind, most = as_dtype(operation, dtype), 64 * width
    if kind.kind not in "iu":
        raise TypeError(f"{operation}: dtype must be one of integers, got {kind}")
    if most > np.iinfo(kind).max:
        needed = next(name for size in (2, 4, 8) if most <= np.iinfo(name := f"{kind.kind}{size}").max)
        raise ValueError(
            f"{operation}: rows of {width} words can be {most} bits apart, and {kind} holds up to "
            f"{np.iinfo(kind).max}; dtype must be at least {np.dtype(needed)}"
        )
    return kind


def _integers(operation: str, name: str, value: Any) -> Array:
    array = as_array(operation, name, value)
    if array.dtype.kind not in "bui":
        raise TypeError(f"{operation}: {name} must be bool or integer, got dtype {array.dtype}")
    return array


def _words(operation: str, name: str, value: Any) -> Array:
    array = as_array(operation, name, value)
    if array.dtype.newbyteorder("=") != np.uint64:
        raise TypeError(
            f"{operation}: {name} must be an array of uint64 (64 bits a word), got dtype {array.dtype}"
            f"{how_to_words(value, array)}"
        )
    return array


def _fits(shape: tuple[int, ...], into: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, into) == into
    except ValueError:
        return False


def _along(operation: str, array: Array, axis: int | None) -> tuple[Array, int]:
    if axis is None:
        return array.reshape(-1), 0
    return array, normalize_axis(operation, axis, array.ndim, "an integer or None")


def _with_length(shape: tuple[int, ...], axis: int, length: int) -> tuple[int, ...]:
    return (*shape[:axis], length, *shape[axis + 1 :])
