"""Time and memory of one operation at growing sizes, in a process that does nothing else.

``main`` is what that process runs: the name of an operation and powers of two on the command line, JSON
on stdout.
"""

from __future__ import annotations

import gc
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from peers.table import Array

SECONDS, CALLS = 0.3, 3  # for each size; at least so many calls

Operation = Callable[[Array, Any], Any]  # of the input and of out, which may be None


def _images(elements: int) -> tuple[int, int, int, int]:
    """Shape of images of 64 channels."""
    side = min(64, 2 ** (((elements // 64).bit_length() - 1) // 2))
    return elements // (64 * side * side), 64, side, side


def _prepare(name: str, elements: int) -> tuple[Array, Operation]:
    """An input of about so many elements (of im2col: such a result), and the operation on it."""
    match name:
        case "packbits64":
            return _filled(elements, np.bool_), lambda x, out: fastconv.packbits64(x, out=out)
        case "pack_signs":
            return _filled(elements, np.float32), lambda x, out: fastconv.pack_signs(x).words
        case "popcount":
            return _filled(elements, np.uint64), lambda x, out: fastconv.popcount(x, out=out)
        case "popcount_sum":
            return _filled(elements, np.uint64), lambda x, out: fastconv.popcount_sum(x)
        case "correlate2d":
            side, weight = math.isqrt(elements), np.linspace(-1, 1, 9, dtype=np.float32).reshape(3, 3)
            image = _filled(side * side, np.float32).reshape(side, side)
            return image, lambda x, out: fastconv.correlate2d(x, weight, "same", out=out)
        case "xnor_conv2d":
            filters = fastconv.pack_filters(_filled(64 * 64 * 9, np.float32).reshape(64, 64, 3, 3))
            x = _filled(elements, np.float32).reshape(_images(elements))
            return x, lambda x, out: fastconv.xnor_conv2d(x, filters, padding=1, out=out)
        case "im2col":
            x = _filled(elements // 8, np.float32).reshape(_images(elements // 8))
            return x, lambda x, out: fastconv.im2col(x, 3, padding=1, out=out)
        case "numpy.copyto":
            return _filled(elements, np.float32), _copy
    raise ValueError(name)


OPERATIONS = (
    *("packbits64", "pack_signs", "popcount", "popcount_sum"),
    *("correlate2d", "xnor_conv2d", "im2col", "numpy.copyto"),
)


def _copy(x: Array, out: Any) -> Any:
    out = np.empty_like(x) if out is None else out
    np.copyto(out, x)
    return out


def _filled(elements: int, dtype: Any) -> Array:
    """Random numbers that repeat, made without a temporary of the array's size."""
    rng = np.random.default_rng(0)
    some = rng.integers(0, 2**64, 512, np.uint64) if dtype is np.uint64 else rng.standard_normal(512)
    array = np.empty(elements, dtype)
    array.reshape(-1, 512)[:] = some > 0 if dtype is np.bool_ else some.astype(dtype)
    return array


def main() -> None:
    name, *powers = sys.argv[1:]
    x, operation = _prepare(name, 2**12)
    operation(x, operation(x, None))  # compiles
    seconds, extra = [], None
    for power in powers:
        del x, operation
        gc.collect()
        before = _memory("VmRSS")
        _forget_peak()
        x, operation = _prepare(name, 2 ** int(power))
        result = operation(x, None)
        peak = _memory("VmHWM")
        if before is not None and peak is not None:
            extra = peak - before - x.nbytes - result.nbytes
        seconds.append(_median(operation, x, result))
        del result
    print(json.dumps({"seconds": seconds, "extra": extra}))


def _median(operation: Operation, x: Array, out: Any) -> float:
    taken: list[float] = []
    while len(taken) < CALLS or sum(taken) < SECONDS:
        start = time.perf_counter()
        operation(x, out)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _memory(field: str) -> int | None:
    """Bytes, from Linux's own account of this process; getrusage would begin with the parent's peak."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return None


def _forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
