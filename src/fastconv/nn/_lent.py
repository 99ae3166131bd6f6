"""What operators are given, plain tensors, as the arrays and packed values that kernels take."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from fastconv._dispatch import Array
from fastconv.adapters.torch_tensors import to_array
from fastconv.packed import PackedFilters, Threshold

Packed = TypeVar("Packed")

KEPT = WeakTensorKeyDictionary()


def lent(x: Tensor) -> Array:
    """The array in the memory of ``x``, whether or not gradients are wanted of it."""
    return to_array(x.detach())


def filters_of(words: Tensor, channels: int, alpha: Tensor | None) -> PackedFilters:
    """The filters that ``words`` hold, kept while they live: kernels keep their own layout of the words."""

    def make() -> PackedFilters:
        magnitudes = words.new_zeros(words.shape[0], dtype=torch.float32) if alpha is None else alpha.float()
        return PackedFilters(lent(words), channels, lent(magnitudes))

    return _kept(make, channels, words, alpha)


def threshold_of(tau: Tensor, flip: Tensor) -> Threshold:
    """The threshold, kept while ``tau`` lives."""
    return _kept(lambda: Threshold(lent(tau), lent(flip)), None, tau, flip)


def _kept(make: Callable[[], Packed], kind: object, first: Tensor, second: Tensor | None) -> Packed:
    """``make()``, computed anew only after a change of the tensors.

    Those of inference mode count no changes, so that nothing is kept of them. What is made must hold aliases
    of the tensors, because what refers to its own key would never go.
    """
    tensors = [first] if second is None else [first, second]
    if any(tensor.is_inference() for tensor in tensors):
        return make()
    state = kind, *((tensor.data_ptr(), tensor._version) for tensor in tensors)
    known = KEPT.get(first)
    if known is None or known[0] != state:
        known = state, make(), second  # second, so that its address stays taken
        KEPT[first] = known
    value: Packed = known[1]
    return value
