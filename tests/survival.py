"""Programs that test_threads.py runs in processes of their own, because a failure ends or hangs them.

``python survival.py PROGRAM [OPERATION ...]``; without operations, all of OPERATIONS are called.
"""

from __future__ import annotations

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

PATIENCE = 300
"""Seconds until a program is taken for hung; until a child of it is, a third of that."""


def _call(library: Any, operation: str, dtype: str = "float32") -> Any:
    """An operation of ``fastconv`` or of its reference, on enough elements for several threads."""
    rng = np.random.default_rng(5)
    x = rng.integers(-9, 9, (2, 16, 128, 128)).astype(dtype)
    weight = rng.integers(-9, 9, (8, 16, 3, 3)).astype(dtype)
    match operation:
        case "popcount_sum":
            return library.popcount_sum(x.view(np.uint32), axis=3)
        case "packbits64":
            return library.packbits64(x > 0, axis=1)
        case "pack_signs":
            return library.pack_signs(x, axis=1).words
        case "correlate2d":
            return library.correlate2d(x[0], weight[0, 0], "same", method="direct")
        case "im2col":
            return library.im2col(x, (3, 3))
        case "xnor_matmul":
            return library.xnor_matmul(x[0, 0], x[1, 0])
        case "xnor_conv2d":
            return library.xnor_conv2d(x, weight, padding=1)
    raise ValueError(operation)


OPERATIONS = (
    "popcount_sum",
    "packbits64",
    "pack_signs",
    "correlate2d",
    "im2col",
    "xnor_matmul",
    "xnor_conv2d",
)


@cache
def _expected(operation: str) -> Any:
    return _call(fastconv.reference, operation)


def check(operations: tuple[str, ...]) -> None:
    """Call each operation and compare with the reference: these are whole numbers, so exactly."""
    for operation in operations:
        np.testing.assert_array_equal(_call(fastconv, operation), _expected(operation), operation)


def layer(operations: tuple[str, ...]) -> None:
    """Say which threading layer numba chose."""
    from fastconv.cpu._threads import threading_layer

    print(threading_layer())


def threads_of_pytorch(operations: tuple[str, ...]) -> None:
    """Where PyTorch came first: the threading layer, and how many threads the first calls add."""
    import torch

    from fastconv.cpu._threads import threading_layer

    torch.set_num_threads(4)
    torch.ones(1 << 20).add_(1)
    before = len(os.listdir("/proc/self/task"))
    check(operations)
    print(threading_layer(), len(os.listdir("/proc/self/task")) - before)


def eight_threads(operations: tuple[str, ...]) -> None:
    """The first calls come from eight threads at once."""
    together = threading.Barrier(8)

    def several(_: int) -> None:
        together.wait()
        for _ in range(3):
            check(operations)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(several, range(8)))


def forked_child(operations: tuple[str, ...]) -> None:
    """A child, and its own child, call after the parent has; the parent still can."""
    from fastconv.cpu._threads import threads

    check(operations)
    all_threads = threads()

    def child() -> None:
        assert threads() == 1, "fork does not copy threads: cut no work for them"
        check(operations)
        _in_child(partial(check, operations))

    _in_child(child)
    check(operations)
    assert threads() == all_threads


def fresh_child(operations: tuple[str, ...]) -> None:
    """A child that calls first has threads of its own; its child in turn runs without."""
    from fastconv.cpu._threads import threads

    def child() -> None:
        assert threads() == int(os.environ["NUMBA_NUM_THREADS"])
        check(operations)
        _in_child(grandchild)

    def grandchild() -> None:
        assert threads() == 1
        check(operations)

    _in_child(child)


def foreign_threads(operations: tuple[str, ...]) -> None:
    """Not fastconv but other code using numba has started the threads."""
    import numba

    from fastconv.cpu import _threads

    _threads._load_tbb()
    numba.get_num_threads()
    _in_child(partial(check, operations))


def fork_while_computing(operations: tuple[str, ...]) -> None:
    """Fork, from the main and from another thread, while three threads are inside kernels."""
    check(operations)
    done = threading.Event()

    def compute() -> None:
        while not done.is_set():
            check(operations)

    with ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(compute) for _ in range(3)]
        try:
            for _ in range(3):
                _in_child(partial(check, operations))
            pool.submit(_in_child, partial(check, operations)).result()
        finally:
            done.set()
        for thread in busy:
            thread.result()


def fork_while_compiling(operations: tuple[str, ...]) -> None:
    """Fork while another thread compiles: the child must not wait for a compilation nobody does."""
    import fastconv.cpu.bits

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
    with ProcessPoolExecutor(2, get_context("fork"), signal.alarm, (PATIENCE // 3,)) as pool:
        list(pool.map(check, [operations] * 4))


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
        layer,
        threads_of_pytorch,
        eight_threads,
        forked_child,
        fresh_child,
        foreign_threads,
        fork_while_computing,
        fork_while_compiling,
        process_pool,
    )
}

if __name__ == "__main__":
    if hasattr(signal, "alarm"):
        signal.alarm(PATIENCE)
    PROGRAMS[sys.argv[1]](tuple(sys.argv[2:]) or OPERATIONS)
