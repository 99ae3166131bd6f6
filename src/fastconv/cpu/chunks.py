"""What callers and workers of the pool do, in compiled code: see ``pool.py``.

All of them share a state, an address, whose words they read and change as one operation each, in one order
that all threads see: what follows needs that, for it stores one word and then reads another.

A job is open while EPOCH is even. Whoever has BUSY writes down the job while it is closed and nobody is
ACTIVE. A worker first counts itself among the ACTIVE, then looks at EPOCH again: if it has changed, it does
not touch the job. Only one thread is number 0, the caller, or the first of PyTorch's.
"""

from __future__ import annotations

import numba

from fastconv.cpu.atomics import (
    add,
    call_kernel,
    call_number,
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

WAKING = 1_000_000
"""Nanoseconds from which on workers that sleep are woken after a rest, for a job that took so long the last
time. On a virtual machine, cores that rested cost a job some 250 us: 400 us of work took 650 together."""

AT_ONCE = 100_000
"""Nanoseconds after a job within which the next one wakes them whatever it takes: more will follow."""

LATE = 50_000
"""Nanoseconds, beside the time of two chunks, within which PyTorch's threads have to end a job when the
caller finds no chunk any more. If they take longer, other processes have their cores, and they are not asked
for ``AVOIDED`` times as long."""

AVOIDED = 64

COMPUTED, BUSY_ELSEWHERE, AVOIDING = range(3)
"""How an attempt to compute on several threads ended: done; another caller has them; these are not to be
asked now."""

WAIT, WAKE, EVERYBODY = 128, 129, 2**31 - 1
"""FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE, and how many sleepers to wake."""

(
    EPOCH,  # how often a job was opened or closed: even while one is open
    BUSY,  # whether a caller has the workers
    CLAIMED, FROM_END, DONE,  # chunks that are claimed, those of them from the end on, those done
    ACTIVE, SLOT,  # workers at the job, the number of the next one to come
    SLEEPERS, OVER,  # workers that sleep; whether all of them are to end
    ENDED,  # when our own workers' last job was done
    EXPECTED, AVOID,  # when PyTorch's threads are to end their job, and until when not to ask them
    FUNCTION, RECORD, CHUNKS, MOST,  # the job
    SYSCALL, CLOCK, THREAD,  # addresses of C functions, 0 where there are none
    WORDS,
) = range(0, 20 * 8, 8)  # fmt: skip
"""Words of the state of a pool, each in a line of the cache of its own."""


@numba.njit
def take_one(state, worker, taken):
    """Compute the next chunk; returns whether there was one.

    The first thread, which has ``taken`` so many, goes from the first chunk on, the others from the last one
    backward: so with two threads each finds in its cache what it left there in the job before.
    """
    chunks = load(state, CHUNKS)
    if add(state, CLAIMED, 1) >= chunks:
        return False
    chunk = taken if worker == 0 else chunks - 1 - add(state, FROM_END, 1)
    call_kernel(load(state, FUNCTION), load(state, RECORD), chunk, worker)
    add(state, DONE, 1)
    return True


@numba.njit
def take(state, worker):
    """Compute chunks until none is left; returns how many."""
    taken = 0
    while take_one(state, worker, taken):
        taken += 1
    return taken


@numba.njit
def join(state):
    """Take part in the job, if there is room."""
    worker = add(state, SLOT, 1)
    if worker < load(state, MOST):
        take(state, worker)


def member(state):
    """What each of PyTorch's threads does. The first, which is the caller's, says until when the others have
    time: for the chunks that they are at."""
    worker = call_number(load(state, THREAD))
    if worker == 0:
        start = nanoseconds(load(state, CLOCK))
        taken = take(state, worker)
        now = nanoseconds(load(state, CLOCK))
        store(state, EXPECTED, now + 2 * (now - start) // max(taken, 1))
    elif worker < load(state, MOST):
        take(state, worker)


@numba.njit
def describe(state, function, record, chunks, most):
    """Write down a job."""
    store(state, FUNCTION, function)
    store(state, RECORD, record)
    store(state, CHUNKS, chunks)
    store(state, MOST, most)
    store(state, DONE, 0)
    store(state, FROM_END, 0)
    store(state, CLAIMED, 0)


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


def together(state, function, record, chunks, most, took):
    """Compute with the workers that come. At the address ``took`` stands for how many nanoseconds the job was
    run the last time."""
    if not acquire(state):
        return BUSY_ELSEWHERE
    describe(state, function, record, chunks, most)
    clock = load(state, CLOCK)
    start = nanoseconds(clock) if clock != 0 else 0
    store(state, SLOT, 1)
    add(state, EPOCH, 1)
    wanted = load(took, 0) > WAKING or start - load(state, ENDED) < AT_ONCE
    if wanted and load(state, SLEEPERS) > 0 and load(state, SYSCALL) != 0:
        futex(load(state, SYSCALL), state + 8 * EPOCH, WAKE, EVERYBODY)
    take(state, 0)
    while load(state, DONE) < chunks:
        pause()
    if clock != 0:
        now = nanoseconds(clock)
        store(took, 0, now - start)
        store(state, ENDED, now)
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
    call_openmp(parallel, member, state, most)
    now = nanoseconds(load(state, CLOCK))
    late = now - load(state, EXPECTED)
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
