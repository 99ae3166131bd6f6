"""How many threads each side has, which is said in this file alone, and work shared among that many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

ONE_THREAD = dict.fromkeys(
    (
        *("FASTCONV_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"),
        *("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    ),
    "1",
)
"""The environment of a process in which every side has one thread."""


@cache
def threads() -> int:
    """As many as fastconv uses in this process; each library beside it is given the same number."""
    from fastconv.cpu.threads import threads as used_by_fastconv

    return used_by_fastconv()


def shared(function: Callable[..., Any], pieces: Sequence[tuple[Any, ...]]) -> Callable[[], None]:
    """A call of ``function`` with each of ``pieces`` as its arguments, at the same time.

    There are at most :func:`threads` pieces, and the caller does the last. ``function`` must release
    Python's lock.
    """
    *others, own = pieces

    def run() -> None:
        waiting = [_pool().submit(function, *piece) for piece in others]
        function(*own)
        for future in waiting:
            future.result()

    return run


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads())
