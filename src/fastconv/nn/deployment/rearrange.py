"""Rearrange a network without changing what it gives: signs are taken early, and steps follow products."""

from __future__ import annotations

import copy
import operator
from typing import Any

import torch
from torch import fx, nn
from torch.fx import Node

from fastconv.nn.deployment.fold import is_channelwise, is_idle
from fastconv.nn.deployment.normal import is_addition, module_of, parts_of
from fastconv.nn.deployment.twins import is_binary, is_packable, is_sign, takes_signs
from fastconv.nn.deployment.values import batch_of, is_signs, joins_images, lets_signs_through, note_channels
from fastconv.nn.signs import Sign

SIGN_AND_ZERO = (torch.sign, torch.sgn, "sign", "sgn", "contiguous")
"""What gives numbers of the same signs to a layer that takes signs, for which 0 is +1."""


def rearrange(network: fx.GraphModule) -> None:
    """All of it: afterwards, values know their channels (see ``values.note_channels``)."""
    for change in (_drop_idle, _flatten_views, _flatten_joins, _split_after_joins, _take_signs):
        note_channels(network)
        change(network)
        network.graph.eliminate_dead_code()
    note_channels(network)


def _drop_idle(network: fx.GraphModule) -> None:
    """Put nothing in the place of modules that do nothing in eval mode."""
    for node in network.graph.nodes:
        module = module_of(network, node)
        if module is not None and is_idle(module):
            node.replace_all_uses_with(node.args[0])


def _flatten_views(network: fx.GraphModule) -> None:
    """``x.view(x.size(0), -1)`` of images, and ``x.view(-1, n)`` of those that a linear layer of n features
    reads, flatten them."""
    for node in [*network.graph.nodes]:
        if node.target not in ("view", "reshape", torch.reshape) or node.kwargs:
            continue
        x, *sizes = node.args
        sizes = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
        if len(sizes) != 2 or not isinstance(x, Node) or not x.meta["image"]:
            continue
        rows, columns = sizes
        readers = [getattr(module_of(network, user), "in_features", None) for user in node.users]
        if (columns == -1 and batch_of(_sized(rows)) & batch_of(x)) or (
            rows == -1 and set(readers) == {columns}
        ):
            name = f"{node.name}_flatten"
            network.add_submodule(name, nn.Flatten())
            with network.graph.inserting_before(node):
                new = network.graph.call_module(name, (x,))
            new.meta = dict(node.meta)
            node.replace_all_uses_with(new)


def _sized(node: object) -> Node | None:
    """The value whose number of images a node is."""
    if not isinstance(node, Node):
        return None
    if node.target == "size":
        return node.args[0] if node.args[1:] == (0,) else None
    if node.target is operator.getitem and node.args[1] == 0 and isinstance(node.args[0], Node):
        sizes = node.args[0]
        whole = (sizes.target is getattr and sizes.args[1] == "shape") or (
            sizes.target == "size" and len(sizes.args) == 1
        )
        return sizes.args[0] if whole else None
    return None


def _flatten_joins(network: fx.GraphModule) -> None:
    """Join the parts of what was joined before: copies in the middle then have no readers."""
    for node in network.graph.nodes:
        if joins_images(node):
            parts = [
                inner
                for part in parts_of(node)
                for inner in (parts_of(part) if joins_images(part) else [part])
            ]
            node.args, node.kwargs = (parts, 1), {}


def _split_after_joins(network: fx.GraphModule) -> None:
    """Put what follows a join channel by channel before it, where products have it as a step for most of the
    channels."""
    graph = network.graph
    for node in [*graph.nodes]:
        module = module_of(network, node)
        if module is None or not is_channelwise(module, True) or len(node.args) != 1:
            continue
        join = node.args[0]
        if not joins_images(join) or len(join.users) > 1 or not _mostly_from_products(network, join):
            continue
        divided = _divided(module, [part.meta["channels"] for part in parts_of(join)])
        parts = []
        for at, (part, own) in enumerate(zip(parts_of(join), divided, strict=True)):
            network.add_submodule(f"{node.name}_part{at}", own)
            with graph.inserting_before(node):
                parts.append(graph.call_module(f"{node.name}_part{at}", (part,)))
            parts[-1].meta = dict(node.meta, channels=part.meta["channels"])
        with graph.inserting_before(node):
            joined = graph.call_function(torch.cat, (parts, 1))
        joined.meta = dict(join.meta)
        node.replace_all_uses_with(joined)
        graph.erase_node(node)
        graph.erase_node(join)


