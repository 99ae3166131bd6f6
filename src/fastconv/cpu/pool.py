"""The threads behind the launcher.

A job is cut into chunks, which the caller and the workers take from a counter. The caller computes, too, and
waits only for chunks that somebody has begun: not for a worker that sleeps, and for one whose core another
process takes away, one chunk at most. Workers are Python threads that stay in compiled code, without
Python's lock; after a job they spin for at most a millisecond, then they sleep.

Where PyTorch is loaded, its own threads compute, by OpenMP: after each of its operations they go on spinning
for milliseconds on the cores that others would need. But all of them have to come for a job to end; where
other processes keep them away, our own workers take over for a while.

Whoever calls while another caller has the workers computes alone. A forked child starts workers of its own.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock

from fastconv.cpu.atomics import FUTEX
from fastconv.cpu.cache import compile_c, compile_for_python
from fastconv.cpu.chunks import (
    AVOIDING,
    CLOCK,
    COMPUTED,
    EPOCH,
    EVERYBODY,
    OVER,
    SLEEPERS,
    SYSCALL,
    THREAD,
    WAKE,
    WORDS,
    alone,
    member,
    on_openmp,
    together,
    work,
)

PATIENT = 50
"""How often a worker is called at the end of the process, and waited for: a second in all."""


class Pool:
    """The workers of this process and the state they share with callers."""

    def __init__(self) -> None:
        memory = np.zeros(WORDS + 8, np.int64)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))  # workers may look at it to the very end
        self.state = memory.ctypes.data + -memory.ctypes.data % 64
        self.set(EPOCH, 1)
        self.set(SYSCALL, _address("syscall"))
        self.set(CLOCK, _address("clock_gettime"))
        self.workers: list[threading.Thread] = []
        self._lock, self._wake = threading.Lock(), threading.Event()

    def get(self, word: int) -> int:
        return ctypes.c_int64.from_address(self.state + 8 * word).value

    def set(self, word: int, value: int) -> None:
        ctypes.c_int64.from_address(self.state + 8 * word).value = value

    def start(self, number: int) -> None:
        """See to it that there are so many workers, or as many as the system allows."""
        with self._lock, suppress(RuntimeError):
            while len(self.workers) < number and not self.get(OVER):
                name = f"fastconv worker {len(self.workers) + 1}"
                worker = threading.Thread(target=self._live, name=name, daemon=True)
                worker.start()
                self.workers.append(worker)

    def wake(self) -> None:
        """Wake those that sleep in Python, where there is no futex."""
        if not self.get(SYSCALL) and self.get(SLEEPERS):
            self._wake.set()

    def stop(self) -> None:
        """Let all workers end, before the interpreter frees what they look at."""
        self.set(OVER, 1)
        for worker in self.workers:
            for _ in range(PATIENT):  # one that was about to sleep has missed the call
                self._wake.set()
                if self.get(SYSCALL):
                    word = ctypes.c_void_p(self.state + 8 * EPOCH)
                    ctypes.CDLL(None).syscall(FUTEX, word, WAKE, EVERYBODY, None, None, 0)
                worker.join(timeout=0.02)
                if not worker.is_alive():
                    break

    def _live(self) -> None:
        life, last, slept = _for_python(work, "intp(intp, intp, boolean)"), 0, False
        while (last := life(self.state, last, slept)) >= 0:
            slept = True
            self._wake.wait()
            self._wake.clear()


compute_alone: Any = None
"""Calls the kernel at an address for every chunk of the record at an address; None until it is compiled."""


def compiled_alone() -> Any:
    global compute_alone
    compute_alone = _for_python(alone, "void(intp, intp, intp)")
    return compute_alone


def compute_together(function: int, record: int, chunks: int, most: int, took: int) -> None:
    """Call the kernel at the address ``function`` for every chunk of the record at the address ``record``, on
    at most ``most`` threads; at ``took`` it is kept how long that took."""
    parallel, outcome = openmp(), AVOIDING
    if parallel:
        run = _for_python(on_openmp, "intp(intp, intp, intp, intp, intp, intp, intp)")
        outcome = run(_pool.state, function, record, chunks, most, parallel, _member())
    if outcome == AVOIDING:
        if len(_pool.workers) < most - 1:
            _pool.start(most - 1)
        _pool.wake()
        run = _for_python(together, "intp(intp, intp, intp, intp, intp, intp)")
        outcome = run(_pool.state, function, record, chunks, most, took)
    if outcome != COMPUTED:
        (compute_alone or compiled_alone())(function, record, chunks)


def openmp() -> int:
    """The address of GOMP_parallel in the OpenMP whose threads PyTorch computes on; 0 if PyTorch is not
    loaded, has another, or was loaded by the parent of this process, whose threads are not here."""
    return _openmp_of_torch() if "torch" in sys.modules and not _forked else 0


_openmp = 0  # GOMP_parallel's address, once it is found


def _openmp_of_torch() -> int:
    global _openmp
    if _openmp or not _pool.get(CLOCK) or not hasattr(sys.modules["torch"], "get_num_threads"):
        return _openmp  # or another thread is still importing PyTorch
    loaded = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "gomp" in line}
    for path in sorted(loaded, key=lambda path: "/torch/" not in path):
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(path)
            _pool.set(THREAD, _address("omp_get_thread_num", library))
            _openmp = _address("GOMP_parallel", library)
            break
    return _openmp


@cache
def _for_python(function: Any, signature: str) -> Any:
    return compile_for_python(function, signature)


@cache
def _member() -> int:
    return int(compile_c(member, types.void(types.intp)).address)


def _address(name: str, library: Any = None) -> int:
    """Where a C function is; 0 on systems whose own are not asked."""
    if library is None:
        if sys.platform != "linux" or (name == "syscall" and not FUTEX):
            return 0
        library = ctypes.CDLL(None)
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0


_pool = Pool()
_forked = False


def _before_fork() -> None:
    """Wait for a compilation in another thread: the child could never finish it, nor start its own."""
    global_compiler_lock.acquire()


def _after_fork_in_parent() -> None:
    global_compiler_lock.release()


def _after_fork_in_child() -> None:
    global _pool, _forked
    _pool, _forked = Pool(), True
    with suppress(RuntimeError):  # raised if whoever forked has not called what comes before
        global_compiler_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
atexit.register(lambda: _pool.stop())
