"""Deployed modules, and how they are called in turn: by the plans of their operations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _len_torch_dispatch_stack

from fastconv._backends import Array, undisturbed
from fastconv._specs.bits import memory_of
from fastconv.adapters.torch_tensors import placed, to_tensor
from fastconv.nn.arrays import Planned, lent, state_of

MOST_PLANNED = 32
"""Rows of plans kept of one model: there is one for each shape of images."""


class PackedModule(nn.Module):
    """A module of packed signs: words (uint64) or numbers in, words or numbers out.

    ``forward`` is made of operators, which compilers see. If it ``has_plan``, ``planned`` says what it does
    to arrays of NumPy or CuPy: the plan that an operator would look up in every call.
    """

    has_plan = True

    def planned(self, x: Array) -> Planned:
        """What ``forward`` does, to arrays like ``x``."""
        raise NotImplementedError


class PackedSequential(nn.Sequential):
    """Modules called in turn, as in :class:`torch.nn.Sequential`.

    Those that follow one another and have plans are planned together for each shape and layout that comes in,
    and pass arrays of NumPy or CuPy: for small images, operators and checks took longer than the kernels. A
    compiler, or whatever else follows operators, sees each of them; so do the hooks of a module.
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__(*modules)
        self._plans: dict[Any, tuple[Any, list[Planned], list[Tensor | None]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}}

    def forward(self, x: Tensor) -> Tensor:
        """What the last module gives."""
        if _is_followed(x):
            return super().forward(x)
        rest = list(self._modules.values())
        while rest:
            learning = x.requires_grad and torch.is_grad_enabled()
            row = () if learning else _row(rest)
            x = self._run(row, x) if row else _called(rest[0], x, learning)
            rest = rest[max(len(row), 1) :]
        return x

    @undisturbed
    def _run(self, row: tuple[PackedModule, ...], x: Tensor) -> Tensor:
        tensors: list[Tensor | None] = []
        for module in row:
            tensors += module._buffers.values()
        with placed(x.device):
            array, state = lent(x), state_of(tensors)
            key = row, x.device, memory_of(array)
            known = self._plans.get(key)
            if state is None or known is None or known[0] != state:
                plans, array = _planned(row, array)
                if state is not None:
                    if len(self._plans) >= MOST_PLANNED:
                        self._plans.clear()
                    self._plans[key] = state, plans, tensors  # so that their addresses stay taken
            else:
                for plan in known[1]:
                    array = plan(array)
            return to_tensor(array)


def is_plain(*modules: nn.Module) -> bool:
    """Whether calls of the modules do what their classes say: no hooks, and no ``forward`` of their own."""
    for module in modules:
        if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
            return False
    return True


def _called(module: nn.Module, x: Tensor, learning: bool) -> Tensor:
    """``module(x)``; refused where words come out of numbers that a gradient is wanted of."""
    y: Tensor = module(x)
    if learning and getattr(y, "dtype", None) == torch.uint64:
        raise TypeError(
            "PackedSequential: no gradient flows through packed layers; call it in torch.no_grad(), "
            "or train the model that was deployed"
        )
    return y


def _is_followed(x: Tensor) -> bool:
    """Whether something wants to see every operator."""
    compiling = torch.compiler.is_compiling() or torch.jit.is_tracing()
    without_numbers = type(x) is not Tensor or x.device.type not in ("cpu", "cuda")
    return compiling or without_numbers or _len_torch_dispatch_stack() > 0


def _row(modules: Sequence[nn.Module]) -> tuple[PackedModule, ...]:
    """The first of ``modules``, as many as have plans, unless one of them is to be called."""
    row: list[PackedModule] = []
    for module in modules:
        if not (isinstance(module, PackedModule) and module.has_plan):
            break
        row.append(module)
    return tuple(row) if is_plain(*row) else ()


def _planned(row: Iterable[PackedModule], array: Array) -> tuple[list[Planned], Array]:
    """What each module does to arrays like those that reach it from ``array``, and what comes out."""
    plans = []
    for module in row:
        plans.append(module.planned(array))
        array = plans[-1](array)
    return plans, array
