"""Memory that ends at a page nobody may touch: reading or writing one byte beyond it kills the process."""

from __future__ import annotations

import ctypes
import mmap
import weakref

import numpy as np

POISON = 0xA5
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def guarded(nbytes: int) -> np.ndarray:
    """``nbytes`` of poisoned memory between two forbidden pages, ending right before the second."""
    page = mmap.PAGESIZE
    room = -(-nbytes // page) * page
    base = _libc.mmap(
        None, room + 2 * page, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0
    )
    if base in (None, ctypes.c_void_p(-1).value):
        raise MemoryError(f"no {nbytes} bytes between guard pages")
    for forbidden in (base, base + page + room):
        if _libc.mprotect(forbidden, page, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    buffer = (ctypes.c_uint8 * nbytes).from_address(base + page + room - nbytes)
    weakref.finalize(buffer, _libc.munmap, base, room + 2 * page)
    memory = np.frombuffer(buffer, np.uint8) if nbytes else np.empty(0, np.uint8)
    memory.fill(POISON)
    return memory
