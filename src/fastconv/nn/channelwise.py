"""Deployed float modules that work channel by channel, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastconv._backends import Array
from fastconv._checks import flag, integer
from fastconv._epilogue import PARAMETERS
from fastconv.nn import operators
from fastconv.nn.calls import PackedModule
from fastconv.nn.products import (
    ADD,
    IMAGE_AXIS,
    Finished,
    Run,
    channelwise,
    check_pool,
    check_steps,
    constants_of,
)

AXES = (IMAGE_AXIS, 1, -1)
WITHOUT_SUMS = [kind for kind in PARAMETERS if kind not in (ADD, "window")]
"""Steps of numbers that are no sums of a product, which has residuals and K."""


class Channelwise(PackedModule):
    """Steps on numbers, the largest of each window of them, steps again; signs of what comes out.

    Parameters
    ----------
    channels : int
    axis : -3, 1 or -1
        Along which they lie: -3 of images (N, C, H, W) or (C, H, W).
    steps : list of str
        Kinds of steps, see docs/xnor.md; their numbers are the rows of ``constants``.
    pool : list of int
        Of max-pooling of images kernel, stride (rows and columns each), top, bottom, left, right, and how
        many steps come before it; [] if there is none.
    numbers : bool
        Whether numbers are given.
    comparisons : int
        How many times signs are given: words of (v >= ``tau``) xor ``flip``, 0 for NaN.
    """

    def __init__(
        self,
        channels: int,
        axis: int,
        steps: Sequence[str],
        pool: Sequence[int] = (),
        numbers: bool = True,
        comparisons: int = 0,
    ) -> None:
        super().__init__()
        name = "Channelwise"
        self.channels, self.axis = integer(name, "channels", channels, 1), integer(name, "axis", axis, None)
        self.steps, self.pool = check_steps(name, steps, WITHOUT_SUMS), check_pool(name, pool)
        self.numbers = flag(name, "numbers", numbers)
        self.comparisons = integer(name, "comparisons", comparisons, 0)
        self.results = self.numbers + self.comparisons
        if self.axis not in AXES or (self.pool and self.axis != IMAGE_AXIS):
            raise ValueError(f"{name}: axis must be of {AXES}, and -3 to pool, got {axis}")
        if not self.results or (self.pool and self.pool[8] > len(self.steps)):
            raise ValueError(f"{name}: something must be given, of no more steps than there are")
        self.register_buffer("constants", constants_of(self.steps, channels))
        shape = comparisons, channels
        self.register_buffer("tau", torch.zeros(shape, dtype=torch.float32) if comparisons else None)
        self.register_buffer("flip", torch.zeros(shape, dtype=torch.bool) if comparisons else None)

    def forward(self, x: Tensor) -> Any:
        """Numbers (N, C, H, W), (N, C) or (..., C) to numbers, words (N, H, W, w) or (..., w), or several of
        them."""
        self._check(x.shape)
        given = operators.channelwise(x, self.axis, self.pool, *self._finished)
        return given[0] if len(given) == 1 else tuple(given)

    def planned(self, x: Array) -> Run:
        """As of :class:`PackedModule`."""
        self._check(x.shape)
        return channelwise(x, self.axis, self.pool, self._finished)

    @property
    def _finished(self) -> Finished:
        return self.steps, self.constants, self.tau, self.flip, self.numbers

    def _check(self, shape: Sequence[int]) -> None:
        """Refuse numbers that the modules which this pass is made of would not take."""
        fewest, most = {IMAGE_AXIS: (3, 4), 1: (2, 3), -1: (1, len(shape))}[self.axis]
        if not fewest <= len(shape) <= most or shape[self.axis] != self.channels:
            raise ValueError(
                f"Channelwise: x must have {self.channels} channels along axis {self.axis} here, "
                f"got shape {tuple(shape)}"
            )

    def extra_repr(self) -> str:
        gives = [*(["numbers"] if self.numbers else []), *["signs"] * self.comparisons]
        return f"{self.channels}, steps={self.steps}, pool={self.pool}, gives={gives}"
