"""Deploy modules that are called in turn: what each makes of numbers, or of packed signs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from fastconv.nn.binary_layer import BinaryLayer
from fastconv.nn.deployment.fold import is_channelwise, is_idle
from fastconv.nn.deployment.report import Row, bytes_of, describe
from fastconv.nn.deployment.twins import (
    fold_before,
    fold_into,
    is_binary,
    is_flatten,
    is_packable,
    is_sign,
    output_length,
    pack_layer,
    pack_pool,
    pools_numbers,
    pools_signs,
    takes_signs,
)
from fastconv.nn.layers import BinaryConv2d, BinaryLinear
from fastconv.nn.packing import PackedFlatten, PackSigns, UnpackSigns

Named = tuple[str, nn.Module]


@dataclass
class _Stream:
    """What flows after the ``layers`` deployed so far: numbers, or words of signs if ``packed``.

    ``length`` is the number of channels of an ``image``, or of features of rows; 0 where nothing says it
    of numbers. Where an image of packed signs was flattened, features come in the order H, W, C, and
    ``flattened`` is C.
    """

    rows: list[Row]
    layers: list[nn.Module] = field(default_factory=list)
    packed: bool = False
    image: bool = False
    length: int = 0
    flattened: int | None = None

    def add(self, name: str, module: nn.Module, became: str, new: nn.Module | None = None) -> None:
        """Put ``new``, or nothing, in the place of ``module``."""
        if new is not None:
            self.layers.append(new)
        after = 0 if new is None else bytes_of(new)
        self.rows.append(Row(name, describe(module), became, bytes_of(module), after))

    def add_folded(self, chain: list[Named], into: str, inverted: Tensor) -> None:
        """Put nothing in the place of ``chain`` but its pooling, on bits that came ``inverted``."""
        for name, module in chain:
            if pools_numbers(module):
                self.add(name, module, "on bits", pack_pool(module, self.length, inverted))
            else:
                self.add(name, module, f"folded into {into}")

    def unpack(self) -> None:
        """Go on with numbers."""
        if self.packed:
            self.layers.append(UnpackSigns(self.length, self.image))
            self.rows.append(Row("", "", "added: bits to numbers", 0, 0))
            self.packed = False


def deploy_chain(
    modules: Sequence[Named], rows: list[Row], keep: Callable[[str, nn.Module], nn.Module]
) -> list[nn.Module]:
    """What to call in turn in the place of ``modules``.

    What became of each is added to ``rows``; ``keep`` deploys, and adds, those that know nothing of signs.
    """
    stream = _Stream(rows)
    rest = list(modules)
    while rest:
        (name, module), following = rest[0], rest[1:]
        if is_binary(module):
            done = 1 + _binary(stream, name, module, following)
        else:
            done = (_on_signs if stream.packed else _before_signs)(stream, name, module, following)
        if not done:
            stream.unpack()
            stream.length = output_length(module, stream.length)
            stream.layers.append(keep(name, module))
        rest = rest[max(done, 1) :]
    stream.unpack()
    return stream.layers


def _binary(stream: _Stream, name: str, layer: BinaryLayer, following: list[Named]) -> int:
    """Deploy a binary layer with what can be folded into it; returns how many modules that is."""
    image = isinstance(layer, BinaryConv2d)
    if not takes_signs(layer) or stream.image != image:
        stream.unpack()
    source = "bits" if stream.packed else "numbers"
    columns = stream.flattened if stream.packed else None
    stream.packed, stream.image, stream.flattened = False, image, None
    stream.length = output_length(layer, 0)
    if not is_packable(layer):
        stream.add(name, layer, "as it was", layer)
        return 0
    chain = _chain_to_sign(image, following)
    modules = [module for _, module in chain or ()]
    folded = None if chain is None else fold_into(layer, modules)
    packed = pack_layer(layer, folded, modules, columns)
    stream.add(name, layer, f"packed: {source} to {'bits' if folded else 'numbers'}", packed)
    if chain is None or folded is None:
        return 0
    stream.packed = True
    stream.add_folded(chain, name or "the layer", folded.inverted)
    return len(chain)


def _chain_to_sign(image: bool, following: list[Named]) -> list[Named] | None:
    """The modules between a product and the next sign, with that sign if it is a module; None if what follows
    wants more than signs, or mixes channels."""
    chain: list[Named] = []
    for at, (name, module) in enumerate(following):
        if is_sign(module):
            return [*chain, (name, module)]
        if is_binary(module):
            return chain if takes_signs(module) and isinstance(module, BinaryConv2d) == image else None
        if image and is_flatten(module):  # which a sign may as well be taken before
            return chain if _signs_follow(following[at + 1 :]) else None
        first_pool = image and pools_numbers(module) and not any(pools_numbers(m) for _, m in chain)
        if not (first_pool or is_channelwise(module, image)):
            return None
        chain.append((name, module))
    return None


def _on_signs(stream: _Stream, name: str, module: nn.Module, following: list[Named]) -> int:
    """Deploy a module that packed signs can go through; 0 if it is no such module, else 1."""
    flat = stream.flattened is not None and is_flatten(module)
    reader, _ = _next_binary_layer(following)
    if is_sign(module) or is_idle(module) or flat:
        stream.add(name, module, "nothing to do")
    elif stream.image and pools_signs(module):
        stream.add(name, module, "on bits", pack_pool(module, stream.length, None))
    elif stream.image and is_flatten(module) and isinstance(reader, BinaryLinear):
        stream.add(name, module, "on bits", PackedFlatten(stream.length, reader.in_features))
        stream.flattened, stream.image, stream.length = stream.length, False, 0
    else:
        return 0
    return 1


def _before_signs(stream: _Stream, name: str, module: nn.Module, following: list[Named]) -> int:
    """Deploy what numbers go through to signs that nothing but a binary layer sees; returns how many modules
    that is."""
    if not is_sign(module):
        return _fold_to_comparison(stream, [(name, module), *following])
    reader, pooled = _next_binary_layer(following)
    if reader is None or (pooled and not stream.length):
        return 0
    if pooled:
        stream.add(name, module, "packs bits", PackSigns(stream.length))
        stream.packed = stream.image = True
    else:
        stream.add(name, module, "left to the binary layer that follows")
    return 1


def _fold_to_comparison(stream: _Stream, rest: list[Named]) -> int:
    """Deploy a chain up to a sign as a comparison; returns how many modules that is."""
    for image in (True, False):
        chain = _chain_to_sign(image, rest)
        if chain is None or _next_binary_layer(rest[len(chain) :])[0] is None:
            continue
        found = fold_before([module for _, module in chain])
        if found is None:
            continue
        packed, folded = found
        stream.packed, stream.image, stream.length, stream.flattened = True, image, packed.length, None
        stream.layers.append(packed)
        stream.rows.append(Row("", "", "added: numbers to bits", 0, bytes_of(packed)))
        stream.add_folded(chain, "that", folded.inverted)
        return len(chain)
    return 0


def _next_binary_layer(following: list[Named]) -> tuple[nn.Module | None, bool]:
    """The binary layer that signs reach while they are nothing but signs, and whether they are pooled."""
    pooled = False
    for _, module in following:
        if is_binary(module):
            return (module if takes_signs(module) else None), pooled
        pooled |= pools_signs(module)
        if not (is_sign(module) or is_idle(module) or is_flatten(module) or pools_signs(module)):
            break
    return None, pooled


def _signs_follow(following: list[Named]) -> bool:
    """Whether what comes next takes the sign of every number."""
    for _, module in following:
        if not is_idle(module):
            return is_sign(module) or (is_binary(module) and takes_signs(module))
    return False
