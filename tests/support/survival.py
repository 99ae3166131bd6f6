"""Programs that test_threads.py runs in processes of their own, because a failure ends or hangs them.

``python survival.py WAY PROGRAM [OPERATION ...]``, see :func:`choose_way`; without operations, all of
OPERATIONS are called.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from typing import Any

import numpy as np

import fastconv
from fastconv.cpu import chunks, pool, threads
from right_calls import LARGE, leaves

PATIENCE = 300
"""Seconds until a program is taken for hung; until a child of it is, a third of that."""


OPERATIONS = (
    "popcount_sum",
    "packbits64",
    "pack_signs",
    "correlate2d",
    "im2col",
    "xnor_matmul",
    "xnor_conv2d",
)


def _call(library: Any, operation: str) -> Any:
    """An operation of ``fastconv`` or of its reference, on enough elements for several threads."""
    call = LARGE[operation]
    (result,) = leaves(call.call(library, *call.arrays()))
    return result


@cache
def _expected(operation: str) -> Any:
    return _call(fastconv.reference, operation)


def check(operations: tuple[str, ...]) -> None:
    """Call each operation and compare with the reference: these are whole numbers, so exactly."""
    for operation in operations:
        np.testing.assert_array_equal(_call(fastconv, operation), _expected(operation), operation)


def choose_way(way: str) -> None:
    """Whose threads the program computes on: our own, which sleep by a futex or else by an event, or
    PyTorch's."""
    if way == "pytorch":
        import torch

        torch.set_num_threads(4)
        torch.ones(1 << 20).add_(1)
    if way == "event":
        pool.FUTEX = 0  # as on systems without one
        pool._pool = pool.Pool()


def whose(operations: tuple[str, ...]) -> None:
    """Say whose threads compute, how many there are, and how many of them are workers of our own."""
    check(operations)
    print(threads.whose(), threads.threads(), len(pool._pool.workers))


def eight_threads(operations: tuple[str, ...]) -> None:
    """The first calls come from eight threads at once."""
    together = threading.Barrier(8)

    def several(_: int) -> None:
        together.wait()
        for _ in range(3):
            check(operations)

    with ThreadPoolExecutor(8) as callers:
        list(callers.map(several, range(8)))


def two_callers(operations: tuple[str, ...]) -> None:
    """Neither of two callers waits for the other: one is inside a kernel for as long as the other likes."""
    release = threading.Event()
    inside = threading.Event()

    def hold() -> None:
        state = pool._pool.state
        assert exchange_busy(state) == 0
        inside.set()
        release.wait()
        pool._pool.set(chunks.BUSY, 0)

    check(operations)
    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait()
    check(operations)
    release.set()
    holder.join()
    check(operations)


def exchange_busy(state: int) -> int:
    """Take the workers as a caller does; what the word was before."""
    before = pool._pool.get(chunks.BUSY)
    pool._pool.set(chunks.BUSY, 1)
    return before


def forked_child(operations: tuple[str, ...]) -> None:
    """A child, and its own child, call after the parent, on workers of their own; the parent still can."""
    check(operations)

    def child() -> None:
        assert not pool._pool.workers, "fork does not copy threads"
        check(operations)
        assert len(pool._pool.workers) == threads.threads() - 1
        _in_child(partial(check, operations))

    _in_child(child)
    check(operations)


def fresh_child(operations: tuple[str, ...]) -> None:
    """A child calls before its parent ever has."""
    _in_child(lambda: [check(operations), _in_child(partial(check, operations))])
    check(operations)


def fork_while_computing(operations: tuple[str, ...]) -> None:
    """Fork, from the main and from another thread, while three threads are inside kernels."""
    check(operations)
    done = threading.Event()

    def compute() -> None:
        while not done.is_set():
            check(operations)

    with ThreadPoolExecutor(4) as callers:
        busy = [callers.submit(compute) for _ in range(3)]
        try:
            for _ in range(3):
                _in_child(partial(check, operations))
            callers.submit(_in_child, partial(check, operations)).result()
        finally:
            done.set()
        for thread in busy:
            thread.result()


def fork_while_compiling(operations: tuple[str, ...]) -> None:
    """Fork while another thread compiles: the child must not wait for a compilation nobody does."""
    check(operations)
    compiling = threading.Thread(
        target=lambda: [fastconv.popcount(np.zeros(9, dtype)) for dtype in ("u1", "u2")]
    )
    compiling.start()
    time.sleep(0.1)
    assert compiling.is_alive(), "too late: it compiles no more"
    _in_child(partial(check, operations))
    compiling.join()


