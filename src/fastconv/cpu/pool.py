"""The threads behind the launcher.

A job is cut into chunks, which the caller and the workers take from a counter. The caller computes, too, and
waits only for chunks that somebody has begun, so that no job takes longer than on one thread because a worker
sleeps or another process has its core. Workers are Python threads that stay in compiled code, without
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

import numba
import numpy as np
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock

from fastconv.cpu.atomics import (
    FUTEX,
    add,
    call_kernel,
    call_openmp,
    exchange,
    futex,
    load,
    nanoseconds,
    pause,
    store,
)
from fastconv.cpu.cache import compile_c, compile_for_python

SPIN = 12_000
"""Rounds that a worker spins before it sleeps: 1 ms where a pause takes long (Intel), else 0.3 ms."""

PATIENCE = 2_000
"""Rounds that a caller waits for workers who still look at the job before; then it computes alone."""

LATE = 50_000
"""Nanoseconds after the last chunk was done within which PyTorch's threads have to end a job. If they take
longer, other processes have their cores, and they are not asked for ``AVOIDED`` times as long."""

AVOIDED = 64

COMPUTED, BUSY_ELSEWHERE, AVOIDING = range(3)
"""How an attempt to compute on several threads ended: done; another caller has them; these are not to be
asked now."""

WAIT, WAKE, EVERYBODY = 128, 129, 2**31 - 1
"""Operations of a futex of one process, and how many sleepers to wake."""

(
    EPOCH,  # how often a job was opened or closed: even while one is open
    BUSY,  # whether a caller has the workers
    NEXT, DONE, ACTIVE, SLOT,  # the next chunk, chunks done, workers at the job, the next one to come
    SLEEPERS, OVER,  # workers that sleep; whether all of them are to end
    FINISHED, AVOID,  # when PyTorch's threads did the last chunk, and until when not to ask them
    FUNCTION, RECORD, CHUNKS, MOST,  # the job
    SYSCALL, CLOCK,  # addresses of C functions, 0 where there are none
    WORDS,
) = range(0, 17 * 8, 8)  # fmt: skip
"""Words of the state of a pool, each in a line of the cache of its own."""


@numba.njit
def take(state, worker):
    """Compute chunks until none is left."""
    function, record, chunks = load(state, FUNCTION), load(state, RECORD), load(state, CHUNKS)
    while True:
        chunk = add(state, NEXT, 1)
        if chunk >= chunks:
            return
        call_kernel(function, record, chunk, worker)
        if add(state, DONE, 1) == chunks - 1 and load(state, CLOCK) != 0:
            store(state, FINISHED, nanoseconds(load(state, CLOCK)))


@numba.njit
def join(state):
    """Take part in the job, if there is room."""
    worker = add(state, SLOT, 1)
    if worker < load(state, MOST):
        take(state, worker)


def member(state):
    """What each of PyTorch's threads does."""
    join(state)


@numba.njit
def describe(state, function, record, chunks, most):
    """Write down a job."""
    store(state, FUNCTION, function)
    store(state, RECORD, record)
    store(state, CHUNKS, chunks)
    store(state, MOST, most)
    store(state, DONE, 0)
    store(state, NEXT, 0)


@numba.njit
def acquire(state):
    """Whether the workers are the caller's now, and done with the job before."""
    if exchange(state, BUSY, 1) != 0:
        return False
    rounds = 0
    while load(state, ACTIVE) > 0 and rounds < PATIENCE:
        pause()
        rounds += 1
    if load(state, ACTIVE) > 0:
        store(state, BUSY, 0)
        return False
    return True


def alone(function, record, chunks):
    """Compute all chunks on the calling thread."""
    for chunk in range(chunks):
        call_kernel(function, record, chunk, 0)


def together(state, function, record, chunks, most):
    """Compute with the workers that come."""
    if not acquire(state):
        return False
    describe(state, function, record, chunks, most)
    store(state, SLOT, 1)
    add(state, EPOCH, 1)
    if load(state, SLEEPERS) > 0 and load(state, SYSCALL) != 0:
        futex(load(state, SYSCALL), state + 8 * EPOCH, WAKE, EVERYBODY)
    take(state, 0)
    while load(state, DONE) < chunks:
        pause()
    add(state, EPOCH, 1)
    store(state, BUSY, 0)
    return COMPUTED


