"""From a plan to a network: packed modules, and the calls of it in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx import Node

from fastconv.nn.calls import Slot
from fastconv.nn.channelwise import Channelwise
from fastconv.nn.deployment.assembly import Assembly
from fastconv.nn.deployment.capture import ALONE
from fastconv.nn.deployment.needs import Needs
from fastconv.nn.deployment.normal import is_concatenation, parts_of
from fastconv.nn.deployment.notes import Notes
from fastconv.nn.deployment.passes import Pass
from fastconv.nn.deployment.plan import Comparison, Plan, Product, Signs
from fastconv.nn.deployment.report import Row
from fastconv.nn.deployment.steps import never_negative
from fastconv.nn.deployment.trees import Words, plain_tree
from fastconv.nn.deployment.twins import (
    Packing,
    along_axis_1,
    is_binary,
    is_flatten,
    pack_layer,
    pack_pool,
    pools_numbers,
)
from fastconv.nn.deployment.values import is_signs, takes_signs_of
from fastconv.nn.graph import PackedGraph
from fastconv.nn.layers import BinaryConv2d, BinaryLinear
from fastconv.nn.packing import JoinSigns, PackedFlatten, PackSigns, UnpackSigns
from fastconv.nn.products import IMAGE_AXIS

Keep = Callable[[str, nn.Module, list[Row]], nn.Module]
"""Deploys a module that a network calls as it is, and says what became of those in it."""


def emitted(plan: Plan, rows: list[Row], keep: Keep, channels_last: bool) -> tuple[PackedGraph, list[str]]:
    """The network of a plan, and what its user must be warned of. What became of each module is added to
    ``rows``; ``keep`` deploys, and adds, those that know nothing of signs."""
    emitter = _Emitter(plan, keep, channels_last)
    for node in plan.network.graph.nodes:
        emitter.emit(node)
    rows += emitter.notes.finished()
    (output,) = (node for node in plan.network.graph.nodes if node.op == "output")
    tree = fx.node.map_arg(output.args[0], lambda node: Slot(emitter.numbers(node)))
    inputs = [str(node.target) for node in plan.network.graph.nodes if node.op == "placeholder"]
    graph = PackedGraph(
        emitter.made.modules,
        emitter.made.calls,
        inputs,
        plain_tree(tree),
        channels_last,
        emitter.made.functions,
        emitter.made.tensors,
    )
    return graph, emitter.notes.alarms


class _Emitter:
    def __init__(self, plan: Plan, keep: Keep, channels_last: bool) -> None:
        self.plan, self.keep, self.needs, self.notes = plan, keep, Needs(plan), Notes(plan)
        self.channels_last = channels_last
        self.made = Assembly()
        self.numbered: dict[Node, int] = {}
        self.words: dict[Node, Words] = {}
        self.shared: dict[Any, Words] = {}  # by the value and the comparison of it
        self.kept: dict[nn.Module, str] = {}
        self.packed: dict[Any, str] = {}

    # values

    def numbers(self, node: Node) -> int:
        """The slot of the numbers of a value."""
        if node not in self.numbered:
            words = self.words[node]
            module = UnpackSigns(words.length, words.image)
            self.notes.added("bits to numbers", module, node)
            self.numbered[node] = self.made.run(f"{node.name}_numbers", module, words.slot)
        return self.numbered[node]

    # nodes

    def emit(self, node: Node) -> None:
        plan, needs = self.plan, self.needs
        if node.op == "placeholder":
            self.numbered[node] = self.made.slot()
        elif node.op == "output" or node in plan.absorbed:
            return
        elif node in plan.comparisons:
            if node in needs.words:
                self._emit_comparison(plan.comparisons[node])
        elif node in plan.products:
            if node in needs.numbers or node in needs.taken:
                self._emit_product(plan.products[node])
        elif node in plan.passes:
            if node in needs.numbers or node in needs.taken:
                self._emit_pass(plan.passes[node])
        elif node in plan.signs and node in needs.lazy:
            self.numbered[node] = self.numbers(plan.signs[node].parts[0][0])
            self.notes.tell(node, "left to the binary layer that follows")
        elif node in plan.signs and node in needs.words:
            self._emit_signs(plan.signs[node])
        elif node in needs.words and is_signs(plan.network, node):
            self._emit_on_words(node)
        elif node in needs.numbers:
            self._emit_as_it_was(node)

    def _emit_comparison(self, comparison: Comparison) -> None:
        plan, folded = self.plan, comparison.folded
        layer, chain = comparison.layer, [plan.module(node) for node in comparison.chain]
        bounds = folded.threshold.tau, folded.threshold.flip
        rows_only = any(along_axis_1(module) for module in chain)
        (slot,) = self._layer(layer, ["signs"], (), bounds, None, rows_only, comparison.chain)
        module: Any = plan.module(layer)
        words = Words(slot, module.weight.shape[0], isinstance(module, BinaryConv2d))
        into = layer.meta["name"] or "the layer"
        self.words[comparison.sign] = self._pooled(
            words, comparison.chain, folded.inverted, f"folded into {into}"
        )
        self.notes.tell(comparison.sign, f"folded into {into}")
        n = module.weight[0].numel()
        self.notes.constant(comparison.sign, (bounds[0] <= -n) | (bounds[0] > n), comparison.chain)

    def _emit_product(self, product: Product) -> None:
        plan, end = self.plan, product.end
        module: Any = plan.module(product.layer)
        image = isinstance(module, BinaryConv2d)
        taken = [packing for _, packing in self.needs.taken.get(end, [])]
        fits = product.steps is not None and bool(taken) and (taken[0] is None or taken[0].image == image)
        others = [packing for packing in taken if packing is not taken[0]]
        gives = []
        if end in self.needs.numbers or others or not fits:
            gives.append("numbers")
        bounds = None
        if fits:
            gives.append("signs")
            zeros = torch.zeros_like(module.weight[:, 0] if not image else module.weight[:, 0, 0, 0])
            bounds = (zeros, zeros.bool()) if taken[0] is None else (taken[0].tau, taken[0].flip)
        found = () if product.steps is None else product.steps.found
        rows_only = not image and any(along_axis_1(plan.module(node)) for node in product.chain)
        places = self._layer(product.layer, gives, found, bounds, product.residual, rows_only, product.chain)
        given = dict(zip(gives, places, strict=True))
        if "numbers" in given:
            self.numbered[end] = given["numbers"]
        if "signs" in given:
            self.shared[end, id(taken[0])] = Words(given["signs"], module.weight.shape[0], image)
            if taken[0] is None and product.steps is not None and never_negative(product.steps.found):
                sign = self.needs.taken[end][0][0]
                self.notes.constant(sign, zeros == 0, product.chain)
        for node in product.chain:
            self.notes.tell(node, f"a step of {product.layer.meta['name'] or 'the layer'}")

    def _emit_pass(self, found: Pass) -> None:
        """Numbers of a pass, and signs for each comparison that fits them."""
        end, axis = found.end, found.places
        image = axis == IMAGE_AXIS
        taken = {id(packing): packing for _, packing in self.needs.taken.get(end, [])}
        fits = {
            key: p for key, p in taken.items() if (p is None or p.image == image) and (image or axis == -1)
        }
        numbers = end in self.needs.numbers or len(fits) < len(taken) or not fits
        module = found.packed(numbers, [*fits.values()])
        (source,) = found.chain[0].all_input_nodes
        places = self._run_pass(end, source, end.meta["name"], module, [*fits])
        if numbers:
            self.numbered[end] = places[0]
        if None in fits.values() and never_negative(found.steps):
            every = torch.ones(found.channels, dtype=torch.bool)
            self.notes.constant(self.needs.taken[end][0][0], every, found.chain)
        for node in found.chain[:-1]:
            self.notes.tell(node, f"in one pass with {end.meta['name']}")
        self.notes.tell(end, "one pass", module)

    def _run_pass(
        self, value: Node, source: Node, name: str, module: Channelwise, keys: Sequence[int]
    ) -> tuple[int, ...]:
        """A pass that gives signs of a value, for comparisons with such ids; the slots of what it gives."""
        called = self.made.module(name, module)
        places = self.made.call_for(called, (Slot(self.numbers(source)),), module.numbers + len(keys))
        for key, place in zip(keys, places[module.numbers :], strict=True):
            self.shared[value, key] = Words(place, module.channels, module.axis == IMAGE_AXIS)
        return places

    def _layer(
        self,
        node: Node,
        gives: Sequence[str],
        steps: Sequence[Any],
        bounds: tuple[Tensor, Tensor] | None,
        residual: Node | None,
        rows_only: bool,
        chain: Sequence[Node],
    ) -> tuple[int, ...]:
        """A call of a packed layer; the slots of what it gives."""
        layer: Any = self.plan.module(node)
        (source,) = node.all_input_nodes
        words = self.words.get(source) if takes_signs_of(self.plan.network, node, source) else None
        slot = self.numbers(source) if words is None else words.slot
        flattened = None if words is None else words.flattened
        # a module that is called again, with the same behind it, is packed once
        told = None if bounds is None else tuple(bound.cpu().numpy().tobytes() for bound in bounds)
        key = (layer, *(self.plan.module(n) for n in chain), *gives, flattened, rows_only, told)
        if key not in self.packed:
            packed = pack_layer(layer, gives, steps, bounds, flattened=flattened, rows_only=rows_only)
            self.packed[key] = self.made.module(node.meta["name"], packed)
            source_kind = "numbers" if words is None else "bits"
            results = " and ".join({"signs": "bits"}.get(result, result) for result in gives)
            self.notes.tell(node, f"packed: {source_kind} to {results}", packed)
        args = (Slot(slot),) if residual is None else (Slot(slot), Slot(self.numbers(residual)))
        return self.made.call_for(self.packed[key], args, len(gives))

    def _emit_signs(self, signs: Signs) -> None:
        parts = [self._packed_signs(signs, value, packing) for value, packing in signs.parts]
        if len(parts) > 1:
            words = self._joined(parts, signs.sign)
        else:
            (words,) = parts
        packings = [packing for _, packing in signs.parts if packing is not None]
        inverted = torch.cat([packing.inverted for packing in packings]) if packings else None
        if packings:
            constant = torch.cat([packing.tau for packing in packings]).isinf()
            self.notes.constant(signs.sign, constant, signs.chain)
        self.words[signs.sign] = self._pooled(words, signs.chain, inverted, "folded into that")
        self.notes.tell(signs.sign, "folded into that" if signs.chain else "packs bits")

    def _packed_signs(self, signs: Signs, value: Node, packing: Packing | None) -> Words:
        key = value, id(packing)
        others = {id(p): p for _, p in self.needs.taken.get(value, []) if p is not None and p.image}
        together = {k: p for k, p in others.items() if (value, k) not in self.shared}
        if id(packing) in together and len(together) > 1 and self.channels_last:  # one look at the numbers
            length, plan = value.meta["channels"], self.plan
            nothing = Pass(plan.network, length, plan.device, plan.exact, IMAGE_AXIS)
            module = nothing.packed(False, [*together.values()])
            self._run_pass(value, value, f"{value.name}_signs", module, [*together])
            self.notes.added("numbers to bits", module, value)
        if key not in self.shared:
            image = signs.sign.meta["image"] if packing is None else packing.image
            length = value.meta["channels"] if packing is None else len(packing.tau)
            if not length or image is None:
                reader = next(user for user in signs.sign.users if is_binary(self.plan.module(user)))
                layer: Any = self.plan.module(reader)
                image = isinstance(layer, BinaryConv2d)
                length = layer.in_channels if image else layer.in_features
            pack = PackSigns(length, image) if packing is None else packing.module()
            slot = self.made.run(f"{value.name}_signs", pack, self.numbers(value))
            if packing is not None:
                self.notes.added("numbers to bits", pack, signs.chain[0] if signs.chain else signs.sign)
            self.shared[key] = Words(slot, length, image)
        return self.shared[key]

    def _joined(self, parts: Sequence[Words], node: Node) -> Words:
        lengths = [part.length for part in parts]
        slot = self.made.run(f"{node.name}_joined", JoinSigns(lengths), *(part.slot for part in parts))
        return Words(slot, sum(lengths), parts[0].image)

    def _pooled(self, words: Words, chain: Sequence[Node], inverted: Tensor | None, became: str) -> Words:
        """Words through the pooling of a chain, the rest of which ``became`` something."""
        for node in chain:
            if pools_numbers(self.plan.module(node)):
                words = self._pool(node, words, inverted)
            else:
                self.notes.tell(node, became)
        return words

    def _pool(self, node: Node, words: Words, inverted: Tensor | None) -> Words:
        packed = pack_pool(self.plan.module(node), words.length, inverted)
        self.notes.tell(node, "on bits", packed)
        return words._replace(slot=self.made.run(node.meta["name"], packed, words.slot))

    def _emit_on_words(self, node: Node) -> None:
        """Pooling, flattening or joining of packed signs."""
        if is_concatenation(node):
            self.words[node] = self._joined([self.words[part] for part in parts_of(node)], node)
            return
        (source,) = node.all_input_nodes
        words, module = self.words[source], self.plan.module(node)
        if not is_flatten(module):
            self.words[node] = self._pool(node, words, None)
            return
        (features, *_) = [
            m.in_features for m in map(self.plan.module, node.users) if isinstance(m, BinaryLinear)
        ]
        slot = self.made.run(node.meta["name"], PackedFlatten(words.length, features), words.slot)
        self.words[node] = Words(slot, features, False, words.length)
        self.notes.tell(node, "on bits")

    def _emit_as_it_was(self, node: Node) -> None:
        args, kwargs = (
            plain_tree(fx.node.map_arg(given, lambda part: Slot(self.numbers(part))))
            for given in (node.args, node.kwargs)
        )
        if node.op == "call_module":
            target = self._kept(node)
        elif node.op == "get_attr":
            path = str(node.target)
            target, args = "get", (self.made.tensor(path, attrgetter(path)(self.plan.network)),)
        else:
            target = self.made.function(node)
        self.numbered[node] = self.made.call(target, args, kwargs)

    def _kept(self, node: Node) -> str:
        """The name of a module that stays, whatever it is called with."""
        module = self.plan.network.get_submodule(str(node.target))
        name = node.meta["name"]
        if module not in self.kept:
            rows: list[Row] = []
            new = self.keep("" if name == ALONE else name, module, rows)
            self.kept[module] = self.made.module(name, new)
            self.notes.rows += [(node.meta["at"], row) for row in rows]
            if not rows:
                self.notes.tell(node, "as it was", new)
        return self.kept[module]
