"""A model as a graph: torch.fx, with the layers of PyTorch and ours as leaves."""

from __future__ import annotations

import operator
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import fx, nn
from torch.nn.utils import parametrize

from fastconv.nn.calls import is_plain
from fastconv.nn.deployment import reasons
from fastconv.nn.deployment.in_place import made_functional

OURS = ("torch", "fastconv")
"""Packages whose layers are leaves, and whose frames say nothing about a user's code."""

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


ALONE = "layer"
"""The name of a layer that is the whole model."""


class Untraced(NamedTuple):
    """Why a module could not be captured: in words, with file and line."""

    reason: str


def captured(model: nn.Module, signs: Sequence[type[nn.Module]]) -> fx.GraphModule | Untraced:
    """The graph of what ``model`` calls; classes of ``signs`` are leaves."""
    tracer = _Tracer(tuple(signs))
    if tracer.is_leaf_module(model, ""):
        return _alone(model)
    try:
        graph = tracer.trace(model)
    except Exception as error:  # whatever the model's own code says to values without numbers
        said = str(error).splitlines()[0] if str(error) else repr(error)
        return Untraced(reasons.NO_GRAPH.format(where=_where(error), error=said))
    for node in graph.nodes:
        if node.op == "call_module" and not node.args and len(node.kwargs) == 1:  # by keyword
            node.args, node.kwargs = tuple(node.kwargs.values()), {}
    network = fx.GraphModule(model, graph)
    reason = made_functional(network) or _optional_read(network)
    if reason:
        return Untraced(reason)
    network.meta["kinds"] = {name: type(module).__name__ for name, module in model.named_modules()}
    return network


def _optional_read(network: fx.GraphModule) -> str:
    """Why arguments with defaults cannot be told from those without."""
    for node in network.graph.nodes:
        if node.op == "placeholder" and node.args:
            if node.users:
                return reasons.HAS_DEFAULT.format(name=node.name)
            network.graph.erase_node(node)
    return ""


def _alone(layer: nn.Module) -> fx.GraphModule:
    """The graph of a model that is one layer."""
    graph = fx.Graph()
    graph.output(graph.call_module(ALONE, (graph.placeholder("x"),)))
    network = fx.GraphModule({ALONE: layer}, graph)
    network.meta["kinds"] = {}
    return network


def unwrapped(model: nn.Module) -> nn.Module:
    """``model`` without wrappers that call it as it is, and with parametrizations applied for good."""
    replaced: dict[nn.Module, nn.Module] = {}

    def inner(module: nn.Module) -> nn.Module:
        if module in replaced:
            return replaced[module]
        found = module
        while _is_wrapper(found):
            found = found._modules.get("_orig_mod") or found._modules["module"]
        replaced[module] = replaced[found] = found
        for name, child in found._modules.items():
            if child is not None and not (name == "parametrizations" and parametrize.is_parametrized(found)):
                found._modules[name] = inner(child)
        if parametrize.is_parametrized(found):
            _apply_parametrizations(found)
        return found

    return inner(model)


def _apply_parametrizations(module: nn.Module) -> None:
    """Put numbers in their place. PyTorch's own function changes the class, which other copies share."""
    values = {name: getattr(module, name).detach().clone() for name in module.parametrizations}
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module._modules["parametrizations"]
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value, requires_grad=False))


def acts_as(module: nn.Module, base: type[nn.Module]) -> bool:
    """Whether ``module`` computes what ``base`` does: of that class, or of one that overrides nothing that is
    called."""
    if not isinstance(module, base) or not is_plain(module):
        return False
    own = type(module).__mro__[: type(module).__mro__.index(base)]
    told = ("__init__", "extra_repr", "reset_parameters", "__repr__")
    return not any(
        callable(value) or isinstance(value, property)
        for kind in own
        for name, value in vars(kind).items()
        if name not in told and hasattr(base, name) and not name.startswith("__")
    )


def _is_wrapper(module: nn.Module) -> bool:
    """Whether a module does nothing but call the one in it."""
    kinds: list[Any] = [nn.DataParallel, torch.optim.swa_utils.AveragedModel]
    if torch.distributed.is_available():
        kinds.append(nn.parallel.DistributedDataParallel)
    compiler = sys.modules.get("torch._dynamo.eval_frame")  # whose import takes a second
    return isinstance(module, (*kinds, *([compiler.OptimizedModule] if compiler else [])))


class _Value(fx.Proxy):
    """A value of which is noted that ``x += y`` writes to it: torch.fx takes that for ``x = x + y``."""

    def __iadd__(self, other: Any) -> Any:
        return self._written(operator.iadd, other)

    def __isub__(self, other: Any) -> Any:
        return self._written(operator.isub, other)

    def __imul__(self, other: Any) -> Any:
        return self._written(operator.imul, other)

    def __itruediv__(self, other: Any) -> Any:
        return self._written(operator.itruediv, other)

    def _written(self, function: Any, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", function, (self, other), {})


class _Tracer(fx.Tracer):
    def __init__(self, signs: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self.signs = signs

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Value(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, self.signs) or not is_plain(m):
            return True
        package = type(m).forward.__module__.partition(".")[0]
        return package in OURS and not isinstance(m, CONTAINERS)


def _where(error: Exception) -> str:
    """The innermost line of the user's own code in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    roots = [Path(torch.__file__).parent, Path(__file__).parents[2]]
    theirs = [f for f in frames if not any(Path(f.filename).is_relative_to(root) for root in roots)]
    theirs = [f for f in theirs if Path(f.filename).exists()]
    if not theirs:
        return "in the model's code"
    return f"{theirs[-1].filename}:{theirs[-1].lineno}"
