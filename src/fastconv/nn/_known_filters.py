"""Filters as operators get them, plain words, and as kernels want them, laid out once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from fastconv.packed import PackedFilters

KNOWN = WeakTensorKeyDictionary()


def filters_of(words: Tensor, channels: int, alpha: Tensor | None) -> PackedFilters:
    """The filters that ``words`` hold, kept while they live: kernels keep their own layout of the words."""
    state = channels, _state(words), None if alpha is None else _state(alpha)
    known = KNOWN.get(words)
    if known is None or known[0] != state:
        magnitudes = words.new_zeros(words.shape[0], dtype=torch.float32) if alpha is None else alpha.float()
        # an alias, because what refers to its own key would never go; alpha, so that its address stays taken
        known = state, PackedFilters(words.detach(), channels, magnitudes.detach()), alpha
        KNOWN[words] = known
    filters: PackedFilters = known[1]
    return filters


def _state(tensor: Tensor) -> tuple[int, int]:
    """What changes when the numbers in ``tensor`` may have; those of inference mode count no changes."""
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version
