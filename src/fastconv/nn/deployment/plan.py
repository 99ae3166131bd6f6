"""What becomes of the nodes of a network: which are one call, where signs are taken, who wants what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch.fx import Node

from fastconv.nn.calls import is_plain
from fastconv.nn.deployment import reasons
from fastconv.nn.deployment.fold import Folded, is_channelwise
from fastconv.nn.deployment.normal import is_addition, module_of, parts_of
from fastconv.nn.deployment.passes import Pass
from fastconv.nn.deployment.rearrange import rearrange
from fastconv.nn.deployment.steps import NO_STEP, Steps
from fastconv.nn.deployment.twins import (
    Packing,
    fold_before,
    fold_into,
    is_binary,
    is_flatten,
    is_packable,
    is_sign,
    pools_numbers,
    pools_signs,
    takes_signs,
    why_called,
)
from fastconv.nn.deployment.values import (
    batch_of,
    joins_images,
    keeps_channels,
    wanted_as_words,
)


@dataclass
class Comparison:
    """A binary layer whose integers are compared: ``chain`` stands between it and the ``sign``."""

    layer: Node
    chain: list[Node]
    sign: Node
    folded: Folded


@dataclass
class Product:
    """A binary layer, and the ``chain`` that is computed in its call, up to ``end``."""

    layer: Node
    chain: list[Node]
    steps: Steps | None
    residual: Node | None

    @property
    def end(self) -> Node:
        return self.chain[-1] if self.chain else self.layer


@dataclass
class Signs:
    """Where signs come from: ``parts`` (value, comparison of it or None), joined, then pooled if pooling is
    in the ``chain`` up to the ``sign``. Of what else is in it, the comparisons are made."""

    sign: Node
    parts: list[tuple[Node, Packing | None]]
    chain: list[Node]


@dataclass
class Plan:
    """What becomes of the nodes of a ``network``; ``notes`` says why what was not done."""

    network: fx.GraphModule
    exact: bool
    comparisons: dict[Node, Comparison] = field(default_factory=dict)  # by sign
    products: dict[Node, Product] = field(default_factory=dict)  # by end
    signs: dict[Node, Signs] = field(default_factory=dict)
    passes: dict[Node, Pass] = field(default_factory=dict)  # by end
    absorbed: set[Node] = field(default_factory=set)
    notes: dict[Node, str] = field(default_factory=dict)
    modules: list[Node] = field(default_factory=list)  # before any was taken out

    def module(self, node: Any) -> Any:
        return module_of(self.network, node)

    @property
    def device(self) -> torch.device:
        """Where the network's tensors are."""
        return next((t.device for t in self.network.state_dict().values()), torch.device("cpu"))

    def is_settled(self, node: Node) -> bool:
        """Whether it is known what becomes of a node."""
        known = self.absorbed, self.comparisons, self.products, self.signs, self.passes
        return any(node in nodes for nodes in known)


def planned(network: fx.GraphModule, exact: bool, channels_last: bool) -> Plan:
    """Look through a network whose nodes are normal; if not ``exact``, steps may round otherwise. With
    ``channels_last`` float modules are put together, too."""
    plan = Plan(network, exact)
    plan.modules = [node for node in network.graph.nodes if node.op == "call_module"]
    for node in plan.modules:
        plan.notes.update({node: why} if (why := why_called(plan.module(node))) else {})
    rearrange(network)
    nodes = [*network.graph.nodes]
    for node in nodes:
        if is_sign(plan.module(node)):
            _compare_product(plan, node)
    for node in nodes:
        if is_binary(plan.module(node)) and node not in plan.absorbed:
            _add_product(plan, node)
    for node in nodes:
        if (
            is_sign(plan.module(node))
            and node not in plan.comparisons
            and wanted_as_words(plan.network, node)
        ):
            _compare_numbers(plan, node)
    signed = {value for signs in plan.signs.values() for value, _ in signs.parts}
    for node in nodes if channels_last else ():
        if not plan.is_settled(node):
            _add_pass(plan, node, signed)
    return plan


def _chain_above(plan: Plan, sign: Node) -> tuple[Node, list[Node]]:
    """The value that a sign is taken of, channel by channel and with max-pooling once, and the nodes in
    between, which nothing else reads."""
    chain: list[Node] = []
    node, pooled = sign.args[0], False
    while isinstance(node, Node) and len(node.users) == 1 and node not in plan.products:
        module = plan.module(node)
        if module is None:
            break
        image = node.meta["image"]
        if pools_numbers(module) and not pooled:
            pooled = True
        elif not any(
            is_channelwise(module, kind) for kind in ((image,) if image is not None else (True, False))
        ):
            break
        if not keeps_channels(plan.network, node):
            break
        chain.insert(0, node)
        node = node.args[0]
    return node, chain


