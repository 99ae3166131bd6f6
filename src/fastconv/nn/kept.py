"""What is made of a weight, kept while the weight stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fastconv.nn.arrays import state_of
from fastconv.nn.calls import is_followed

Made = tuple[Tensor, Tensor | None]
"""What stands for a weight in a product, and what the product is multiplied by."""


class Kept(NamedTuple):
    """What was ``made`` of a ``weight`` while its state was ``key``.

    ``alias`` keeps the address of the weight's numbers taken after another tensor was put into ``weight.data``,
    so that no other numbers are found there under the same version.
    """

    weight: nn.Parameter
    alias: Tensor
    key: Any
    made: Made


def keep(known: Kept | None, weight: nn.Parameter, key: Any, make: Callable[[], Made]) -> Kept:
    """``known`` if it was made of ``weight`` under ``key``, else what ``make()`` gives now."""
    if known is not None and known.weight is weight and known.key == key:
        return known
    with torch.inference_mode(False), torch.no_grad():  # an inference tensor could not be saved for gradients
        return Kept(weight, weight.detach(), key, make())


def key_of(weight: Tensor, x: Tensor) -> Any:
    """What changes when the numbers in ``weight`` may have; None where nothing may be kept of them for ``x``.

    Only a parameter lasts from call to call: parametrizations, replicas and pruned layers have a new tensor in
    each. Followers of operators want to see how signs come about; a captured graph replays with later weights;
    other processes may write to shared memory, which no version counts.
    """
    if type(weight) is not nn.Parameter or is_followed(x):
        return None
    if weight.is_cuda:
        if torch.cuda.is_current_stream_capturing():
            return None
        stream = torch.cuda.current_stream(weight.device).cuda_stream  # others would not wait for the signs
    elif weight.is_shared():
        return None
    else:
        stream = 0
    state = state_of([weight])
    if state is None:
        return None
    return state, weight.device, weight.dtype, weight.shape, weight.stride(), stream
