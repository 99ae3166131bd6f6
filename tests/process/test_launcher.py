"""The launcher computes every chunk once, before it returns, on threads with numbers and scratch of their
own."""

import numpy as np
import pytest
from numba import carray

from fastconv.cpu.kernels import Job, kernel, own, record, share
from thread_bounds import ALL_THREADS, THREADS, bounds

COUNTS = record("counts inside scratch", "tasks rounds slower")
LAUNCHES = 300


@kernel(COUNTS, counts=np.int64, inside=np.int64, scratch=np.int64)
def count_tasks(p, chunk, worker):
    """Count each task of the chunk, after a while, for which numbers in the worker's scratch change and
    change back; or not, if the worker is ``inside`` another chunk, or the scratch is another's, too.

    All workers but the first are ``slower``.
    """
    counts, inside = carray(p.counts, p.tasks), carray(p.inside, THREADS)
    scratch = own(p, p.scratch, worker, 8)
    alone = inside[worker] == 0
    inside[worker] += 1
    rounds = p.rounds * (p.slower if worker > 0 else 1)
    first, last = share(p, chunk, p.tasks)
    for task in range(first, last):
        scratch[:] = task
        for k in range(rounds):
            scratch[k * k % 8] += k
        for k in range(rounds):
            scratch[k * k % 8] -= k
        counts[task] += np.int64(alone and scratch.sum() == 8 * task)
    inside[worker] -= 1


@pytest.mark.parametrize("tasks", [1, 5, 40, 101])
@pytest.mark.parametrize("chunks", [1, 2, 7, 12, 40])
def test_every_task_is_done_once(tasks, chunks):
    with bounds(ALL_THREADS):
        job = Job(count_tasks, chunks, scratch={"scratch": 8}, tasks=tasks, rounds=500, slower=20)
        for _ in range(LAUNCHES):
            counts = np.zeros(tasks, np.int64)
            job(counts=counts, inside=np.zeros(THREADS, np.int64))
            assert (counts == 1).all()


def test_threads_that_meet_have_numbers_and_scratch_of_their_own():
    """In jobs of some 40 ms, in which even on two cores every thread comes to compute."""
    with bounds(ALL_THREADS):
        job = Job(count_tasks, 40, scratch={"scratch": 8}, tasks=40, rounds=3_000_000, slower=1)
        for _ in range(20):
            counts = np.zeros(40, np.int64)
            job(counts=counts, inside=np.zeros(THREADS, np.int64))
            assert (counts == 1).all()


def test_different_scratch_does_not_overlap():
    job = Job(count_tasks, 4, scratch={"scratch": 8, "inside": 8}, tasks=100, rounds=1, slower=1)
    (_, first), (_, second) = job.scratch
    assert second - first >= 64
    assert job.apart >= second + 64 - first
