"""What operators are given, plain tensors, as the arrays and packed values that kernels take."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from fastconv._backends import Array, backend_of
from fastconv._specs.bits import Compare, memory_of
from fastconv.adapters.torch_tensors import to_array
from fastconv.packed import PackedFilters, Threshold

Made = TypeVar("Made")
Step = Callable[[Array], Array]
"""What a module does with arrays of one shape and layout, with nothing left to find out."""

KEPT: dict[int, tuple[weakref.ref[Tensor], dict[object, Any]]] = {}
"""By the id of the words of a layer's filters: those words, and what was made of them, by kind. PyTorch's own
dictionary of that sort takes 1 us for a look, this one 0.1."""


def lent(x: Tensor) -> Array:
    """The array in the memory of ``x``, whether or not gradients are wanted of it."""
    return to_array(x.detach())


def lent_if_any(x: Tensor | None) -> Array | None:
    return None if x is None else lent(x)


def filters_of(words: Tensor, channels: int, alpha: Tensor | None) -> PackedFilters:
    """The filters that ``words`` hold: kernels keep their own layout of them."""

    def make() -> PackedFilters:
        magnitudes = words.new_zeros(words.shape[0], dtype=torch.float32) if alpha is None else alpha.float()
        return PackedFilters(lent(words), channels, lent(magnitudes))

    return _kept(("filters", channels), make, words, *([] if alpha is None else [alpha]))


def threshold_of(words: Tensor, tau: Tensor, flip: Tensor) -> Threshold:
    """What is compared with after the product with ``words``."""
    return _kept("threshold", lambda: Threshold(lent(tau), lent(flip)), words, tau, flip)


def comparison(x: Array, axis: int, tau: Tensor, flip: Tensor) -> Step:
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
    return lambda x: plan(x, *bounds)


def state_of(tensors: Sequence[Tensor]) -> list[tuple[int, int]] | None:
    """What changes when the numbers in ``tensors`` may have; None of those of inference mode, which count no
    changes, so that nothing may be kept of them."""
    if any(tensor.is_inference() for tensor in tensors):
        return None
    return [(tensor.data_ptr(), tensor._version) for tensor in tensors]


def _kept(kind: object, make: Callable[[], Made], *tensors: Tensor) -> Made:
    """``make()``, computed anew only after a change of the tensors.

    What is made must hold aliases of the tensors, because what refers to the first of them would keep it.
    """
    state = state_of(tensors)
    if state is None:
        return make()
    first, *others = tensors
    known = KEPT.get(id(first))
    if known is None or known[0]() is not first:
        known = KEPT[id(first)] = weakref.ref(first, partial(_forget, id(first))), {}
    found = known[1].get(kind)
    if found is None or found[0] != state:
        found = known[1][kind] = state, make(), others  # the others, so that their addresses stay taken
    made: Made = found[1]
    return made


def _forget(key: int, gone: weakref.ref[Tensor]) -> None:
    if key in KEPT and KEPT[key][0] is gone:
        del KEPT[key]
