"""Integers, pairs, choices, dtypes, shapes and ``out``: checked, in words that say what is wrong."""

from __future__ import annotations

import operator
import os
import reprlib
import sys
import warnings
from math import prod
from typing import Any

import numpy as np
from array_api_compat import is_cupy_array

Pair = tuple[int, int]

INT32_MAX = 2**31 - 1
"""Largest number n of signs in one dot product: its result, from -n to n, is an int32."""


def warn(message: str) -> None:
    """A UserWarning at the nearest line that is neither ours nor of a library that calls us for somebody."""
    libraries = tuple(
        os.path.dirname(module.__file__) + os.sep
        for name in ("fastconv", "numpy", "torch")
        if (module := sys.modules.get(name)) is not None and module.__file__
    )
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(libraries):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)


def as_array(operation: str, name: str, value: Any) -> Any:
    """``value``, nested sequences or an array, as a NumPy array; a CuPy array as it is."""
    if type(value) is np.ndarray or is_cupy_array(value):
        return value
    try:
        return np.asarray(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"{operation}: {name} must be an array or evenly nested numbers, got {reprlib.repr(value)}"
        ) from None


def real_array(operation: str, name: str, value: Any) -> Any:
    """:func:`as_array` of bool, integers or float16/32/64."""
    array = value if type(value) is np.ndarray else as_array(operation, name, value)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(
            f"{operation}: {name} must be bool, integer or float16/32/64 (real), got dtype {array.dtype}"
        )
    return array


def check_signs(
    operation: str, name: str, dtype: np.dtype[Any], zero: int = 1, *, cure: str | None = None
) -> None:
    """Where signs are taken of numbers of ``dtype``: refuse words, and warn of other unsigned integers.

    Their signs are all +1, unless that of ``zero`` is -1. ``cure`` is what to do besides a shift.
    """
    if dtype.kind != "u":
        return
    cure = f"pass pack_signs({name}, axis=..., threshold=...), or " if cure is None else cure
    cure += f"shift {name} in a signed or floating type, so that there are numbers below 0"
    if dtype.itemsize == 8:
        filters = ", filters PackedFilters(words, channels, alpha)" if name == "weight" else ""
        raise TypeError(
            f"{operation}: {name} must be numbers of either sign, got dtype {dtype}; words of packed signs "
            f"become PackedSigns(words, length){filters}; if they are numbers, {cure}"
        )
    if zero == 1:
        warn(f"{operation}: all signs of {name} are +1, because its dtype is {dtype}; {cure}")


def as_dtype(operation: str, value: Any) -> np.dtype[Any]:
    """``value`` as a NumPy dtype of native byte order."""
    try:
        dtype: np.dtype[Any] = np.dtype(value)
    except (TypeError, ValueError):
        raise TypeError(f"{operation}: dtype must be a NumPy dtype, got {value!r}") from None
    return dtype.newbyteorder("=")


def integer(
    operation: str, name: str, value: object, minimum: int | None, accepted: str = "an integer"
) -> int:
    """``value`` as an int of at least ``minimum``."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{operation}: {name} must be {accepted}, got {value!r}") from None
    if minimum is not None and number < minimum:
        raise ValueError(f"{operation}: {name} must be at least {minimum}, got {number}")
    return number


def pair(
    operation: str,
    name: str,
    value: object,
    minimum: int | None,
    accepted: str = "an integer or a pair of integers",
) -> Pair:
    """An int for both axes, or a pair (rows, columns)."""
    if not isinstance(value, (tuple, list)):
        value = (value, value)
    if len(value) != 2:
        raise ValueError(f"{operation}: {name} must be {accepted}, got {value!r}")
    rows, columns = (integer(operation, name, side, minimum, accepted) for side in value)
    return rows, columns


def flag(operation: str, name: str, value: object) -> bool:
    """``value`` as a bool."""
    if not isinstance(value, (bool, int, np.bool_, np.integer)):
        raise TypeError(f"{operation}: {name} must be True or False, got {value!r}")
    return bool(value)


def choice(operation: str, name: str, value: object, allowed: tuple[str, ...], beside: str = "") -> None:
    """Refuse a ``value`` that is not one of the words ``allowed``; ``beside`` says what else is accepted."""
    if not (isinstance(value, str) and value in allowed):
        options = ", ".join(map(repr, allowed))
        raise ValueError(f"{operation}: {name} must be one of {options}{beside}, got {value!r}")


def sign(operation: str, name: str, value: object, allowed: tuple[int, ...]) -> int:
    """``value`` as one of the integers ``allowed``."""
    options = f"one of {', '.join(map(str, allowed))}"
    number = integer(operation, name, value, None, options)
    if number not in allowed:
        raise ValueError(f"{operation}: {name} must be {options}, got {number}")
    return number


def normalize_axis(operation: str, axis: object, ndim: int, accepted: str = "an integer") -> int:
    """``axis`` as an index in [0, ndim)."""
    number = integer(operation, "axis", axis, None, accepted)
    if not -ndim <= number < ndim:
        raise ValueError(f"{operation}: axis {number} is out of bounds for an array of {ndim} dimensions")
    return number % ndim


def broadcast_shapes(operation: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape of the batch dimensions."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        given = " and ".join(map(str, shapes))
        raise ValueError(f"{operation}: batch dimensions {given} do not broadcast") from None


def check_out(operation: str, out: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Refuse an ``out`` that is not exactly a writable array of ``shape`` and ``dtype``,
    and a result whose size no array can have."""
    if prod(n or 1 for n in shape) * np.dtype(dtype).itemsize > 2**62:
        raise ValueError(f"{operation}: the result would have shape {shape}, more than memory can address")
    if out is None:
        return
    if isinstance(out, np.matrix) or not (isinstance(out, np.ndarray) or is_cupy_array(out)):
        raise TypeError(f"{operation}: out must be an array, got {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"{operation}: out must have dtype {np.dtype(dtype)}, got {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"{operation}: out must have shape {shape}, got {out.shape}")
    if not getattr(getattr(out, "flags", None), "writeable", True):
        raise ValueError(f"{operation}: out must be writable, got a read-only array")


def float_result(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """float64 for float64, float32 for everything else: the type of scaled binary results."""
    return np.dtype(np.float64 if dtype.newbyteorder("=") == np.float64 else np.float32)


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type sums are kept in. Integers wrap around, so a signed type of enough bits serves all."""
    if dtype.kind in "iu":
        return np.dtype(np.int64 if dtype.itemsize == 8 else np.int32)
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def check_groups(operation: str, groups: object, channels: int, weight: tuple[int, ...]) -> int:
    """``groups`` as an int that divides ``channels`` and fits ``weight`` (O, C / groups, kh, kw)."""
    number = integer(operation, "groups", groups, 1)
    if channels % number or weight[0] % number:
        raise ValueError(
            f"{operation}: groups {number} must divide both the {channels} input channels "
            f"and the {weight[0]} filters"
        )
    if weight[1] != channels // number:
        raise ValueError(
            f"{operation}: weight must have {channels // number} channels for x's {channels} channels "
            f"in {number} groups, got {weight[1]}"
        )
    return number
