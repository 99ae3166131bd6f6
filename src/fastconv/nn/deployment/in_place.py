"""Operations in place as operations that give a new value: whoever reads the old one later reads the new."""

from __future__ import annotations

import inspect
import operator
from typing import Any

import torch
from torch import fx, nn
from torch.fx import Node

from fastconv.nn.deployment import reasons
from fastconv.nn.deployment.fold import IDLE

AUGMENTED = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}
"""What ``x += y`` and its like are as functions, and what gives a new value."""

VIEWS = (
    "chunk", "contiguous", "detach", "diagonal", "expand", "expand_as", "flatten", "float", "getitem",
    "movedim", "narrow", "permute", "reshape", "select", "split", "squeeze", "swapaxes", "t", "to",
    "transpose", "unbind", "unflatten", "unsqueeze", "view", "view_as",
)  # fmt: skip
"""Functions and methods whose result may lie in the memory of what they are given."""

SIZES = ("size", "dim", "numel", "getattr")


def made_functional(network: fx.GraphModule) -> str:
    """Put new values in the place of writes; returns why that cannot be, or nothing."""
    nodes = [*network.graph.nodes]
    for at, node in enumerate(nodes):
        if "out" in node.kwargs:
            return reasons.WRITES_TO_OUT.format(node=node.name)
        new = _functional(network, node)
        if new is None:
            continue
        value, later = node.args[0] if node.args else None, {*nodes[at + 1 :]}
        if not isinstance(value, Node) or new == "":
            return reasons.WRITES_IN_PLACE.format(node=node.name)
        if _is_size(value):  # a number, which is not written to
            node.target = new
            continue
        others = _sharing(network, value) - {value, node} - later  # views made later are of the new value
        if value.op == "get_attr" or any(user in later for other in others for user in other.users):
            return reasons.WRITES_TO_SHARED.format(node=node.name)
        for user in [*value.users]:
            if user in later:
                user.replace_input_with(value, node)
        if node.op == "call_module":
            network.get_submodule(str(node.target)).inplace = False
        else:
            node.target = new
            node.kwargs = {name: given for name, given in node.kwargs.items() if name != "inplace"}
    return ""


def _functional(network: fx.GraphModule, node: Node) -> Any:
    """What a node that writes in place calls to give a new value; "" if there is no such thing, None if it
    does not write."""
    if node.op == "call_module":
        return node.target if getattr(network.get_submodule(str(node.target)), "inplace", False) else None
    if node.op == "call_method":
        name = str(node.target)
        if not name.endswith("_") or name.endswith("__"):
            return None
        return name[:-1] if hasattr(torch.Tensor, name[:-1]) else ""
    if node.op != "call_function":
        return None
    if node.target in AUGMENTED:
        return AUGMENTED[node.target]
    name = getattr(node.target, "__name__", "")
    if name.endswith("_") and not name.endswith("__"):
        return getattr(torch, name[:-1], "")
    return node.target if _asked_in_place(node) else None


def _asked_in_place(node: Node) -> bool:
    """Whether a function is called with ``inplace=True``, by name or by place; which it then loses."""
    if "inplace" in node.kwargs:
        return bool(node.kwargs["inplace"])
    try:
        names = [*inspect.signature(node.target).parameters]
    except (TypeError, ValueError):
        return False
    place = names.index("inplace") if "inplace" in names else len(node.args)
    if place >= len(node.args) or not node.args[place]:
        return False
    node.args = (*node.args[:place], False, *node.args[place + 1 :])
    return True


def _sharing(network: fx.GraphModule, value: Node) -> set[Node]:
    """The values that may lie in the memory of ``value``."""
    found, new = set(), {value}
    while new:
        found |= new
        beside = {node.args[0] for node in new if _is_view(network, node)}
        beside |= {user for node in new for user in node.users if _is_view(network, user)}
        new = {node for node in beside if isinstance(node, Node)} - found
    return found


def _is_view(network: fx.GraphModule, node: Node) -> bool:
    if node.op == "call_module":
        module = network.get_submodule(str(node.target))
        return isinstance(module, (*IDLE, nn.Flatten, nn.Unflatten)) or getattr(module, "inplace", False)
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    return node.op in ("call_method", "call_function") and name in VIEWS


def _is_size(node: Node) -> bool:
    """Whether a value is a number made of sizes of tensors."""
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    if name in ("getitem", "add", "sub", "mul", "floordiv", "truediv") and node.op == "call_function":
        return any(_is_size(part) for part in node.all_input_nodes)
    return node.op in ("call_method", "call_function") and name in SIZES
