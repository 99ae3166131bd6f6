"""Kernels: loading their source, compiling it for types and architectures, launching.

A kernel is ``extern "C"`` in ``kernels/*.cu`` and specialised by macros (``-D``): types and constants of its
own. Shapes, strides and taps are run-time arguments, so a new shape never compiles. CuPy keeps compiled
kernels in memory for each device, and on disk.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import cupy
import numpy as np

KERNELS = Path(__file__).parent / "kernels"

C_TYPES = {
    "b1": "u8", "i1": "signed char", "u1": "u8", "i2": "short", "u2": "u16", "i4": "int", "u4": "u32",
    "i8": "i64", "u8": "u64", "f2": "half", "f4": "float", "f8": "double", "c8": "complex64",
    "c16": "complex128",
}  # fmt: skip
"""What kernels call a NumPy dtype, by kind and size."""

BINARY_PRODUCTS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (100, ()),  # tensor cores would multiply bits as eight products of integers
    (80, ("TENSOR_AND",)),
    (75, ("TENSOR_XOR",)),
    (0, ()),
)
"""From which compute capability on which macro chooses the inner product of kernels/binary_product.cuh."""

THREADS = 256
"""Threads of a block, where nothing else decides: full occupancy on every architecture."""

BLOCKS_PER_MULTIPROCESSOR = 16
"""Blocks of a grid whose threads go on to further elements: enough for two waves of full occupancy."""


@cache
def source(name: str) -> str:
    """``kernels/<name>`` with its includes in place, each once: CuPy's disk cache looks at nothing else."""
    seen: set[str] = set()

    def expanded(file: str) -> str:
        if file in seen:
            return ""
        seen.add(file)
        text = (KERNELS / file).read_text(encoding="utf-8").replace("#pragma once\n", "")
        return re.sub(r'^#include "(.+)"\n', lambda found: expanded(found[1]), text, flags=re.M)

    return expanded(name)


@cache
def _module(name: str, defines: tuple[str, ...]) -> Any:
    return cupy.RawModule(code=source(name), options=("-std=c++17", *(f"-D{d}" for d in defines)))


@cache
def multiprocessors(device: int) -> int:
    return int(cupy.cuda.Device(device).attributes["MultiProcessorCount"])


def binary_product() -> tuple[str, ...]:
    """The macros of the inner product of bits that serves the current device best."""
    capability = int(cupy.cuda.Device().compute_capability)
    return next(macros for least, macros in BINARY_PRODUCTS if capability >= least)


def c_type(dtype: np.dtype[Any]) -> str:
    return C_TYPES[f"{dtype.kind}{dtype.itemsize}"]


def launch(
    file: str,
    kernel: str,
    defines: tuple[str, ...],
    blocks: tuple[int, ...],
    threads: tuple[int, ...],
    arguments: tuple[Any, ...],
    shared: int = 0,
) -> None:
    """Launch ``kernel`` of ``kernels/<file>`` on the current stream; Python integers are passed as i64."""
    given = tuple(np.int64(a) if type(a) is int else a for a in arguments)
    _module(file, defines).get_function(kernel)(blocks, threads, given, shared_mem=shared)


def launch_over(n: int, file: str, kernel: str, defines: tuple[str, ...], arguments: tuple[Any, ...]) -> None:
    """:func:`launch` for ``n`` elements (or rows of 32 threads, ...), of which a thread may take several."""
    blocks = min(-(-n // THREADS), BLOCKS_PER_MULTIPROCESSOR * multiprocessors(cupy.cuda.Device().id))
    if n:
        launch(file, kernel, defines, (blocks,), (THREADS,), arguments)
