"""Filters as operators get them, plain words, and as kernels want them, laid out once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from fastconv.packed import PackedFilters

KNOWN = WeakTensorKeyDictionary()


def filters_of(words: Tensor, channels: int, alpha: Tensor | None) -> PackedFilters:
    """The filters that ``words`` hold, kept while they live: kernels keep their own layout of the words.

    Tensors of inference mode count no changes, so that nothing is kept of them.
    """
    if words.is_inference() or (alpha is not None and alpha.is_inference()):
        return _filters(words, channels, alpha)
    state = channels, _state(words), None if alpha is None else _state(alpha)
    known = KNOWN.get(words)
    if known is None or known[0] != state:
        # alpha, so that its address stays taken
        known = state, _filters(words, channels, alpha), alpha
        KNOWN[words] = known
    filters: PackedFilters = known[1]
    return filters


def _filters(words: Tensor, channels: int, alpha: Tensor | None) -> PackedFilters:
    """Of aliases, because what refers to its own key in ``KNOWN`` would never go."""
    magnitudes = words.new_zeros(words.shape[0], dtype=torch.float32) if alpha is None else alpha.float()
    return PackedFilters(words.detach(), channels, magnitudes.detach())


def _state(tensor: Tensor) -> tuple[int, int]:
    """What changes when the numbers in ``tensor`` may have."""
    return tensor.data_ptr(), tensor._version
