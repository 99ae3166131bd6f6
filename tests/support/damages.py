"""Damages of a file that holds a deployed network: of bytes, of tensors, and of what it says of calls."""

from __future__ import annotations

import copy
import json
import math
import random
import struct
from collections.abc import Iterator
from typing import Any

from fastconv.nn.description import KNOWN
from fastconv.nn.functions import FUNCTIONS


class File:
    """The parts of a file of safetensors: a header of JSON, in which the network is JSON again, and bytes."""

    def __init__(self, content: bytes) -> None:
        (length,) = struct.unpack("<Q", content[:8])
        self.header = json.loads(content[8 : 8 + length])
        self.network = json.loads(self.header["__metadata__"]["network"])
        self.data = bytearray(content[8 + length :])

    @property
    def tensors(self) -> dict[str, Any]:
        return {name: value for name, value in self.header.items() if name != "__metadata__"}

    def bytes(self) -> bytes:
        if "__metadata__" in self.header and isinstance(self.header["__metadata__"], dict):
            self.header["__metadata__"]["network"] = json.dumps(self.network)
        header = json.dumps(self.header).encode()
        return struct.pack("<Q", len(header)) + header + bytes(self.data)


def flipped(rng: random.Random, content: bytes) -> bytes:
    """Some bits turned over anywhere: mostly in tensors."""
    new = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 30))):
        new[rng.randrange(len(new))] ^= 1 << rng.randrange(8)
    return bytes(new)


def flipped_header(rng: random.Random, content: bytes) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    head = flipped(rng, content[: 8 + length])
    return head + content[8 + length :]


def cut(rng: random.Random, content: bytes) -> bytes:
    """Too short, too long, or with a piece taken out, doubled or moved."""
    first, last = sorted(rng.randrange(len(content)) for _ in range(2))
    return rng.choice(
        (
            content[:first],
            content + rng.randbytes(rng.choice((1, 8, 1000))),
            content[:first] + content[last:],
            content[:last] + content[first:],
            content[:first] + content[last:] + content[first:last],
        )
    )


def other_tensors(rng: random.Random, content: bytes) -> bytes:
    """Tensors of other names, dtypes, shapes or places; or one missing, or one too many."""
    file = File(content)
    one, other = (rng.choice([*file.tensors]) for _ in range(2))
    header, way = file.header, rng.randrange(7)
    if way == 0:
        header[one], header[other] = header[other], header[one]
    elif way == 1:
        header[one]["dtype"] = rng.choice(
            ("F64", "F32", "I32", "U32", "U64", "I64", "BOOL", "F16", "U8", "X")
        )
    elif way == 2:
        header[one]["shape"] = _changed(rng, header[one]["shape"], header)
    elif way == 3:
        header[one]["data_offsets"] = rng.choice(
            (header[other]["data_offsets"], [0, 0], [8, 4], [0, 2**64 - 1])
        )
    elif way == 4:
        del header[one]
    elif way == 5:
        header[rng.choice(("more", "", "x.y", f"{one}0"))] = header[one]
    else:
        header[one]["shape"] = header[one]["shape"][::-1]
    return file.bytes()


def other_numbers(rng: random.Random, content: bytes) -> bytes:
    """Numbers of a tensor that no training gives: infinities, NaN, bits beyond the last sign, bools of 2."""
    file = File(content)
    start, end = rng.choice([*file.tensors.values()])["data_offsets"]
    whole = rng.random() < 0.5
    for at in range(start, end) if whole else [rng.randrange(start, end)] * (end > start):
        file.data[at] = rng.choice((0, 0xFF, 0x7F, 0x80, 2, rng.randrange(256)))
    return file.bytes()


def other_network(rng: random.Random, content: bytes) -> bytes:
    """Another description, mostly of something that nearly makes sense."""
    file = File(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        file.network = _changed(rng, file.network, file.network)
    if rng.random() < 0.1:
        file.header["__metadata__"] = _changed(rng, file.header["__metadata__"], file.network)
    return file.bytes()


DAMAGES = {
    flipped: 1, flipped_header: 1, cut: 1, other_tensors: 2, other_numbers: 2, other_network: 8
}  # fmt: skip
"""How often each is drawn."""

WORDS = ("", "x", "get", "calls", "forward", "_plans", "os.system", "__class__", "numbers", "signs", "add")
NUMBERS = (0, 1, -1, 2, 3, 5, 64, 65, 1000, 2**31 - 1, 2**31, 2**63, 2**70, -(2**63), 10**400)
FLOATS = (0.5, 1.0, -0.0, 1e-320, 1e308, math.inf, -math.inf, math.nan)


def _anything(rng: random.Random, tree: Any) -> Any:
    """Something that stands elsewhere in a tree, or in no such tree."""
    kind = rng.randrange(8)
    if kind <= 1:
        parent, key = rng.choice([*_places(tree)])
        return copy.deepcopy(parent[key])
    if kind == 2:
        return rng.choice((*WORDS, rng.choice([*KNOWN]), rng.choice([*FUNCTIONS]), "long" * 10_000))
    if kind == 3:
        return rng.choice(FLOATS)
    if kind == 4:
        deep: Any = rng.choice(([], 1, ["slot", 0]))
        for _ in range(rng.choice((1, 3, 900, 5000))):
            deep = rng.choice(([deep], ["tuple", deep]))
        return deep
    if kind == 5:
        places = (0, 1, -1, 3, 99, 2**63, 1.0, "0", None, [0], True)
        return rng.choice((["slot", rng.choice(places)], ["torch", rng.choice(("load", "float64", "int8"))]))
    if kind == 6:
        slices = ["slice", *rng.choices((None, 0, 1, -1, 2**40, "x"), k=3)]
        return rng.choice(
            (
                None,
                True,
                False,
                [],
                {},
                ["tuple"],
                ["dict"],
                ["..."],
                ["list", 1, 2],
                slices,
                ["dict", ["dim", 1]],
            )
        )
    return rng.choice(NUMBERS)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Each part of a tree, as what it stands in and where."""
    waiting = [tree]
    while waiting:
        parent = waiting.pop()
        keys = range(len(parent)) if isinstance(parent, list) else parent if isinstance(parent, dict) else ()
        for key in keys:
            yield parent, key
            waiting.append(parent[key])


def _changed(rng: random.Random, tree: Any, others: Any) -> Any:
    """``tree`` with one part replaced, taken out, doubled or moved."""
    new = copy.deepcopy(tree)
    places = [*_places(new)]
    if not places or rng.random() < 0.02:
        return _anything(rng, others) if places else rng.choice(NUMBERS)
    parent, key = rng.choice(places)
    way = rng.randrange(8)
    if way == 0:
        del parent[key]
    elif way == 1 and isinstance(parent, list):
        parent.insert(rng.randrange(len(parent) + 1), copy.deepcopy(parent[key]))
    elif way == 2:
        other = rng.choice([*parent]) if isinstance(parent, dict) else rng.randrange(len(parent))
        parent[key], parent[other] = parent[other], parent[key]
    else:
        parent[key] = _anything(rng, others)
    return new


def damaged(number: int, content: bytes) -> tuple[str, bytes]:
    """What a number does to a file, and the file."""
    rng = random.Random(number)
    (damage,) = rng.choices([*DAMAGES], [*DAMAGES.values()])
    try:
        return damage.__name__, damage(rng, content)
    except RecursionError:  # of json, which cannot write what is too deep
        return damage.__name__, flipped(rng, content)