def process_pool(operations: tuple[str, ...]) -> None:
    """A pool of forked processes."""
    check(operations)
    with ProcessPoolExecutor(2, get_context("fork"), signal.alarm, (PATIENCE // 3,)) as processes:
        list(processes.map(check, [operations] * 4))


def spawned_pools(operations: tuple[str, ...]) -> None:
    """Pools of processes that are started anew."""
    check(operations)
    for method in ("spawn", "forkserver"):
        with ProcessPoolExecutor(2, get_context(method)) as pool_of_processes:
            list(pool_of_processes.map(check, [operations] * 4))


def thread_pool_in_children(operations: tuple[str, ...]) -> None:
    """Threads of a forked child call at once."""
    check(operations)
    _in_child(partial(eight_threads, operations))


def no_more_threads(operations: tuple[str, ...]) -> None:
    """The system allows no threads: callers compute alone."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threading.Thread.start = refuse  # type: ignore[method-assign]
    check(operations)
    assert not pool._pool.workers


def worker_dies(operations: tuple[str, ...]) -> None:
    """A worker ends while it sleeps: the others, and callers, go on."""
    check(operations)
    time.sleep(0.1)  # until they sleep
    victim = pool._pool.workers[0]
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(victim.ident or 0), ctypes.py_object(SystemExit)
    )
    check(operations)
    time.sleep(0.1)
    check(operations)
    assert len(pool._pool.workers) == threads.threads() - 1


def other_numbers(operations: tuple[str, ...]) -> None:
    """The number of threads changes from call to call, also between the plan and its run."""
    for number in ("1", "3", "2", "7", "1", "5"):
        os.environ["FASTCONV_NUM_THREADS"] = number
        assert threads.threads() == int(number)
        check(operations)


def pytorch_is_late(operations: tuple[str, ...]) -> None:
    """Where PyTorch's threads came late, our own compute, until it is their turn again."""
    pool._pool.set(chunks.AVOID, time.monotonic_ns() + 10**12)
    check(operations)
    assert len(pool._pool.workers) == threads.threads() - 1
    for _ in range(50):  # of which a busy machine makes some late
        pool._pool.set(chunks.AVOID, 0)
        jobs = pool._pool.get(chunks.EPOCH)
        check(operations)
        if pool._pool.get(chunks.EPOCH) == jobs:
            return
    raise AssertionError("PyTorch's threads do not open jobs for workers")


def interrupted(operations: tuple[str, ...]) -> None:
    """Ctrl-C while kernels run: the next call is right."""
    check(operations)
    for _ in range(5):
        signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        try:
            while True:
                check(operations)
        except KeyboardInterrupt:
            check(operations)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def ends_while_computing(operations: tuple[str, ...]) -> None:
    """The process ends while daemon threads are inside kernels."""
    check(operations)

    def compute() -> None:
        while True:
            _call(fastconv, operations[0])

    for _ in range(3):
        threading.Thread(target=compute, daemon=True).start()
    time.sleep(0.2)


def ends_at_once(operations: tuple[str, ...]) -> None:
    """The process ends without Python's clean-up, right after a call."""
    check(operations)
    os._exit(0)


def ends_in_exit_handlers(operations: tuple[str, ...]) -> None:
    """Calls from exit handlers, some of which come after ours."""
    atexit.register(check, operations)
    check(operations)
    atexit.register(check, operations)


def _in_child(task: Callable[[], None]) -> None:
    """Run ``task`` in a forked child; fail if it fails, dies or hangs."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(PATIENCE // 3)  # ends the child wherever it hangs
        status = 1
        try:
            task()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise ChildProcessError(f"the child ended with {code}")


PROGRAMS = {
    program.__name__: program
    for program in (
        whose, eight_threads, two_callers, forked_child, fresh_child, fork_while_computing,
        fork_while_compiling, process_pool, spawned_pools, thread_pool_in_children, no_more_threads,
        worker_dies, other_numbers,
        pytorch_is_late, interrupted, ends_while_computing, ends_at_once, ends_in_exit_handlers,
    )
}  # fmt: skip

if __name__ == "__main__":
    if hasattr(signal, "alarm"):
        signal.alarm(PATIENCE)
    choose_way(sys.argv[1])
    PROGRAMS[sys.argv[2]](tuple(sys.argv[3:]) or OPERATIONS)
