"""Tensors as the arrays, filters and plans that kernels are called with."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fastconv._backends import Array, backend_of
from fastconv._checks import check_signs
from fastconv._specs.bits import Compare, memory_of
from fastconv.adapters.torch_tensors import to_array
from fastconv.packed import PackedFilters

Planned = Callable[..., Array]
"""What a module does to arrays of one shape and layout: a plan, and all that it takes but those arrays."""

KEPT: dict[int, tuple[weakref.ref[Tensor], Any, PackedFilters, Tensor | None]] = {}
"""By the id of the words of a layer's filters: those words, what they and their channels were, the filters,
and their scale. PyTorch's own dictionary of that sort takes 1 us for a look, this one 0.1."""


def lent(x: Tensor) -> Array:
    """The array in the memory of ``x``, whether or not gradients are wanted of it."""
    return to_array(x.detach())


def lent_if_any(x: Tensor | None) -> Array | None:
    return None if x is None else lent(x)


def filters_of(words: Tensor, channels: int, alpha: Tensor | None = None) -> PackedFilters:
    """The filters that ``words`` hold, made anew only after a change of the tensors: kernels keep their own
    layout of them."""
    state = state_of([words, alpha])
    if state is None:
        return _filters(words, channels, alpha)
    known = KEPT.get(id(words))
    if known is None or known[0]() is not words or known[1] != (channels, state):
        found = _filters(words, channels, alpha)  # of aliases, because what refers to words would keep them
        gone = weakref.ref(words, partial(_forget, id(words)))
        known = KEPT[id(words)] = gone, (channels, state), found, alpha  # so that its address stays taken
    return known[2]


def comparison(x: Array, axis: int, tau: Tensor, flip: Tensor) -> Planned:
    """Words of (v >= tau) xor flip along ``axis``, and 0 for NaN, of arrays like ``x``."""
    if tau.dtype != torch.float32:
        raise TypeError(f"compare: tau must be float32, got {tau.dtype}; deployed models are not cast")
    if tau.shape != (x.shape[axis],) or flip.shape != tau.shape:
        raise ValueError(
            f"compare: tau and flip must have shape ({x.shape[axis]},) for axis {axis} of x, "
            f"got {tuple(tau.shape)} and {tuple(flip.shape)}"
        )
    bounds = lent(tau), lent(flip)
    plan = backend_of("compare", x, *bounds).plan(Compare(memory_of(x), axis % x.ndim))
    return partial(plan, tau=bounds[0], flip=bounds[1])


def of_signs(plan: Planned, operation: str, dtype: Any) -> Planned:
    """A ``plan`` that takes the signs of numbers of ``dtype``, which every call of it says something about
    if they are unsigned."""
    if dtype is None or dtype.kind != "u":
        return plan

    def run(x: Array, *more: Any, **options: Any) -> Any:
        check_signs(operation, "x", dtype)
        return plan(x, *more, **options)

    return run


def state_of(tensors: Sequence[Tensor | None]) -> list[tuple[int, int]] | None:
    """What changes when the numbers in ``tensors`` may have; None of those of inference mode, which count no
    changes, so that nothing may be kept of them."""
    try:
        return [(tensor.data_ptr(), tensor._version) for tensor in tensors if tensor is not None]
    except RuntimeError:
        return None


def _filters(words: Tensor, channels: int, alpha: Tensor | None) -> PackedFilters:
    magnitudes = words.new_zeros(words.shape[0], dtype=torch.float32) if alpha is None else alpha.float()
    return PackedFilters(lent(words), channels, lent(magnitudes))


def _forget(key: int, gone: weakref.ref[Tensor]) -> None:
    if key in KEPT and KEPT[key][0] is gone:
        del KEPT[key]
