"""Which values of a network are needed as numbers, which as words of signs."""

from __future__ import annotations

from torch.fx import Node

from fastconv.nn.deployment.plan import Plan, Signs
from fastconv.nn.deployment.twins import Packing, is_binary
from fastconv.nn.deployment.values import is_signs, takes_signs_of


class Needs:
    """Of which values numbers are needed, of which words, and which signs are taken of numbers."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.numbers: set[Node] = set()
        self.words: set[Node] = set()
        self.lazy: set[Node] = set()  # signs that the layer which reads them takes of numbers itself
        self.taken: dict[Node, list[tuple[Node, Packing | None]]] = {}
        for node in reversed([*plan.network.graph.nodes]):
            if node.op == "output":
                self.numbers |= {*node.all_input_nodes}
            elif node not in plan.absorbed:
                self._look(node)

    def _look(self, node: Node) -> None:
        plan = self.plan
        if node in self.taken and node not in plan.products and node not in plan.passes:
            self.numbers.add(node)
        wanted = node in self.numbers or node in self.words
        if node in plan.comparisons:
            if wanted:
                self.words.add(node)
                self._of_layer(plan.comparisons[node].layer)
        elif node in plan.signs:
            if wanted:
                self._of_signs(plan.signs[node])
        elif node in plan.products:
            if wanted or node in self.taken:
                product = plan.products[node]
                self._of_layer(product.layer)
                self.numbers |= {product.residual} - {None}
        elif node in plan.passes:
            if wanted or node in self.taken:
                self.numbers |= {*plan.passes[node].chain[0].all_input_nodes}
        elif node in self.words and is_signs(plan.network, node):
            self.words |= {*node.all_input_nodes}
        elif node in self.numbers:
            self.numbers |= {*node.all_input_nodes}

    def _of_layer(self, layer: Node) -> None:
        (source,) = layer.all_input_nodes
        (self.words if takes_signs_of(self.plan.network, layer, source) else self.numbers).add(source)

    def _of_signs(self, signs: Signs) -> None:
        plan, node = self.plan, signs.sign
        ((value, packing), *more) = signs.parts
        alone = not more and packing is None and not signs.chain and node not in self.numbers
        readers = [*node.users]
        computed = value in plan.products or value in plan.passes
        if alone and len(readers) == 1 and is_binary(plan.module(readers[0])) and not computed:
            self.lazy.add(node)
            self.numbers.add(value)
            return
        self.words.add(node)
        for value, packing in signs.parts:
            self.taken.setdefault(value, []).append((node, packing))
