"""What a deployed network is made of: modules of packed signs, and calls on values that stand in slots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _len_torch_dispatch_stack

from fastconv._backends import Array

FEW_AXES = 4
"""Of images, which lie in memory channels last if they may."""


class PackedModule(nn.Module):
    """A module of packed signs: words (uint64) or numbers in, words or numbers out.

    ``forward`` is made of operators, which compilers see. If it ``has_plan``, ``planned`` says what it does
    to arrays of NumPy or CuPy: the plan that an operator would look up in every call. If it ``overwrites``,
    that plan takes ``over=True``, and then writes its first result over the last of its arrays.
    """

    has_plan = True
    overwrites = False
    takes = 1
    """With how many values it is called."""
    results = 1
    """How many it gives."""

    def planned(self, *given: Array) -> Callable[..., Any]:
        """What ``forward`` does, to arrays like those ``given``."""
        raise NotImplementedError

    def signs_of_words(self) -> list[tuple[str, int]]:
        """The buffers that hold words, and how many signs each row of them has."""
        return []


class Slot(NamedTuple):
    """Where a value stands while a network runs."""

    place: int


class Call(NamedTuple):
    """One call of a network: of a module or a function by its name, or "get", which takes a tensor's name.

    ``args`` and ``kwargs`` are constants, slots, and lists and tuples of them; results go to the slots
    ``results``, several if what is called gives as many.
    """

    target: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[int, ...]


def is_plain(*modules: nn.Module) -> bool:
    """Whether calls of the modules do what their classes say: no hooks, and no ``forward`` of their own."""
    for module in modules:
        if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
            return False
    return True


def is_followed(x: Any) -> bool:
    """Whether something wants to see every operator, or ``x`` is no tensor of numbers."""
    compiling = torch.compiler.is_compiling() or torch.jit.is_tracing()
    without_numbers = type(x) is not Tensor or x.device.type not in ("cpu", "cuda")
    return compiling or without_numbers or _len_torch_dispatch_stack() > 0


def slots_of(tree: Any) -> list[int]:
    """The slots in arguments, in their order."""
    if isinstance(tree, Slot):
        return [tree.place]
    if isinstance(tree, dict):
        return [slot for part in tree.values() for slot in slots_of(part)]
    return [slot for part in tree for slot in slots_of(part)] if isinstance(tree, (list, tuple)) else []


def filled(tree: Any, values: Mapping[int, Any]) -> Any:
    """``tree`` with values in the place of slots."""
    if isinstance(tree, Slot):
        return values[tree.place]
    if isinstance(tree, dict):
        return {name: filled(part, values) for name, part in tree.items()}
    if isinstance(tree, (list, tuple)) and type(tree) in (list, tuple):
        return type(tree)(filled(part, values) for part in tree)
    return tree


def has_channels_last(x: Any) -> bool:
    if not isinstance(x, Tensor) or x.dim() != FEW_AXES or x.is_contiguous():
        return False
    return bool(x.is_contiguous(memory_format=torch.channels_last))


def with_channels_last(x: Any) -> Any:
    """``x`` in that layout, if it is images."""
    images = isinstance(x, Tensor) and x.dim() == FEW_AXES
    return x.contiguous(memory_format=torch.channels_last) if images else x
