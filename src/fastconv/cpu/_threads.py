"""The one policy for threads, fork and the compile cache.

Threads: TBB is loaded where it is installed, because any number of threads may call it at once. So may
they with OpenMP, which is taken where PyTorch is loaded before the first call: its threads are OpenMP's, and
for 4 ms after each of its operations they spin on the cores that TBB's would need. "workqueue" ends the
process when two threads enter it, so callers take turns.

Fork: a child runs the kernels serially once its parent had started the threads, which fork does not copy.
GNU OpenMP ends such a child at its first parallel loop; TBB's hung in 4 of 300 children forked while
other threads computed. A child that starts the threads itself runs in parallel.

Cache: a kernel is compiled once per machine, not once per process.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import pickle
import site
import sys
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core.caching import FunctionCache, _cache_log
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps
from numpy.typing import NDArray

SMALL = 256 * 1024
"""Bytes up to which one thread is done before another would be: waking the threads costs 2 µs if they
worked within the last 10 µs, else 15 µs (TBB), in which one thread reads 512 KiB of its cache."""

KEPT_SCRATCH = 16
"""Scratch arrays kept for each calling thread."""

KEPT_BYTES = 256 * 1024
"""Largest scratch kept: from there on, kernels take longer than fresh memory does."""

PRIORITY = ["tbb", "omp", "workqueue"]
"""The order in which numba looks for a threading layer, unless the user has another."""

_turn = threading.RLock()
_serial = False


def parallel_kernel(function: Callable[..., None]) -> Callable[..., None]:
    """Compile ``function``, which loops with ``numba.prange``, to run on all threads, safely.

    Or on the caller's own, with ``serially=True``: waking a thread that sleeps takes longer than a small
    call, see SMALL.
    """
    parallel = _compile(function, parallel=True)
    serial = _compile(function, parallel=False)

    def launch(*args: Any, serially: bool = False) -> None:
        if serially or _serial:
            serial(*args)
        elif threading_layer() == "workqueue":
            with _turn:
                parallel(*args)
        else:
            parallel(*args)

    launch.__name__, launch.__doc__ = function.__name__, function.__doc__
    return launch


def threads() -> int:
    """How many threads a parallel kernel may use: the number of pieces to cut work into."""
    if _serial:
        return 1
    threading_layer()
    return int(numba.get_num_threads())


def scratch(*rows: tuple[int, Any], serially: bool = False) -> list[NDArray[Any]]:
    """For each (length, dtype) an array with a row of at least that length for each thread.

    Rows have 128 bytes between them: threads that write to one cache line wait for each other (twice the
    time, measured on short rows). The memory serves the caller's next kernel, too, unless it is large:
    fresh memory costs more than a small kernel (8 us for 64 KiB).
    """
    workers = 1 if serially else threads()
    key = (workers, *rows)
    arrays: list[NDArray[Any]] | None = _kept.rows.get(key)
    if arrays is None:
        sizes = [length + 128 // np.dtype(dtype).itemsize for length, dtype in rows]
        arrays = [np.empty((workers, n), dtype) for n, (_, dtype) in zip(sizes, rows, strict=True)]
        if sum(array.nbytes for array in arrays) <= KEPT_BYTES:
            while len(_kept.rows) >= KEPT_SCRATCH:
                del _kept.rows[next(iter(_kept.rows))]
            _kept.rows[key] = arrays
    return arrays


class _Kept(threading.local):
    """Scratch memory of the calling thread, by what was asked for, the oldest first."""

    def __init__(self) -> None:
        self.rows: dict[Any, list[NDArray[Any]]] = {}


_kept = _Kept()


@cache
def threading_layer() -> str:
    """Name of numba's threading layer, "tbb", "omp" or "workqueue"; starts its threads."""
    with global_compiler_lock:  # as numba does when it starts the threads; see _before_fork
        if "torch" in sys.modules and numba.config.THREADING_LAYER_PRIORITY == PRIORITY:
            numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]
        _load_tbb()
        numba.get_num_threads()  # starts the layer
        return str(numba.threading_layer())


def _load_tbb() -> None:
    """numba finds the library of the ``tbb`` wheel only if it is loaded already."""
    name = {"linux": "lib/libtbb.so.12", "win32": "Library/bin/tbb12.dll"}.get(sys.platform)
    if name is None:
        return
    for prefix in (sys.prefix, site.getuserbase()):
        with suppress(OSError):
            ctypes.CDLL(str(Path(prefix) / name), ctypes.RTLD_GLOBAL)
            return


def _before_fork() -> None:
    """Wait for a compilation in another thread: the child could never finish it, nor start its own."""
    global_compiler_lock.acquire()


def _after_fork_in_parent() -> None:
    global_compiler_lock.release()


def _after_fork_in_child() -> None:
    global _serial
    global_compiler_lock.release()
    with suppress(ValueError):  # raised if no threads were started, by whomever
        numba.threading_layer()
        _serial = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )


def _compile(function: Callable[..., None], *, parallel: bool) -> Any:
    dispatcher = numba.njit(parallel=parallel, nogil=True)(function)
    with suppress(RuntimeError, OSError):  # nowhere to write: compile anew in each process
        dispatcher._cache = _KernelCache(function, "parallel" if parallel else "serial")
    return dispatcher


class _KernelCache(FunctionCache):
    """numba's on-disk cache (NUMBA_CACHE_DIR respected), made safe for a package.

    The flavour keeps the parallel and the serial form of a function apart. A cache that cannot be
    written is as good as none.
    """

    def __init__(self, function: Callable[..., None], flavour: str) -> None:
        super().__init__(function)
        self._cache_file = _Entries(Path(self._cache_path), f"{self._impl.filename_base}.{flavour}")

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError:
            self.disable()


class _Entries:
    """One file per signature and processor: a checksum, then the compiled code.

    The checksum also covers what the code was made from and for. numba looks at the one file a function
    stands in, but a kernel is made of the functions and intrinsics of the whole package. And numba's
    index, a file shared by all signatures, can be left by two processes that write at once pointing to
    the code of the wrong signature, or be cut off, which numba reports as an error at every later call.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name

    def load(self, key: Any) -> Any:
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        checksum, code = content[:32], content[32:]
        if checksum != _checksum(key, code):
            return None
        _cache_log("[cache] data loaded from %r", str(path))
        return pickle.loads(code)

    def save(self, key: Any, data: Any) -> None:
        path = self._path(key)
        code = dumps(data)
        unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex[:16]}.tmp")
        try:
            unfinished.write_bytes(_checksum(key, code) + code)
            unfinished.replace(path)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        _cache_log("[cache] data saved to %r", str(path))

    def _path(self, key: Any) -> Path:
        return self._folder / f"{self._name}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"


def _checksum(key: Any, code: bytes) -> bytes:
    made_from = repr((numba.__version__, _package_digest(), key))
    return hashlib.sha256(made_from.encode() + code).digest()


@cache
def _package_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
