"""The compile cache: a kernel is compiled once for each machine and data type, not once for each process."""

from __future__ import annotations

import hashlib
import pickle
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, _cache_log
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps

PACKAGE = Path(__file__).parent


def check_usable() -> None:
    """Refuse to go on where numba would hand out kernels as the Python functions that they are not."""
    if numba.config.DISABLE_JIT:
        raise RuntimeError(
            "fastconv: its kernels are compiled by numba, which the environment variable NUMBA_DISABLE_JIT "
            "(or numba.config.DISABLE_JIT) forbids; unset it, or call fastconv.reference, in plain NumPy"
        )


def compile_c(function: Callable[..., Any], signature: Any) -> Any:
    """``function`` as a C function, ``address`` says where: compiled now, or taken from disk."""
    check_usable()
    with global_compiler_lock:
        compiled = CFunc(function, (signature.args, signature.return_type), {}, {"error_model": "numpy"})
        _keep_on_disk(compiled, function).compile()
    return compiled


def compile_for_python(function: Callable[..., Any], signature: str) -> Any:
    """``function`` to be called from Python, without its lock: compiled now, or taken from disk."""
    check_usable()
    compiled = _keep_on_disk(numba.njit(nogil=True)(function), function)
    compiled.compile(signature)
    compiled.disable_compile()
    return compiled


def _keep_on_disk(compiled: Any, function: Callable[..., Any]) -> Any:
    with suppress(RuntimeError, OSError):  # nowhere to write: compile anew in each process
        compiled._cache = _KernelCache(function)
    return compiled


class _KernelCache(FunctionCache):
    """numba's on-disk cache (NUMBA_CACHE_DIR respected), made safe for a package.

    A cache that cannot be written is as good as none.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        super().__init__(function)
        self._cache_file = _Entries(Path(self._cache_path), self._impl.filename_base)

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
    made_from = repr((numba.__version__, package_digest(), key))
    return hashlib.sha256(made_from.encode() + code).digest()


@cache
def package_digest() -> str:
    """A digest of every source file of the CPU's kernels, those in subfolders too."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
