"""What callers and workers of the pool do, in compiled code: see ``pool.py``.

All of them share a state, an address, whose words they read and change as one operation each.
"""

from __future__ import annotations

import numba

from fastconv.cpu.atomics import (
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
        return BUSY_ELSEWHERE
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
