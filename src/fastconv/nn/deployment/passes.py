"""Float modules that are computed in one pass: channel by channel, with max-pooling once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.fx import Node

from fastconv.nn.calls import is_plain
from fastconv.nn.channelwise import Channelwise
from fastconv.nn.deployment.fold import is_idle
from fastconv.nn.deployment.fold_numbers import NORMS
from fastconv.nn.deployment.normal import module_of
from fastconv.nn.deployment.steps import NO_STEP, Channels, Found, steps_of
from fastconv.nn.deployment.twins import Packing, along_axis_1, is_binary, pool_sizes, pools_numbers
from fastconv.nn.deployment.values import is_signs, keeps_channels
from fastconv.nn.layers import BinaryLinear
from fastconv.nn.pointwise import Scale, Shift
from fastconv.nn.products import IMAGE_AXIS

OF_ROWS = (nn.Linear, nn.Conv1d, nn.Flatten, BinaryLinear)
"""What gives rows, or lines, that are contiguous."""


class Pass:
    """The ``chain`` of nodes that are one pass, and its ``steps``, the first ``before`` of which come before
    the ``pool`` if there is one. Channels lie along ``axis``, or the last one where that is None."""

    def __init__(
        self,
        network: fx.GraphModule,
        channels: int,
        device: torch.device,
        exact: bool,
        axis: int | None = None,
    ) -> None:
        self.network, self.channels, self.device, self.exact = network, channels, device, exact
        self.chain: list[Node] = []
        self.steps: list[Found] = []
        self.axis = axis
        self.pool: Node | None = None
        self.before = 0

    @property
    def end(self) -> Node:
        return self.chain[-1]

    def extend(self, node: Node) -> str:
        """Compute ``node`` too; returns why that cannot be, or nothing."""
        module, image = module_of(self.network, node), node.meta.get("image")
        if module is None or not is_plain(module) or image is None or is_binary(module):
            return NO_STEP
        if not self.channels or node.meta["channels"] != self.channels or is_signs(self.network, node):
            return NO_STEP
        if not keeps_channels(self.network, node):
            return NO_STEP
        axis = _axis(module, image)
        if axis == 1 and not self._is_of_rows((self.chain or [node])[0].args[0]):
            return NO_STEP
        if None not in (axis, self.axis) and axis != self.axis:
            return NO_STEP
        if pools_numbers(module) and image and self.pool is None:
            self.pool, self.before = node, len(self.steps)
        else:
            steps = steps_of(module, Channels(self.channels, image, self.device), self.exact)
            if isinstance(steps, str):
                return steps
            self.steps += steps
        self.axis = self.axis if axis is None else axis
        self.chain.append(node)
        return ""

    def _is_of_rows(self, source: Any) -> bool:
        """Whether a value is contiguous: PyTorch rounds otherwise where lines of channels are turned."""
        return isinstance(module_of(self.network, source), OF_ROWS)

    @property
    def places(self) -> int:
        """The axis of channels in numbers that come in."""
        return -1 if self.axis is None else self.axis

    def packed(self, numbers: bool, packings: Sequence[Packing | None]) -> Channelwise:
        """The module that gives numbers, if they are wanted, and the signs of each packing; those of None are
        of v >= 0."""
        pool = [] if self.pool is None else [*pool_sizes(module_of(self.network, self.pool)), self.before]
        kinds = [step.kind for step in self.steps]
        made = Channelwise(self.channels, self.places, kinds, pool, numbers, len(packings))
        rows = [row for step in self.steps for row in step.numbers]
        if rows:
            made.constants = torch.stack(rows).float()
        if packings:
            zeros = torch.zeros(self.channels, dtype=torch.float32, device=self.device)
            bounds = [(zeros, zeros.bool()) if p is None else (p.tau, p.flip) for p in packings]
            made.tau, made.flip = (torch.stack(part) for part in zip(*bounds, strict=True))
        return made

    def is_worth(self, signed: bool) -> bool:
        """Whether a call of ours is faster than PyTorch's, whose activations cost little by themselves;
        ``signed`` if signs of what comes out are wanted."""
        modules = [module_of(self.network, node) for node in self.chain]
        working = [module for module in modules if not is_idle(module)]
        normed = any(type(module) in NORMS for module in working)
        return normed or self.pool is not None or len(working) > (0 if signed else 1)


def _axis(module: Any, image: bool) -> int | None:
    """Along which axis a module has channels; None if it makes no difference."""
    if image:
        return IMAGE_AXIS
    if along_axis_1(module):
        return 1
    return -1 if isinstance(module, (Shift, Scale)) else None
