"""Specs of the operations on bits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Shape = tuple[int, ...]


class Memory(NamedTuple):
    """How the elements of an array lie in memory: ``strides`` in bytes, and whether all are ``aligned``, at
    multiples of their size."""

    shape: Shape
    strides: Shape
    dtype: np.dtype[Any]
    aligned: bool


def memory_of(x: Any) -> Memory:
    """The memory of ``x``, an array of NumPy or CuPy."""
    return Memory(x.shape, x.strides, x.dtype, getattr(x.flags, "aligned", True))


class Popcount(NamedTuple):
    """Ones of each element: plan(x, out)."""

    memory: Memory
    noun: str = "bits"


class PopcountSum(NamedTuple):
    """Ones summed over ``axes`` (in order) as an array of ``shape``: plan(x, out)."""

    memory: Memory
    axes: Shape
    shape: Shape
    noun: str = "bits"


class PackBits(NamedTuple):
    """Nonzeros along ``axis`` as words, which stay there: plan(x, out)."""

    memory: Memory
    axis: int
    bitorder: str = "little"
    noun: str = "bits"


class UnpackBits(NamedTuple):
    """The first ``length`` bits of words along ``axis``: plan(words, out)."""

    memory: Memory
    axis: int
    length: int
    bitorder: str = "little"
    noun: str = "bits"


class PackSigns(NamedTuple):
    """Words of x >= threshold, or > if ``zero`` is -1, along ``axis``, which becomes the last:
    plan(x, threshold) with a threshold of shape ``thresholds``, which broadcasts."""

    memory: Memory
    axis: int
    zero: int = 1
    thresholds: Shape = ()
    noun: str = "bits"


class Compare(NamedTuple):
    """Words of (x >= tau) xor flip, and 0 for NaN, along ``axis``, which becomes the last: plan(x, tau, flip)
    with one of each for each index of ``axis``."""

    memory: Memory
    axis: int
    noun: str = "bits"


class Hamming(NamedTuple):
    """Bits in which rows of words differ, the rows ``batch``, as integers of ``dtype``: plan(a, b, out)."""

    a: Memory
    b: Memory
    batch: Shape
    dtype: np.dtype[Any]
    noun: str = "bits"