def _compare_product(plan: Plan, sign: Node) -> None:
    """Fold what stands between a binary layer and a sign, if integers can be compared instead."""
    layer, chain = _chain_above(plan, sign)
    module = plan.module(layer)
    if not (is_binary(module) and is_packable(module) and takes_signs(module) and len(layer.users) == 1):
        return
    folded = fold_into(module, [plan.module(node) for node in chain])
    if folded is None:
        plan.notes[layer] = reasons.SIGN_CHANGES
        return
    plan.comparisons[sign] = Comparison(layer, chain, sign, folded)
    plan.absorbed |= {layer, *chain}


def _add_product(plan: Plan, layer: Node) -> None:
    """Compute in the call of a binary layer what follows it and nothing else reads."""
    module = plan.module(layer)
    if not is_packable(module):
        plan.notes[layer] = reasons.SEVERAL_BITS_OF_K
        return
    several = module.activation_bits > 1 or module.weight_bits > 1
    product = Product(layer, [], None if several else Steps(module, plan.exact), None)
    while product.steps is not None and len(product.end.users) == 1:
        (user,) = product.end.users
        if user in plan.absorbed or user in plan.products or not _append(plan, product, user):
            break
    plan.absorbed |= {layer, *product.chain} - {product.end}
    plan.products[product.end] = product


def _append(plan: Plan, product: Product, node: Node) -> bool:
    """Let ``product`` compute ``node`` too; False if it cannot."""
    module, steps = plan.module(node), product.steps
    assert steps is not None
    if is_addition(node):
        others = [part for part in node.args if part is not product.end]
        together = len(others) == 1 and batch_of(others[0]) & batch_of(product.end)
        if (
            not together
            or others[0].meta["channels"] not in (0, product.end.meta["channels"])
            or others[0].meta["pitch"] != product.end.meta["pitch"]
            or not steps.add()
        ):
            return False
        product.residual = others[0]
    elif (
        module is None
        or not is_plain(module)
        or is_sign(module)
        or is_binary(module)
        or is_flatten(module)
        or pools_signs(module)
    ):
        return False
    else:
        why = steps.append(module)
        if why:
            plan.notes.update({} if why == NO_STEP else {node: why})
            return False
    product.chain.append(node)
    return True


def _add_pass(plan: Plan, node: Node, signed: set[Node]) -> None:
    """Compute float modules from ``node`` on in one pass, if that is worth a call of ours; ``signed`` are the
    values that signs are taken of."""
    found, why = Pass(plan.network, node.meta["channels"], plan.device, plan.exact), ""
    while not plan.is_settled(node):
        why = found.extend(node)
        if why or len(node.users) != 1:
            break
        (node,) = node.users
    if why not in ("", NO_STEP):
        plan.notes[node] = why
    if found.chain and found.is_worth(found.end in signed):
        plan.passes[found.end] = found
        plan.absorbed |= {*found.chain} - {found.end}


def _compare_numbers(plan: Plan, sign: Node) -> None:
    """Take signs of numbers as early as possible: of what is compared, joined or pooled later."""
    source, chain = _chain_above(plan, sign)
    for start in range(len(chain) + 1):
        part = chain[start:]
        value = chain[start - 1] if start else source
        packing = _packing(plan, value, part)
        if packing is not None or _pools_alone(plan, value, part):
            break
        plan.notes[part[0]] = reasons.NO_COMPARISON
    parts: list[tuple[Node, Packing | None]] = [(value, packing)]
    if packing is not None and joins_images(value):
        sizes = [p.meta["channels"] for p in parts_of(value)]
        parts = [*zip(parts_of(value), packing.split(sizes), strict=True)]
    plan.signs[sign] = Signs(sign, parts, part)
    plan.absorbed |= {*part}


def _pools_alone(plan: Plan, value: Node, chain: list[Node]) -> bool:
    """Whether nothing but pooling, which may be done on its signs, stands between a value and its sign."""
    pools = [node for node in chain if pools_numbers(plan.module(node))]
    return pools == chain and (not chain or bool(value.meta["channels"]))


def _packing(plan: Plan, value: Node, chain: list[Node]) -> Packing | None:
    """The comparison of ``value`` that gives the sign behind ``chain``."""
    modules = [plan.module(node) for node in chain]
    image = next((node.meta["image"] for node in (*chain, value) if node.meta["image"] is not None), None)
    channels = next((node.meta["channels"] for node in (value, *chain) if node.meta["channels"]), 0)
    if image is None or not channels or not any(is_channelwise(module, image) for module in modules):
        return None
    return fold_before(modules, channels, image)
