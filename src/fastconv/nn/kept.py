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

    ``alias`` keeps the address of its numbers taken when others are put into ``weight.data``, so that none
    but these are found there under the same version.
    """

    weight: nn.Parameter
    alias: Tensor
    key: Any
    made: Made


def keep(weight: nn.Parameter, key: Any, make: Callable[[], Made]) -> Kept:
    """What ``make()`` gives now."""
    with torch.inference_mode(False), torch.no_grad():  # an inference tensor could not be saved for gradients
        return Kept(weight, weight.detach(), key, make())


def key_of(weight: Tensor, x: Tensor) -> Any:
    """What changes when the numbers in ``weight`` may have; None where nothing may be kept of them for ``x``.

    Only a parameter lasts from call to call: parametrizations, replicas and pruned layers have a new tensor
    in each. Followers of operators want to see how signs come about, and a captured graph replays with later
    weights. Another stream would not wait for signs that are being made.
    """
    if type(weight) is not nn.Parameter or is_followed(x):
        return None
    stream = 0
    if weight.is_cuda:
        if torch.cuda.is_current_stream_capturing():
            return None
        stream = torch.cuda.current_stream(weight.device).cuda_stream
    state = state_of([weight])
    if state is None:
        return None
    return state, weight.device, weight.dtype, weight.shape, weight.stride(), stream
