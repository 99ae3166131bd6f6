"""The one launcher of kernels: how many threads compute, which ones, and on what scratch."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from fastconv.cpu import pool

LINE = 64
"""Bytes of a line of the cache."""

APART = 2 * LINE
"""Bytes between the scratch of two workers: threads that write to one line wait for each other, and the next
line may come along."""

KEPT_BYTES = 1 << 20
"""Most bytes of scratch that a thread keeps for its next job."""

CHUNKS_EACH = 4
"""Chunks for each thread: a thread that comes late, or is taken away, costs the others a part of its
share."""

FEW = 64
"""Long tasks up to which each is a chunk of its own."""

SMALL = 128 * 1024
"""Bytes up to which one thread is done with a simple kernel before another would help."""


def threads() -> int:
    """How many threads compute: FASTCONV_NUM_THREADS, or PyTorch's own number where PyTorch is loaded, or
    NUMBA_NUM_THREADS, or the CPUs that this process may use."""
    asked = os.environ.get("FASTCONV_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    torch: Any = sys.modules.get("torch")
    if hasattr(torch, "get_num_threads"):
        return int(torch.get_num_threads())
    return int(numba.config.NUMBA_NUM_THREADS)


def chunks_of(tasks: int, *, serially: bool = False) -> int:
    """Into how many chunks to cut so many tasks."""
    workers = 1 if serially else threads()
    return min(tasks, CHUNKS_EACH * workers) if workers > 1 else 1


def chunks_of_long(tasks: int, *, serially: bool = False) -> int:
    """The same for tasks of some 10 us and more: few of them are a chunk each, or threads would end far
    apart."""
    chunks = chunks_of(tasks, serially=serially)
    return tasks if chunks > 1 and tasks <= FEW else chunks


def launch(job: Any, p: Any) -> None:
    """Run the kernel of ``job`` on the record ``p``. There is no other way to a kernel."""
    most = min(threads(), job.chunks) if job.chunks > 1 else 1
    if job.apart:
        # held here until the job is done: whatever interrupts it, a signal's handler, may need more
        _memory, start = _kept.at_least(most * job.apart)
        for name, offset in job.scratch:
            setattr(p, name, start + offset)
    if most == 1:
        (pool.compute_alone or pool.compiled_alone())(job.function, ctypes.addressof(p), job.chunks)
    else:
        pool.compute_together(job.function, ctypes.addressof(p), job.chunks, most, job.took)


def whose() -> str:
    """Whose threads compute, for people."""
    return "PyTorch's" if pool.openmp() else "fastconv's own"


class _Kept(threading.local):
    """Scratch memory of the calling thread, which is its own until its next job: fresh memory costs more than
    a small kernel (8 us for 64 KiB)."""

    def __init__(self) -> None:
        self.memory: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.start = 0

    def at_least(self, size: int) -> tuple[NDArray[np.uint8], int]:
        """Memory, and the address in it from which on there are ``size`` bytes."""
        if not size + LINE <= self.memory.size <= KEPT_BYTES:
            memory = np.empty(size + LINE, np.uint8)
            self.memory, self.start = memory, -(-memory.ctypes.data // LINE) * LINE
        return self.memory, self.start


_kept = _Kept()
