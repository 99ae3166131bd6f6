"""Files of deployed networks, damaged in many ways, and a program that loads them and runs what it gets.

``python damaged_files.py NETWORK FIRST LAST`` prints a line for each damage, which is made from its number.
Behind each tensor lies a page that nobody may read: doing so ends the process, which is one of its own.
"""

from __future__ import annotations

import copy
import json
import math
import random
import resource
import signal
import struct
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cuda_on_host.guard import guarded
from fastconv.nn import BinaryConv2d, BinaryLinear, Sign, deploy, load, save
from fastconv.nn.description import KNOWN
from fastconv.nn.functions import FUNCTIONS
from networks import by_operators

SECONDS = 20
"""Until a damage is taken for one that hangs."""
MEMORY = 8 << 30
"""Bytes of addresses that the program may have. A file can ask for more; the machine should not notice."""


class Block(nn.Module):
    """A binary convolution with a shortcut."""

    def __init__(self, channels: int, filters: int, stride: int, **options: Any) -> None:
        super().__init__()
        self.conv = BinaryConv2d(channels, filters, 3, stride, 1, scale="alpha", **options)
        self.norm, self.slope = nn.BatchNorm2d(filters), nn.PReLU(filters)
        self.shift = nn.Parameter(torch.randn(1, channels, 1, 1) / 4)
        self.smaller = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(channels, filters, 1)) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x + self.shift))
        return self.slope(y + (x if self.smaller is None else self.smaller(x)))


class Joining(nn.Module):
    """Binary convolutions whose inputs are joined, enlarged and pooled; a mean written out."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 40, 3), nn.BatchNorm2d(40)
        self.one, self.two = BinaryConv2d(40, 30, 3, padding=1), BinaryConv2d(70, 70, 3, padding=1)
        self.more = nn.Parameter(torch.randn(1, 70, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x))
        x = torch.cat([x, self.one(x)], 1)
        small = nn.functional.max_pool2d(x, 2)
        y = self.two(nn.functional.interpolate(small, scale_factor=2))
        return (y * self.more).sum(dim=[2, 3]) / (y.shape[2] * y.size(3))


def chain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), Sign(),
        BinaryConv2d(6, 70, 3, padding="same", groups=2, scale="alpha"), nn.MaxPool2d(2), nn.BatchNorm2d(70),
        Sign(), nn.Flatten(), BinaryLinear(70 * 9, 20, bias=True), nn.BatchNorm1d(20), nn.Hardtanh(-2, 2),
        nn.Linear(20, 5), nn.Softmax(1),
    )  # fmt: skip


def shortcuts() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 20, 3),
        Block(20, 20, 1),
        Block(20, 70, 2, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def rows() -> nn.Module:
    layers = []
    for features, units in ((20, 70), (70, 130)):
        layers += [BinaryLinear(features, units, scale="learned"), nn.BatchNorm1d(units), nn.PReLU()]
    return nn.Sequential(nn.LayerNorm(20), *layers, nn.Dropout(), nn.Linear(130, 4), nn.LogSoftmax(-1))


def with_k() -> nn.Module:
    return nn.Sequential(
        BinaryConv2d(3, 70, 3, 2, padding=1, scale="xnor"), nn.GroupNorm(2, 70), nn.GELU(),
        BinaryConv2d(70, 6, 3, scale="xnor", bias=True, groups=2), nn.Flatten(2),
    )  # fmt: skip


def several_bits() -> nn.Module:
    return nn.Sequential(
        BinaryConv2d(3, 70, 3, activation_bits=2, weight_bits=2, bias=True), nn.BatchNorm2d(70),
        BinaryConv2d(70, 6, 3, weight_bits=3, padding=1, pad_value=-1), nn.Flatten(), nn.Tanh(),
        BinaryLinear(6 * 36, 4, activation_bits=3, scale="alpha"),
    )  # fmt: skip


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "chain": (chain, (2, 3, 8, 8)),
    "shortcuts": (shortcuts, (2, 3, 10, 10)),
    "concatenations": (Joining, (2, 3, 8, 8)),
    "rows": (rows, (3, 20)),
    "K": (with_k, (2, 3, 9, 9)),
    "several bits": (several_bits, (2, 3, 8, 8)),
}


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


def outcome(path: Path, x: Tensor) -> str:
    """What becomes of a file: "refused" or "ran" with what was said, or what should not have come."""
    try:
        network = load(path)
    except ValueError as error:
        clear = str(error).startswith("load: ")
        return f"refused: {error}" if clear else f"load said: {error!r}"
    except BaseException as error:
        return f"load raised: {error!r}"
    for module in network.modules():
        for name, tensor in (*module._buffers.items(), *module._parameters.items()):
            if tensor is not None:
                own = module._buffers if name in module._buffers else module._parameters
                own[name] = _before_a_wall(tensor)
    inputs = [_before_a_wall(x) for _ in network.inputs]
    try:
        given = network(*inputs)
        by_operators(network, *inputs)
    except (ValueError, TypeError, RuntimeError) as error:
        return f"run refused: {type(error).__name__}: {error}"
    except BaseException as error:
        return f"run raised: {error!r}"
    return f"ran: {type(given).__name__}"


def _before_a_wall(tensor: Tensor) -> Tensor:
    """A copy with the same strides, behind whose last byte nothing may be read."""
    array = guarded(tensor.untyped_storage().nbytes()).view(np.uint8)
    array[:] = np.frombuffer(bytes(tensor.untyped_storage()), np.uint8)
    moved = torch.empty(0, dtype=tensor.dtype).set_(
        torch.from_numpy(array).untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride()
    )
    return nn.Parameter(moved, requires_grad=False) if isinstance(tensor, nn.Parameter) else moved


def main(name: str, first: str, last: str) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    model = make()
    x = torch.randn(shape)
    for _ in range(3):  # statistics
        model.train()(x + torch.randn(shape) / 4)
    deployed = deploy(model.eval())[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.safetensors"
        save(deployed, path)
        content = path.read_bytes()
        expected = deployed(x)
        assert outcome(path, x) == "ran: Tensor"
        assert torch.equal(load(path)(x), expected)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        for number in range(int(first), int(last)):
            kind, new = damaged(number, content)
            path.write_bytes(new)
            print(f"{number} {kind}: ", end="", flush=True)
            signal.alarm(SECONDS)
            print(" ".join(outcome(path, x).split())[:300], flush=True)
            signal.alarm(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
