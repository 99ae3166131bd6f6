"""What happens to the integers of a binary product on their way out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastconv._backends import Array
from fastconv._checks import as_array, check_out, check_real, choice, float_result
from fastconv.packed import PackedFilters, PackedSigns, Threshold


@dataclass(frozen=True, slots=True)
class Epilogue:
    """A checked epilogue: what to store.

    ``dtype`` is the result's: int32 as they are, a float for scale * y + bias, uint64 for the words of
    ``threshold``. ``scale`` is None, an array (O,), or "alpha"; ``by_window`` multiplies it by K. ``scale``
    and ``bias`` are copies, which no ``out`` overlaps.
    """

    dtype: np.dtype[Any]
    scale: Any
    by_window: bool
    bias: Any
    threshold: Any


PLAIN = Epilogue(np.dtype(np.int32), None, False, None, None)
"""The integers as they are."""


def check_epilogue(
    operation: str, x: Any, weight: Any, filters: int, scale: Any, bias: Any, threshold: Any
) -> Epilogue:
    """Check what happens to the integers, and bring its arrays to the result's dtype."""
    if scale is None and bias is None and threshold is None:
        return PLAIN
    dtype = np.dtype(np.float32) if isinstance(x, PackedSigns) else float_result(x.dtype)
    if threshold is not None:
        if not isinstance(threshold, Threshold):
            raise TypeError(f"{operation}: threshold must be a Threshold, got {type(threshold).__name__}")
        if scale is not None or bias is not None:
            raise ValueError(
                f"{operation}: threshold excludes scale and bias; fold them into it with fold_batchnorm"
            )
        if threshold.tau.shape != (filters,):
            raise ValueError(
                f"{operation}: threshold must have {filters} channels, got {threshold.tau.shape[0]}"
            )
        return Epilogue(np.dtype(np.uint64), None, False, None, threshold)
    by_window = isinstance(scale, str) and scale == "xnor"
    if isinstance(scale, str):
        choice(operation, "scale", scale, ("alpha", "xnor"))
        if isinstance(weight, PackedSigns):
            raise ValueError(
                f"{operation}: scale {scale!r} needs the weight's magnitudes, which PackedSigns has dropped; "
                "use pack_filters(weight[:, :, None, None]), which keeps their mean"
            )
        if by_window and isinstance(x, PackedSigns):
            raise ValueError(
                f"{operation}: scale 'xnor' needs the magnitudes of x, which PackedSigns has dropped"
            )
    elif scale is not None:
        scale = _per_filter(operation, "scale", scale, filters, dtype)
    if bias is not None:
        bias = _per_filter(operation, "bias", bias, filters, dtype)
    return Epilogue(dtype, "alpha" if by_window else scale, by_window, bias, None)


def check_result(
    operation: str, out: Any, shape: tuple[int, ...], logical: tuple[int, ...], epilogue: Epilogue
) -> None:
    if epilogue.threshold is not None:
        check_out(operation, out, (*logical[:-1], -(-logical[-1] // 64)), np.uint64)
    else:
        check_out(operation, out, shape, epilogue.dtype)


def with_alpha(epilogue: Epilogue, weight: Any, mean_magnitude: Callable[[Array], Array]) -> Epilogue:
    """``epilogue`` with "alpha" resolved to numbers."""
    if not isinstance(epilogue.scale, str):
        return epilogue
    alpha = weight.alpha if isinstance(weight, PackedFilters) else mean_magnitude(weight)
    return replace(epilogue, scale=alpha.astype(epilogue.dtype))


def output(
    result: Callable[..., Array],
    epilogue: Epilogue,
    shape: tuple[int, ...],
    logical: tuple[int, ...],
    out: Array | None,
    *operands: Any,
) -> Array:
    """Where a kernel may write what ``epilogue`` makes, as ``result`` of the backend's ``_arrays`` says."""
    arrays = [o.words if isinstance(o, (PackedSigns, PackedFilters)) else o for o in operands]
    if epilogue.threshold is None:  # whose scale and bias are copies of the caller's
        return result(out, shape, epilogue.dtype, *arrays)
    arrays += [epilogue.threshold.tau, epilogue.threshold.flip]
    return result(out, (*logical[:-1], -(-logical[-1] // 64)), np.uint64, *arrays)


def finished(delivered: Array, epilogue: Epilogue, filters: int) -> Any:
    """What the caller gets: words of signs as PackedSigns."""
    return delivered if epilogue.threshold is None else PackedSigns(delivered, filters)


def _per_filter(operation: str, name: str, value: Any, filters: int, dtype: np.dtype[Any]) -> Array:
    array = as_array(operation, name, value)
    check_real(operation, name, array)
    if array.shape != (filters,):
        raise ValueError(f"{operation}: {name} must have shape ({filters},), got {array.shape}")
    with np.errstate(over="ignore"):
        return array.astype(dtype)
