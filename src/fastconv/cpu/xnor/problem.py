"""The records of binary products: the problem, what becomes of its sums, and what each kernel needs
besides."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv._shared.problem import FIELDS
from fastconv.cpu.kernels import record

UNIT = 64
"""Filters whose signs make one word: as many are finished at a time."""

FINISH = (
    "steps parameters bounds tau flip window residual numbers integers signs spare",
    "step_count parameter_step number_count word_count with_numbers with_signs by_line adds window_given",
)
"""Addresses and integers of what becomes of the sums, see ``epilogue.py``."""

ELEMENTS: dict[str, Any] = {
    "steps": np.int64, "tau": np.int32, "flip": np.uint8, "integers": np.int32, "signs": np.uint64,
}  # fmt: skip
"""Dtypes behind the addresses that are the same for all numbers."""

OF_NUMBERS = ("parameters", "bounds", "window", "residual", "numbers", "spare")
"""The addresses behind which there are numbers of the result's float type."""


def product_record(addresses: str, integers: str) -> np.dtype[Any]:
    """The record of a kernel that takes these fields besides the problem and its end."""
    return record(f"{addresses} {FINISH[0]}", f"{FIELDS} {FINISH[1]} {integers}")
