"""What stands for values while a network is made: packed signs, and trees of arguments."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastconv.nn.calls import Slot


class Words(NamedTuple):
    """Packed signs: their slot, how many to a row, whether they are images; of images that were flattened,
    in the order H, W, C, how many channels those had."""

    slot: int
    length: int
    image: bool
    flattened: int | None = None


def plain_tree(tree: Any) -> Any:
    """Arguments of torch.fx as lists, tuples and dicts."""
    if isinstance(tree, Slot):
        return tree
    if isinstance(tree, dict):
        return {name: plain_tree(part) for name, part in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [*map(plain_tree, tree)] if isinstance(tree, list) else tuple(map(plain_tree, tree))
    return slice(*map(plain_tree, (tree.start, tree.stop, tree.step))) if isinstance(tree, slice) else tree
