"""What is known of the values of a network: channels, images, and which are nothing but signs."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from torch import fx, nn
from torch.fx import Node

from fastconv.nn.deployment.normal import is_addition, is_concatenation, module_of, parts_of
from fastconv.nn.deployment.twins import (
    enlarges,
    is_binary,
    is_flatten,
    is_packable,
    is_sign,
    output_length,
    pools_signs,
    takes_signs,
)
from fastconv.nn.layers import BinaryConv2d, BinaryLinear
from fastconv.nn.pointwise import Scale, Shift


def is_signs(network: fx.GraphModule, node: Node) -> bool:
    """Whether a value is nothing but signs, which may be packed."""
    module = module_of(network, node)
    if module is not None:
        if is_sign(module):
            return True
        source = node.args[0]
        if not isinstance(source, Node) or (not node.meta["channels"] and not is_flatten(module)):
            return False
        if pools_signs(module) or enlarges(module):
            return bool(node.meta["image"]) and is_signs(network, source)
        if is_flatten(module):
            return bool(source.meta["image"] and source.meta["channels"]) and is_signs(network, source)
        return False
    return joins_images(node) and all(is_signs(network, part) for part in parts_of(node))


def wanted_as_words(network: fx.GraphModule, node: Node) -> bool:
    """Whether anything takes these signs packed."""
    for user in node.users:
        module = module_of(network, user)
        if is_binary(module) and takes_signs_of(network, user, node):
            return True
        if is_signs(network, user) and not is_sign(module) and wanted_as_words(network, user):
            return not is_flatten(module) or all(
                isinstance(module_of(network, u), BinaryLinear) for u in user.users
            )
    return False


def takes_signs_of(network: fx.GraphModule, layer: Node, source: Node) -> bool:
    """Whether a binary layer takes what its ``source`` gives as words."""
    module = module_of(network, layer)
    image = source.meta["image"]
    fits = image is None or image == isinstance(module, BinaryConv2d)
    return fits and takes_signs(module) and is_packable(module) and is_signs(network, source)


def joins_images(node: Any) -> bool:
    """Whether a node joins the channels of images."""
    if not isinstance(node, Node) or not is_concatenation(node):
        return False
    return all(part.meta["image"] and part.meta["channels"] for part in parts_of(node))


def keeps_channels(network: fx.GraphModule, node: Node) -> bool:
    """Whether what a node gives has the channels of what it takes: numbers for each of several channels make
    several of a single one, if nothing refuses that."""
    module, given = module_of(network, node), node.all_input_nodes[0].meta["channels"]
    same: bool = node.meta["channels"] == given
    return same if given else not isinstance(module, (Shift, Scale))


def batch_of(node: Node | None) -> frozenset[Node]:
    """The values that the images of a value come from, one by one: two values have as many if they share
    one."""
    found: frozenset[Node] = frozenset() if node is None else node.meta["batch"]
    return found


def _batch(module: nn.Module | None, node: Node) -> frozenset[Node]:
    own = frozenset({node})
    sources = [source.meta.get("batch", own) for source in node.all_input_nodes]
    if module is None and sources and (is_addition(node) or is_concatenation(node)):
        first, *others = sources
        return first.union(*others) if all(first & other for other in others) else own
    another = isinstance(module, (nn.Unflatten, nn.Fold, nn.Unfold)) or getattr(module, "start_dim", 1) == 0
    return own if module is None or another or not sources else sources[0]


def note_channels(network: fx.GraphModule) -> None:
    """Of each value, how many channels or features it has, 0 if nothing says so; and if it is an image."""
    for node in network.graph.nodes:
        sources = [s for s in node.all_input_nodes if "channels" in s.meta]
        module = module_of(network, node)
        channels, image = 0, None
        if module is not None and sources:
            channels = output_length(module, sources[0].meta["channels"])
            image = False if is_flatten(module) else _image_of(module, sources[0].meta["image"])
        elif is_addition(node):
            channels = max((s.meta["channels"] for s in sources), default=0)
            image = next((s.meta["image"] for s in sources if s.meta["image"] is not None), None)
        elif is_concatenation(node) and all(s.meta["channels"] for s in parts_of(node)):
            channels, image = sum(s.meta["channels"] for s in parts_of(node)), sources[0].meta["image"]
        node.meta["channels"], node.meta["image"] = channels, image
        node.meta["pitch"], node.meta["batch"] = _pitch(module, node), _batch(module, node)


def _pitch(module: nn.Module | None, node: Node) -> tuple[Any, ...]:
    """Of which value a pixel stands for how many rows and columns: values of another pitch are of other
    sizes, and may be broadcast when they are added."""
    sources = [source for source in node.all_input_nodes if "pitch" in source.meta]
    if sources and (is_addition(node) or is_concatenation(node)):
        pitches = {source.meta["pitch"] for source in sources}
        return (
            pitches.pop() if len(pitches) == 1 and len(sources) == len(node.all_input_nodes) else (node, 1, 1)
        )
    whole = enlarges(module)
    if module is None or not sources or (isinstance(module, OTHER_SIZES) and not whole):
        return (node, 1, 1)
    root, *steps = sources[0].meta["pitch"]
    factors = _two(module.scale_factor if whole else getattr(module, "stride", 1))
    return (root, *(s / Fraction(f) if whole else s * f for s, f in zip(steps, factors, strict=True)))


def _two(value: Any) -> tuple[Any, Any]:
    first, *rest = value if isinstance(value, (tuple, list)) else (value, value)
    return first, (rest or [1])[0]


OTHER_SIZES = (
    nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten, nn.Unflatten, nn.Fold, nn.Unfold, nn.PixelShuffle,
    nn.PixelUnshuffle, nn.ConvTranspose2d, nn.Upsample,
)  # fmt: skip
"""What gives images of sizes that no stride says."""

IMAGES = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, BinaryConv2d)
ROWS = (nn.Linear, nn.BatchNorm1d, BinaryLinear)


def _image_of(module: nn.Module, given: bool | None) -> bool | None:
    if isinstance(module, IMAGES) or pools_signs(module) or enlarges(module):
        return True
    return False if isinstance(module, ROWS) else given


def lets_signs_through(network: fx.GraphModule, node: Node) -> bool:
    """Whether signs may as well be taken before a node: it flattens, enlarges or joins images."""
    module = module_of(network, node)
    if is_flatten(module) or enlarges(module):
        image = node.all_input_nodes[0].meta
        return bool(image["image"] and image["channels"])
    return joins_images(node)
