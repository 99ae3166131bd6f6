"""The one policy for threads, fork and the compile cache.

numba's threading layers differ in what they survive. TBB survives everything. With OpenMP (GNU) a
forked child dies at its first parallel loop; with "workqueue" the process dies when two threads enter
one at the same time. So TBB is loaded where it is installed, a child forked under OpenMP runs the
kernels serially, and under "workqueue" callers take turns.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import site
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

_turn = threading.Lock()
_forked = False


def parallel_kernel(function: Callable[..., None]) -> Callable[..., None]:
    """Compile ``function``, which loops with ``numba.prange``, to run on all threads, safely."""
    parallel = _compile(function, parallel=True)
    serial = _compile(function, parallel=False)

    def launch(*args: Any) -> None:
        layer = _threading_layer()
        if layer == "workqueue":
            with _turn:
                parallel(*args)
        elif layer == "omp" and _forked:
            serial(*args)
        else:
            parallel(*args)

    launch.__name__, launch.__doc__ = function.__name__, function.__doc__
    return launch


def threads() -> int:
    """How many threads a parallel kernel may use: the number of pieces to cut work into."""
    _threading_layer()
    return int(numba.get_num_threads())


def threading_layer() -> str:
    """Name of numba's threading layer: "tbb", "omp" or "workqueue"."""
    return _threading_layer()


@cache
def _threading_layer() -> str:
    with _turn:
        _load_tbb()
        numba.get_num_threads()  # starts the layer
        return str(numba.threading_layer())


def _load_tbb() -> None:
    """numba finds the library of the ``tbb`` wheel only if it is loaded already."""
    name = {"linux": "lib/libtbb.so.12", "win32": "Library/bin/tbb12.dll"}.get(sys.platform)
    if name is None:
        return
    for prefix in (sys.prefix, site.getuserbase()):
        path = Path(prefix) / name
        if path.exists():
            try:
                ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
            except OSError:
                continue
            return


def _after_fork_in_child() -> None:
    global _turn, _forked
    _turn = threading.Lock()  # the parent's may be held by a thread that does not exist here
    _forked = _threading_layer.cache_info().currsize > 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _compile(function: Callable[..., None], *, parallel: bool) -> Any:
    dispatcher = numba.njit(parallel=parallel, nogil=True)(function)
    with suppress(RuntimeError, OSError):  # nowhere to write: compile anew in each process
        dispatcher._cache = _KernelCache(function, "parallel" if parallel else "serial")
    return dispatcher


class _KernelCache(FunctionCache):
    """numba's on-disk cache (NUMBA_CACHE_DIR respected), made safe for a package.

    numba looks at the one file a function stands in; a kernel here is also made of the functions and
    intrinsics it calls, so an entry is fresh only if no file of the package has changed. The flavour
    keeps the parallel and the serial form of a function apart. A cache that cannot be read or written
    is as good as none.
    """

    def __init__(self, function: Callable[..., None], flavour: str) -> None:
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(
            cache_path=self._cache_path,
            filename_base=f"{self._impl.filename_base}.{flavour}",
            source_stamp=_package_digest(),
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a damaged entry can fail in any way while it is unpickled
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError:
            self.disable()


@cache
def _package_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
