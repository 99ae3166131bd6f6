"""Files of deployed networks, damaged in many ways, and a program that loads them and runs what it gets.

``python damaged_files.py NETWORK FIRST LAST`` prints a line for each damage, which is made from its number.
Behind each tensor lies a page that nobody may read: doing so ends the process, which is one of its own.
"""

from __future__ import annotations

import resource
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cuda_on_host.guard import guarded
from damages import damaged
from fastconv.nn import BinaryConv2d, BinaryLinear, Sign, deploy, load, save
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
        nn.Conv2d(3, 20, 3, padding=1),
        nn.BatchNorm2d(20),
        nn.MaxPool2d(3, 1, 1),
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
