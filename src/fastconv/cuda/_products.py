"""Binary products: which kernel serves a problem, and what it is given."""

from __future__ import annotations

from math import prod
from typing import Any

import cupy
import numpy as np

from fastconv._epilogue import Epilogue
from fastconv._geometry import Window
from fastconv.cuda._problem import Strides, by_value, problem_of
from fastconv.cuda.arrays import Array, contiguous
from fastconv.cuda.compile import binary_product, c_type, launch, launch_over
from fastconv.packed import PackedFilters

TILE, BLOCK = 64, 128
"""Pixels and filters of a block of binary_gemm.cu, and its threads."""

FULL_TILE = 8
"""Words of a group's filters, in one tap, up to which each output has a thread of its own: fewer than a tile
takes in a step from one of its 64 filters. Not measured on a GPU."""

NULL = np.uintp(0)
"""An array that is not there, to a kernel."""


def multiply(
    words: Array,
    steps: Strides,
    weight: PackedFilters,
    groups: int,
    images: int,
    geometry: Window,
    pad_value: int,
    epilogue: Epilogue,
    factor: Array | None,
    target: Array,
    strides: Strides,
) -> None:
    """Fill ``target``, with the given ``strides``, by the products of ``words``' windows and ``weight``."""
    filters, channels, *_ = weight.shape
    part, depth = filters // groups, weight.words.shape[-1]
    defines, parameters = _epilogue(epilogue, factor)
    direct = depth * part <= FULL_TILE
    product = () if direct else binary_product()
    problem = problem_of(
        geometry, images, steps, strides, groups=groups, filters=part, channels=channels, words=depth,
        outside=pad_value if direct else pad_value + 1,
    )  # fmt: skip
    packed = contiguous(weight.words)
    cut = problem.outside and channels and geometry.padded != geometry.size
    sums = _filter_sums(weight) if cut or "TENSOR_AND" in product else NULL
    arguments = (words, packed, sums, *parameters, target)
    if direct:
        threads = prod(target.shape) * (64 if "SIGNS" in defines else 1)
        launch_over(threads, "binary_direct.cu", "binary_direct", defines, (*arguments, by_value(problem)))
        return
    if "SIGNS" in defines and groups > 1 and part % 64:
        target.fill(0)  # groups meet within words, to which their bits are added
    blocks = groups * -(-problem.pixels // TILE) * -(-part // TILE)
    wide = int(depth % 2 == 0 and (words.data.ptr | packed.data.ptr) % 16 == 0)
    launch(
        "binary_gemm.cu", "binary_gemm", (*defines, *product), (blocks,), (BLOCK,),
        (*arguments, wide, by_value(problem)),
    )  # fmt: skip


def _epilogue(epilogue: Epilogue, factor: Array | None) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """The macros for what is stored, and the kernels' arguments scale, bias and factor."""
    if epilogue.threshold is not None:
        tau, flip = contiguous(epilogue.threshold.tau), contiguous(epilogue.threshold.flip)
        return ("RESULT=u64", "SIGNS"), (tau, flip, NULL)
    if epilogue.dtype == np.int32:
        return ("RESULT=int",), (NULL, NULL, NULL)
    given = (epilogue.scale, epilogue.bias, factor)
    parameters = tuple(NULL if a is None else contiguous(a) for a in given)
    return (f"RESULT={c_type(epilogue.dtype)}", "SCALED"), parameters


def _filter_sums(weight: PackedFilters) -> Array:
    """Sums of signs over all rectangles of taps that start at the first: (O, kh + 1, kw + 1).

    Kept for each stream, since another may read them only after waiting for the one that makes them.
    """

    def make() -> Array:
        o, channels, kh, kw = weight.shape
        sums = cupy.empty((o, kh + 1, kw + 1), np.int32)
        words = contiguous(weight.words)
        arguments = (words, sums, o, kh, kw, words.shape[-1], channels)
        launch_over(32 * o * (kw + 1), "binary_words.cu", "filter_sums", (), arguments)
        return sums

    return weight.derived(("sums", cupy.cuda.get_current_stream().ptr), make)
