"""The launcher computes every chunk once, on threads with scratch of their own."""

import numpy as np
import pytest
from numba import carray

from fastconv.cpu.kernels import Job, kernel, own, record, share
from thread_bounds import ALL_THREADS, bounds

COUNTS = record("counts scratch workers", "total rounds")
TASKS, ROUNDS = 100, 300


@kernel(COUNTS, counts=np.int64, scratch=np.int64, workers=np.int64)
def count_tasks(p, chunk, worker):
    """Count each task of the chunk as often as a number in the worker's scratch comes out as it was written,
    rounds apart; and the chunks of each worker."""
    counts, scratch = carray(p.counts, p.total), own(p, p.scratch, worker, 8)
    workers = carray(p.workers, 8)
    first, last = share(p, chunk, p.total)
    for task in range(first, last):
        scratch[:] = task
        for k in range(p.rounds):
            scratch[k % 8] += k
        for k in range(p.rounds):
            scratch[k % 8] -= k
        counts[task] += np.int64(scratch.sum() == 8 * task)
    workers[worker] += 1


@pytest.mark.parametrize("chunks", [1, 2, 7, 12, 40])
def test_every_task_is_done_once(chunks):
    with bounds(ALL_THREADS):
        job = Job(count_tasks, chunks, scratch={"scratch": 8}, total=TASKS, rounds=200)
        counts, workers = np.zeros(TASKS, np.int64), np.zeros(8, np.int64)
        for _ in range(ROUNDS):
            job(counts=counts, workers=workers)
    assert (counts == ROUNDS).all()
    assert workers.sum() == ROUNDS * chunks
    assert not workers[3:].any()


def test_different_scratch_does_not_overlap():
    job = Job(count_tasks, 4, scratch={"scratch": 8, "workers": 8}, total=TASKS, rounds=1)
    (_, first), (_, second) = job.scratch
    assert second - first >= 64
    assert job.apart >= second + 64 - first
