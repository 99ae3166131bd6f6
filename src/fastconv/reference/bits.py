"""The plain-NumPy meaning of :mod:`fastconv.bits`."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv._backends import unfollowed
from fastconv._checks import check_signs
from fastconv.packed import PackedSigns
from fastconv.reference._out import write


@unfollowed
def popcount(x: Any, /, *, out: Any = None) -> Any:
    """As :func:`fastconv.popcount`."""
    return write(np.bitwise_count(x), out)


@unfollowed
def popcount_sum(x: Any, /, *, axis: Any = None, keepdims: bool = False, out: Any = None) -> Any:
    """As :func:`fastconv.popcount_sum`."""
    counts = np.bitwise_count(np.asarray(x))
    return write(counts.sum(axis=axis, keepdims=keepdims, dtype=np.int64), out)


@unfollowed
def packbits64(x: Any, /, *, axis: Any = -1, bitorder: str = "little", out: Any = None) -> Any:
    """As :func:`fastconv.packbits64`."""
    x = np.asarray(x)
    if axis is None:
        x, axis = x.reshape(-1), 0
    rows = np.moveaxis(x != 0, axis, -1)
    padding = [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[axis] % 64)]
    octets = np.packbits(np.pad(rows, padding), axis=-1, bitorder=bitorder)  # type: ignore[call-overload]
    octets = np.ascontiguousarray(octets)
    words = octets.view("<u8" if bitorder == "little" else ">u8").astype(np.uint64)
    return write(np.moveaxis(words, -1, axis), out)


@unfollowed
def unpackbits64(
    words: Any, /, *, axis: Any = -1, count: int | None = None, bitorder: str = "little", out: Any = None
) -> Any:
    """As :func:`fastconv.unpackbits64`."""
    words = np.asarray(words)
    if axis is None:
        words, axis = words.reshape(-1), 0
    places = np.arange(64, dtype=np.uint64)
    if bitorder == "big":
        places = places[::-1]
    rows = np.moveaxis(words, axis, -1)[..., None]
    bits = ((rows >> places) & np.uint64(1)).astype(np.uint8)
    bits = bits.reshape(*bits.shape[:-2], 64 * bits.shape[-2])[..., :count]
    return write(np.moveaxis(bits, -1, axis), out)


@unfollowed
def pack_signs(x: Any, /, *, axis: int = -1, zero: int = 1, threshold: Any = 0) -> PackedSigns:
    """As :func:`fastconv.pack_signs`."""
    x = np.asarray(x)
    if type(threshold) is int and threshold == 0:
        check_signs("pack_signs", "x", x.dtype, zero, cure="pass threshold=, or ")
    if x.dtype == np.bool_:
        x = np.where(x, np.int8(1), np.int8(-1))
    positive = x >= threshold if zero == 1 else x > threshold
    return PackedSigns(packbits64(np.moveaxis(positive, axis, -1)), x.shape[axis])


@unfollowed
def hamming_distance(a: Any, b: Any, /, *, dtype: Any = np.int64, out: Any = None) -> Any:
    """As :func:`fastconv.hamming_distance`."""
    if isinstance(a, PackedSigns):
        a, b = a.words, b.words
    return write(np.bitwise_count(np.bitwise_xor(a, b)).sum(axis=-1, dtype=dtype), out)
