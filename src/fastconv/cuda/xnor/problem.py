"""Binary products as CUDA kernels take them: a structure of sizes and strides, passed by value."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastconv._epilogue import Outcome
from fastconv._geometry import Window
from fastconv._shared.problem import FIELDS, Strides, problem_of

PROBLEM = np.dtype([(name, np.int64) for name in FIELDS.split()])
"""``struct Problem`` of kernels/binary_problem.cuh."""

NULL = np.uintp(0)
"""An array that is not there, to a kernel."""


class Product(NamedTuple):
    """What is multiplied: words in windows of ``geometry`` by ``filters`` of each group, which have
    ``channels`` signs a tap. ``steps`` are those of the words, ``strides`` of the numbers."""

    geometry: Window
    images: int
    groups: int
    filters: int
    channels: int
    pad_value: int
    steps: Strides
    strides: Strides
    outcome: Outcome

    @property
    def depth(self) -> int:
        """Words of a tap."""
        return -(-self.channels // 64)

    @property
    def cut(self) -> bool:
        """Whether windows reach beyond the image, into what counts."""
        return bool(self.channels) and self.geometry.padded != self.geometry.size


def structure_of(product: Product, outside: int) -> Any:
    """``struct Problem``; ``outside`` is what the sum of a filter's signs outside the image is to be
    multiplied by and added."""
    problem = problem_of(
        product.geometry, product.images, product.steps, product.strides, groups=product.groups,
        filters=product.filters, channels=product.channels, words=product.depth, outside=outside,
    )  # fmt: skip
    return by_value(problem)


def by_value(problem: dict[str, int]) -> Any:
    """Arrays of one element are what CuPy passes to kernels by value."""
    return np.array([tuple(problem[name] for name in FIELDS.split())], PROBLEM)
