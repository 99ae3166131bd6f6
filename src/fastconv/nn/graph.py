"""Deployed networks: a flat list of calls, and the plans that it becomes for inputs of one shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fastconv._backends import undisturbed
from fastconv.adapters.torch_tensors import placed
from fastconv.nn.arrays import state_of
from fastconv.nn.calls import (
    Call,
    PackedModule,
    filled,
    has_channels_last,
    is_followed,
    is_plain,
    slots_of,
    with_channels_last,
)
from fastconv.nn.functions import FUNCTIONS
from fastconv.nn.prepared import Preparation, Ready, run

MOST_PLANNED = 32
"""Lists of plans kept of one network: there is one for each shape and layout of inputs."""


class PackedGraph(nn.Module):
    """A deployed network: :func:`fastconv.nn.deploy` makes it.

    For each shape and layout of inputs, the calls become one list of plans and of PyTorch's modules, which
    pass arrays of NumPy or CuPy where both sides are ours: for small images, operators and checks took longer
    than the kernels. A compiler, or whatever else follows operators, sees each of them; so do the hooks of a
    module.

    Parameters
    ----------
    modules : dict of Module
        By the names that ``calls`` have for them.
    calls : sequence of Call
    inputs : sequence of str
        Names of the values that the network is called with: the first slots.
    output : Slot, or a tuple, list or dict of them
    channels_last : bool
        Whether images are brought into that layout; if not, they keep theirs.
    functions : dict of callable, optional
        By the names that ``calls`` have for those that :mod:`fastconv.nn.functions` does not know.
    tensors : dict of tensor, optional
        By the names that ``calls`` "get".
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        calls: Sequence[Call],
        inputs: Sequence[str],
        output: Any,
        channels_last: bool = True,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        for name, tensor in (tensors or {}).items():
            self.register_buffer(name, tensor)
        self.functions = dict(functions or {})
        self.calls, self.inputs, self.output = list(calls), list(inputs), output
        self.channels_last = channels_last
        self._plans: dict[Any, tuple[Any, list[Ready], list[Tensor | None]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}}

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self._modules.values())

    def __getitem__(self, index: int) -> nn.Module:
        return [*self][index]

    def forward(self, *given: Any, **named: Any) -> Any:
        """What the network gives."""
        rest = self.inputs[len(given) :]
        if len(given) > len(self.inputs) or named.keys() != {*rest}:
            got = f"{len(given)} values" + (f" and {[*named]}" if named else "")
            raise TypeError(f"PackedGraph: takes the inputs {self.inputs}, got {got}")
        given = (*given, *(named[name] for name in rest))
        if self.channels_last:
            given = tuple(map(with_channels_last, given))
        if any(map(is_followed, given)):
            return self._by_operators(given)
        learning = torch.is_grad_enabled() and any(x.requires_grad for x in given)
        if learning or not is_plain(*self._packed()):
            return self._by_operators(given, learning)
        return self._by_plans(given)

    def _packed(self) -> list[nn.Module]:
        return [module for module in self._modules.values() if isinstance(module, PackedModule)]

    def _by_operators(self, given: tuple[Any, ...], learning: bool = False) -> Any:
        """Call after call, on tensors."""
        kept = self._keeps(given)
        values: dict[int, Any] = dict(enumerate(given))
        for call in self.calls:
            found = self._named(call.target)(*filled(call.args, values), **filled(call.kwargs, values))
            results = found if len(call.results) > 1 else (found,)
            for place, result in zip(call.results, results, strict=True):
                if learning and call.target in self._modules:
                    _check_learning(result, call, values)
                if kept and isinstance(self._modules.get(call.target), PackedModule):
                    result = _contiguous(result)
                values[place] = result
        return filled(self.output, values)

    @undisturbed
    def _by_plans(self, given: tuple[Any, ...]) -> Any:
        packed = self._packed()
        tensors = [buffer for module in packed for buffer in module._buffers.values()]
        with placed(given[0].device):
            state, key = state_of(tensors), tuple(memory_of_tensor(x) for x in given)
            known = self._plans.get(key)
            if state is None or known is None or known[0] != state:
                prepared = Preparation(self.calls, self._named, self.output, given, self._keeps(given))
                values, plans = prepared.values, prepared.plans
                if state is not None:
                    if len(self._plans) >= MOST_PLANNED:
                        self._plans.clear()
                    self._plans[key] = state, plans, tensors  # so that their addresses stay taken
            else:
                values = run(known[1], given)
            return filled(self.output, values)

    def _keeps(self, given: tuple[Any, ...]) -> bool:
        """Whether images keep the numbers of a channel side by side."""
        return not self.channels_last and not any(map(has_channels_last, given))

    def _named(self, target: str) -> Callable[..., Any]:
        if target == "get":
            return partial(getattr, self)
        module: Callable[..., Any] | None = self._modules.get(target)
        if module is not None:
            return module
        return FUNCTIONS.get(target) or self.functions[target]


def memory_of_tensor(x: Tensor) -> Any:
    """What plans depend on of an input."""
    return (x.shape, x.stride(), x.dtype, x.device)


def _contiguous(result: Any) -> Any:
    return result.contiguous() if result.dtype == torch.float32 else result


def _check_learning(result: Any, call: Call, values: Mapping[int, Any]) -> None:
    """Refuse words that come out of numbers of which a gradient is wanted."""
    if getattr(result, "dtype", None) == torch.uint64 and any(
        getattr(values[slot], "requires_grad", False) for slot in slots_of(call.args)
    ):
        raise TypeError(
            "PackedGraph: no gradient flows through packed layers; call it in torch.no_grad() or on "
            "x.detach(), or train the model that was deployed"
        )
