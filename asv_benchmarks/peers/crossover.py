"""Rows of where binary layers begin to win: two 3×3 layers, deployed, beside the same in floats.

Numbers go in and come out; a batch normalization follows each layer, in floats ReLU besides.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from peers import libraries
from peers.compare import Comparison, Rival, compare
from peers.elsewhere import measured_elsewhere
from peers.table import Line, Row, Settings, Target

SECTION = "Crossover: two 3×3 layers"
CHANNELS = (16, 32, 64, 128, 256, 512)
SIDES = (4, 7, 14, 28, 56, 112)
PEER = "PyTorch float32, channels last"
FEWEST, SMALLEST = 64, 7
"""Channels and rows from which on a binary network has layers: none of them may be slower than floats."""


def rows() -> list[Row]:
    """All in one process, where PyTorch is loaded first."""
    return [Row(SECTION, "crossover of two layers", elsewhere)]


def rows_here() -> list[Row]:
    return [Row(SECTION, f"two layers of {channels}", partial(measured, channels)) for channels in CHANNELS]


def elsewhere(settings: Settings, row: Row) -> list[Line]:
    if libraries.torch() is None:
        return [Line(row.section, row.name, PEER, "not installed", note="a deployed model needs PyTorch")]
    only = settings.pick("", f" {CHANNELS[0]}$")
    return measured_elsewhere(only, settings, rows="crossover", first="import torch")[1]


def measured(channels: int, settings: Settings, row: Row) -> list[Line]:
    """A line for each size of image, with its cell of a table of channels and sizes."""
    from fastconv.nn import deploy  # which needs PyTorch
    from peers.networks import check_equal, images
    from peers.networks.floats import call

    trained, twin = _layers(channels)
    deployed = deploy(trained)[0]
    lines = []
    for side in settings.pick(SIDES, SIDES[:2]):
        x = images((1, channels, side, side))
        size, ours = f"{side}²", call(deployed, x)
        check_equal(row, {size: (trained, ours)}, x)
        target = Target(1) if channels >= FEWEST and side >= SMALLEST else None
        comparison = Comparison(ours, [Rival(PEER, call(twin, x), target, read=None)])
        (line,) = compare(replace(row, name=f"{row.name}, 1×{channels}×{size}"), comparison, settings)
        lines.append(replace(line, cell=(f"{channels} channels", size)))
    return lines


def _layers(channels: int) -> tuple[Any, Any]:
    """Two trained binary layers, and two in floats."""
    torch = libraries.torch()
    from peers.networks.parts import BINARY, FLOAT, Parts, filled

    def made(parts: Parts) -> Any:
        layers = []
        for _ in range(2):
            layers += [parts.convolution(channels, channels, 3, 1, 1, scale="alpha")]
            layers += [torch.nn.BatchNorm2d(channels), parts.activation()]
        model = filled(torch.nn.Sequential(*layers), (channels, SMALLEST, SMALLEST))
        return model.to(memory_format=torch.channels_last)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return made(BINARY), made(FLOAT)
