"""The bounds up to which a call is done by its own thread, and how tests move them; the workers' memory.

Each bound is a constant of a module that plans read; ``BOUNDS`` is the one place that names them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from fastconv.cpu import threads
from plans import planned_anew

BOUNDS = {
    "fastconv.cpu.bits.count": ("SMALL",),
    "fastconv.cpu.bits.distances": ("SMALL",),
    "fastconv.cpu.bits.each": ("SMALL",),
    "fastconv.cpu.bits.nonzeros": ("SMALL",),
    "fastconv.cpu.bits.layouts": ("SMALL", "SMALL_PACKED"),
    "fastconv.cpu.correlation.channels": ("SMALL_DEPTHWISE",),
    "fastconv.cpu.correlation.dense": ("SMALL_WORK",),
    "fastconv.cpu.correlation.filters": ("SMALL_WORK",),
    "fastconv.cpu.correlation.packing": ("SMALL",),
    "fastconv.cpu.correlation.tiling": ("SERIAL_PRODUCTS",),
    "fastconv.cpu.exchange": ("SMALL",),
    "fastconv.cpu.patches.col2im": ("SMALL",),
    "fastconv.cpu.patches.im2col": ("SMALL",),
    "fastconv.cpu.xnor.channelwise": ("SMALL",),
    "fastconv.cpu.xnor.depthwise": ("SMALL_WORDS",),
    "fastconv.cpu.xnor.means": ("SMALL",),
    "fastconv.cpu.xnor.pack": ("SMALL",),
    "fastconv.cpu.xnor.pixels": ("SMALL_SUMS",),
    "fastconv.cpu.xnor.pool": ("SMALL",),
    "fastconv.cpu.xnor.words": ("SMALL_PRODUCTS",),
}
"""By module, the constants that decide between the caller's thread and all of them."""


KNUTH = 2654435761
"""Multiples of it have bits that look drawn: 2**32 divided by the golden ratio."""


UNTOUCHED = 0xA5
"""Every byte of scratch before a kernel runs, in :func:`dealt_out`."""


class EitherWay(int):
    """A bound under which one amount lies and the next does not, whatever their size.

    The same amount always lies on the same side, so a failure comes again when it is tried again.
    """

    def __ge__(self, amount: int) -> bool:
        return int(amount) * KNUTH >> 32 & 1 == 0


THREADS = 3
"""Which divides neither the tasks of most calls nor the cores of most machines."""

EITHER_WAY, ALL_THREADS, ONE_THREAD = EitherWay(4096), -1, 2**62


@contextmanager
def bounds(value: int) -> Iterator[None]:
    """``value`` in place of every bound, and several threads however many there are by themselves."""
    with planned_anew(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTCONV_NUM_THREADS", str(THREADS))
        for module, names in BOUNDS.items():
            for name in names:
                patch.setattr(import_module(module), name, value)
        yield


@contextmanager
def dealt_out() -> Iterator[list[tuple[str, list[bool]]]]:
    """Chunks are dealt out in turn, as if there were THREADS workers, all on this thread.

    For every launch of several workers, and each scratch of the kernel, the list holds its name and, for each
    worker, whether any byte of that worker's was written.
    """
    found: list[tuple[str, list[bool]]] = []

    def launch(job: Any, p: Any) -> None:
        workers = min(THREADS, job.chunks)
        memory = np.full(workers * job.apart + threads.LINE, UNTOUCHED, np.uint8)
        start = -memory.ctypes.data % threads.LINE
        for name, offset in job.scratch:
            setattr(p, name, memory.ctypes.data + start + offset)
        compiled = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *[ctypes.c_ssize_t] * 2)(job.function)
        for chunk in range(job.chunks):
            compiled(ctypes.addressof(p), chunk, chunk % workers)
        ends = [*(offset for _, offset in job.scratch[1:]), job.apart]
        for (name, offset), end in zip(job.scratch, ends, strict=False) if workers > 1 else ():
            own = (memory[start + w * job.apart :][offset:end] for w in range(workers))
            found.append((f"{job.kernel.name}: {name}", [bool((a != UNTOUCHED).any()) for a in own]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "launch", launch)
        yield found