def _mostly_from_products(network: fx.GraphModule, join: Node) -> bool:
    own = sum(part.meta["channels"] for part in parts_of(join) if _from_product(network, part))
    return bool(2 * own >= join.meta["channels"] > 0)


def _from_product(network: fx.GraphModule, node: Node) -> bool:
    """Whether a value comes from a binary layer by what may be its steps, and nothing else reads it."""
    if len(node.users) != 1:
        return False
    if is_addition(node):
        return any(_from_product(network, part) for part in node.all_input_nodes)
    module = module_of(network, node)
    if module is None or is_binary(module):
        return module is not None
    return is_channelwise(module, True) and _from_product(network, node.all_input_nodes[0])


def _divided(module: nn.Module, sizes: list[int]) -> list[nn.Module]:
    """A module that works channel by channel as one for each part of the channels."""
    tensors = {**module._parameters, **module._buffers}
    each = {name: t.split(sizes) for name, t in tensors.items() if t is not None and t.shape == (sum(sizes),)}
    parts = []
    for at, size in enumerate(sizes):
        part = copy.deepcopy(module)
        for name, pieces in each.items():
            own = pieces[at].clone()
            setattr(part, name, nn.Parameter(own, requires_grad=False) if name in module._parameters else own)
        for count in ("num_features", "num_parameters", "channels"):
            if each and hasattr(part, count):
                setattr(part, count, size)
        parts.append(part)
    return parts


def _take_signs(network: fx.GraphModule) -> None:
    """Put a sign before each binary layer that takes signs, one for each value, and before flattening and
    joining."""
    found: dict[Node, Node] = {}
    for node in [*network.graph.nodes]:
        if is_sign(module_of(network, node)):
            source = _looked_through(network, node.args[0])
            node.update_arg(0, source)
            known = source if is_sign(module_of(network, source)) else found.setdefault(source, node)
            if known is node:
                source.append(node)
            else:
                node.replace_all_uses_with(known)
    for node in [*network.graph.nodes]:
        module = module_of(network, node)
        if is_binary(module) and takes_signs(module) and is_packable(module):
            source = _looked_through(network, node.args[0])
            if is_sign(module_of(network, source)) and lets_signs_through(network, source.args[0]):
                source = source.args[0]
                del found[source]
            node.update_arg(0, _sign_of(network, source, found))
    network.graph.eliminate_dead_code()


def _looked_through(network: fx.GraphModule, node: Any) -> Node:
    """A value whose signs are those of ``node``."""
    while True:
        if node.op not in ("call_function", "call_method") or node.target not in SIGN_AND_ZERO:
            return node
        node = node.args[0]


def _sign_of(network: fx.GraphModule, source: Node, found: dict[Node, Node]) -> Node:
    """The node of the signs of ``source``."""
    if is_signs(network, source):
        return source
    if source in found:
        return found[source]
    graph, module = network.graph, module_of(network, source)
    if module is not None and lets_signs_through(network, source):
        inner = _sign_of(network, _looked_through(network, source.args[0]), found)
        with graph.inserting_after(source):
            node = graph.call_module(str(source.target), (inner,))
    elif joins_images(source):
        parts = [_sign_of(network, _looked_through(network, part), found) for part in parts_of(source)]
        with graph.inserting_after(source):
            node = graph.call_function(torch.cat, (parts, 1))
    else:
        name = f"sign_of_{source.name}"
        network.add_submodule(name, Sign())
        with graph.inserting_after(source):
            node = graph.call_module(name, (source,))
        node.meta["name"] = ""
    node.meta = source.meta | node.meta
    found[source] = node
    return node