def on_openmp(state, function, record, chunks, most, parallel, member):
    """Compute on PyTorch's threads, by GOMP_parallel at the address ``parallel``."""
    if nanoseconds(load(state, CLOCK)) < load(state, AVOID):
        return AVOIDING
    if not acquire(state):
        return BUSY_ELSEWHERE
    describe(state, function, record, chunks, most)
    store(state, SLOT, 0)
    call_openmp(parallel, member, state, most)
    now = nanoseconds(load(state, CLOCK))
    late = now - load(state, FINISHED)
    if late > LATE:
        store(state, AVOID, now + AVOIDED * late)
    store(state, BUSY, 0)
    return COMPUTED


def work(state, last, slept):
    """A worker's life, from the job ``last`` on. Returns the last job it has seen when it has to sleep where
    there is no futex, and -1 when all is over."""
    if slept:
        add(state, SLEEPERS, -1)
    while load(state, OVER) == 0:
        epoch, rounds = load(state, EPOCH), 0
        while (epoch == last or epoch & 1) and rounds < SPIN:
            pause()
            rounds += 1
            epoch = load(state, EPOCH)
        if epoch == last or epoch & 1:
            add(state, SLEEPERS, 1)
            if load(state, SYSCALL) == 0:
                return last
            epoch = load(state, EPOCH)
            if (epoch == last or epoch & 1) and load(state, OVER) == 0:
                futex(load(state, SYSCALL), state + 8 * EPOCH, WAIT, epoch & 0xFFFFFFFF)
            add(state, SLEEPERS, -1)
            continue
        add(state, ACTIVE, 1)
        if load(state, EPOCH) == epoch:
            join(state)
            last = epoch
        add(state, ACTIVE, -1)
    return -1


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
        self.set(EPOCH, self.get(EPOCH) + 2)
        self._wake.set()
        if self.get(SYSCALL):
            word = ctypes.c_void_p(self.state + 8 * EPOCH)
            ctypes.CDLL(None).syscall(FUTEX, word, WAKE, EVERYBODY, None, None, 0)
        for worker in self.workers:
            worker.join(timeout=1)

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


def compute_together(function: int, record: int, chunks: int, most: int) -> None:
    """Call the kernel at the address ``function`` for every chunk of the record at the address ``record``, on
    at most ``most`` threads."""
    parallel, outcome = openmp(), AVOIDING
    if parallel:
        run = _for_python(on_openmp, "intp(intp, intp, intp, intp, intp, intp, intp)")
        outcome = run(_pool.state, function, record, chunks, most, parallel, _member())
    if outcome == AVOIDING:
        if len(_pool.workers) < most - 1:
            _pool.start(most - 1)
        _pool.wake()
        run = _for_python(together, "intp(intp, intp, intp, intp, intp)")
        outcome = run(_pool.state, function, record, chunks, most)
    if outcome != COMPUTED:
        (compute_alone or compiled_alone())(function, record, chunks)


def openmp() -> int:
    """The address of GOMP_parallel in the OpenMP whose threads PyTorch computes on; 0 if PyTorch is not
    loaded, has another, or was loaded by the parent of this process, whose threads are not here."""
    return _openmp_of_torch() if "torch" in sys.modules and not _forked else 0


@cache
def _openmp_of_torch() -> int:
    if sys.platform != "linux":
        return 0
    loaded = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "gomp" in line}
    for library in sorted(loaded, key=lambda path: "/torch/" not in path):
        with suppress(OSError, AttributeError):
            return _address("GOMP_parallel", ctypes.CDLL(library))
    return 0


@cache
def _for_python(function: Any, signature: str) -> Any:
    return compile_for_python(function, signature)


@cache
def _member() -> int:
    return int(compile_c(member, types.void(types.intp)).address)


def _address(name: str, library: Any = None) -> int:
    """Where a C function is; 0 on systems whose own are not asked."""
    if library is None:
        if sys.platform != "linux" or not FUTEX:
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
    global_compiler_lock.release()
    _pool, _forked = Pool(), True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
atexit.register(lambda: _pool.stop())
