"""How what was given becomes what is wanted, in an expression of the caller's own library.

Operations run on arrays of NumPy or CuPy, whatever they were lent by, so that they do not know whose ``x`` it
is that an error gives advice about: :data:`LENT_BY` does.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import numpy as np
from array_api_compat import is_cupy_array

LENT_BY: ContextVar[str] = ContextVar("LENT_BY", default="")
"""The library that lends the arrays of a call, while they are lent."""

SCALARS = (bool, int, float, np.generic)


def how_to_words(x: Any, array: Any, lender: str = "") -> str:
    """What makes uint64 words of ``x``, which is of another dtype, if anything sensible does: the end of a
    sentence. ``array`` is what kernels see of it, ``lender`` whose it is if it is lent only for this."""
    lender = lender or LENT_BY.get()
    kind, library = array.dtype.kind, lender or ("cupy" if is_cupy_array(array) else "numpy")
    if isinstance(x, (list, tuple, *SCALARS)):
        found = _of_numbers(x, library)
    elif kind in "iu":
        of_array = lender or type(x) is type(array)
        found = _of_integers("x" if of_array else "numpy.asarray(x)", array, library)
    else:
        found = ""
    if not found and array.ndim:
        found = {"b": "fastconv.packbits64(x)", "f": "fastconv.pack_signs(x).words"}.get(kind, "")
    return f"; make words with {found}" if found else ""


def _of_numbers(x: Any, library: str) -> str:
    """A number, or nested ones, which NumPy may take for floats."""
    numbers = np.array(x, object).reshape(-1).tolist()
    if not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in numbers):
        return ""
    listed = "[x]" if isinstance(x, SCALARS) else "x"
    least, most = min(numbers, default=0), max(numbers, default=0)
    made = "{0}.tensor({1}, dtype={0}.{2})" if library == "torch" else "{0}.array({1}, {0}.{2})"
    if least >= 0 and most < 2**64:
        return made.format(library, listed, "uint64")
    if least >= -(2**63) and most < 2**63:
        return f"{made.format(library, listed, 'int64')}.view({library}.uint64)"
    return ""


def _of_integers(x: str, array: Any, library: str) -> str:
    """An array of integers: words lie in its memory already, where rows are runs of 8 n bytes."""
    size, native = array.dtype.itemsize, array.dtype.isnative
    kind = f"{library}.uint64"
    if array.ndim == 0:
        return f"{x}.reshape(1).{'to' if library == 'torch' else 'astype'}({kind})"
    missing = -array.shape[-1] * size % 8 // size
    if size < 8 and missing:
        x = (
            f"torch.nn.functional.pad({x}, (0, {missing}))"
            if library == "torch"
            else _padded(x, missing, library)
        )
    elif size < 8 and not _in_one_run(array):
        copy = "{0}.clone(memory_format=torch.contiguous_format)"
        x = copy.format(x) if library == "torch" else f"{library}.ascontiguousarray({x})"
    if not native:
        x = f"{x}.astype({library}.{array.dtype.name}, order='C')"
    return f"{x}.view({kind})"


def _padded(x: str, missing: int, library: str) -> str:
    """Rows with ``missing`` more elements of 0; NumPy's own would keep the order of memory."""
    return f"{library}.ascontiguousarray({library}.pad({x}, [(0, 0)] * (x.ndim - 1) + [(0, {missing})]))"


def _in_one_run(array: Any) -> bool:
    """Whether a view of words can be taken, in any library; PyTorch asks where memory begins, too."""
    address = array.data.ptr if is_cupy_array(array) else array.ctypes.data
    return bool(array.flags.c_contiguous and address % 8 == 0)
