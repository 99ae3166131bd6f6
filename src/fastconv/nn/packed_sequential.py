"""Deployed modules in a row."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from fastconv._backends import Array
from fastconv.adapters.torch_tensors import placed, to_tensor
from fastconv.nn._fold import is_plain
from fastconv.nn._lent import Step, lent, state_of
from fastconv.nn.packed_layers import PackedLayer
from fastconv.nn.packed_signs import PackedMaxPool2d, PackSigns

MOST_SETTLED = 32
"""Rows of steps kept of one model: there is one for each shape of images."""


class PackedSequential(nn.Sequential):
    """Modules called in turn, as in :class:`torch.nn.Sequential`.

    Those that follow one another on packed bits are settled together for each shape that comes in, and pass
    arrays of NumPy or CuPy: for small images, operators and checks took longer than the kernels. A compiler,
    or whatever else follows operators, sees each of them; so do the hooks of a module.
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__(*modules)
        self._settled: dict[Any, tuple[Any, list[Step], Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_settled": {}}

    def forward(self, x: Tensor) -> Tensor:
        """What the last module gives."""
        if _is_followed(x):
            return super().forward(x)
        rest = list(self)
        while rest:
            row = _row_on_arrays(rest, x)
            x = self._run(row, x) if row else rest[0](x)
            rest = rest[max(len(row), 1) :]
        return x

    def _run(self, modules: Sequence[nn.Module], x: Tensor) -> Tensor:
        if x.requires_grad and torch.is_grad_enabled():
            raise TypeError(
                "PackedSequential: no gradient flows through packed layers; call it in torch.no_grad(), "
                "or train the model that was deployed"
            )
        tensors = [t for module in modules for t in module._buffers.values() if t is not None]
        with placed(x.device):
            array, state = lent(x), state_of(tensors)
            if state is None:
                return to_tensor(_settle(modules, array)[1])
            key = (*map(id, modules), x.device, array.shape, array.strides, array.dtype)
            known = self._settled.get(key)
            if known is None or known[0] != state:
                if len(self._settled) >= MOST_SETTLED:
                    self._settled.clear()
                steps, array = _settle(modules, array)
                self._settled[key] = state, steps, (modules, tensors)  # so that nothing else has their ids
                return to_tensor(array)
            for step in known[1]:
                array = step(array)
            return to_tensor(array)


def _is_followed(x: Tensor) -> bool:
    """Whether something wants to see every operator."""
    compiling = torch.compiler.is_compiling() or torch.jit.is_tracing()
    without_numbers = type(x) is not Tensor or x.device.type not in ("cpu", "cuda")
    return compiling or without_numbers or _get_current_dispatch_mode() is not None


def _settle(modules: Sequence[nn.Module], array: Array) -> tuple[list[Step], Array]:
    """What each module does with arrays like those that reach it from ``array``, and what comes out."""
    steps = []
    for module in modules:
        steps.append(module.settled(array))
        array = steps[-1](array)
    return steps, array


def _row_on_arrays(modules: Sequence[nn.Module], x: Tensor) -> list[nn.Module]:
    """The first of ``modules`` that follow one another on packed bits, if ``x`` is, or becomes, such bits."""
    first = modules[0]
    packs = type(first) is PackSigns and is_plain(first)
    if not packs and x.dtype != torch.uint64:
        return []
    row = list(takewhile(_gives_bits, modules[packs:]))
    last = modules[packs + len(row) :][:1]
    return [*modules[:packs], *row, *filter(_takes_bits, last)]


def _takes_bits(module: nn.Module) -> bool:
    packed = isinstance(module, PackedLayer) and module.takes_words
    return (packed or type(module) is PackedMaxPool2d) and is_plain(module)


def _gives_bits(module: nn.Module) -> bool:
    return _takes_bits(module) and getattr(module, "result", "signs") == "signs"
