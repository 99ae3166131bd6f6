"""The parts of a network while it is put together: modules, functions and tensors by name, and calls."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.fx import Node

from fastconv.nn.calls import Call, Slot
from fastconv.nn.functions import FUNCTIONS, name_of
from fastconv.nn.graph import PackedGraph

RESERVED = {*dir(PackedGraph), "calls", "channels_last", "get", "functions", "inputs", "output", "training"}


class Assembly:
    """What a :class:`fastconv.nn.graph.PackedGraph` is made of."""

    def __init__(self) -> None:
        self.modules: dict[str, nn.Module] = {}
        self.functions: dict[str, Any] = {}
        self.tensors: dict[str, Tensor] = {}
        self.calls: list[Call] = []
        self._slots = 0

    def slot(self) -> int:
        """A slot for another value."""
        self._slots += 1
        return self._slots - 1

    def call(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> int:
        """Add a call that gives one value; its slot."""
        return self.call_for(target, args, 1, kwargs)[0]

    def call_for(
        self, target: str, args: tuple[Any, ...], results: int, kwargs: dict[str, Any] | None = None
    ) -> tuple[int, ...]:
        """Add a call that gives so many ``results``; their slots."""
        places = tuple(self.slot() for _ in range(results))
        self.calls.append(Call(target, args, kwargs or {}, places))
        return places

    def module(self, name: str, module: nn.Module) -> str:
        """Add a module; its name."""
        name = self._free(name or "layer")
        self.modules[name] = module.eval()
        return name

    def run(self, name: str, module: nn.Module, *slots: int) -> int:
        """Add a module and a call of it with values; the slot of what it gives."""
        return self.call(self.module(name, module), tuple(map(Slot, slots)))

    def function(self, node: Node) -> str:
        """The name of the function or method that a node calls, which is added if no table has it."""
        method = node.op == "call_method"
        name = f"Tensor.{node.target}" if method else name_of(node.target)
        if name not in FUNCTIONS:
            self.functions[name] = getattr(Tensor, str(node.target)) if method else node.target
        return name

    def tensor(self, path: str, tensor: Tensor) -> str:
        """Add a tensor; its name."""
        name = self._free(path)
        self.tensors[name] = tensor.detach()
        return name

    def _free(self, path: str) -> str:
        """A name that neither a network nor anything in it has."""
        name = path.replace(".", "_")
        while name in self.modules or name in self.tensors or name in RESERVED:
            name += "_"
        return name
