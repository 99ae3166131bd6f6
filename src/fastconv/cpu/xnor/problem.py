"""The records of binary products: the problem, what becomes of its sums, and what each kernel needs
besides."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv._shared.problem import FIELDS
from fastconv.cpu.kernels import record

UNIT = 64
"""Filters whose signs make one word: as many are finished at a time."""

MOST_PIXELS = 60
"""Most pixels a task does at a time, a multiple of all TILE_PIXELS: their sums with a unit of 64 filters
take 15 KiB."""

FINISH = record(
    "steps parameters bounds tau flip window residual numbers integers signs sums spare",
    f"{FIELDS} step_count parameter_step number_count word_count with_numbers with_signs adds window_given "
    "images sums_size line finish_rows finish_lines",
)
"""What all records of binary products begin with: what becomes of the sums, and the problem.

``sums`` are a worker's: of ``sums_size``, in lines of ``line`` pixels where they come filter by filter. What
finishes blocks of rows, or of lines, of sums stands at the addresses ``finish_rows`` and ``finish_lines``.
"""

ELEMENTS: dict[str, Any] = {
    "steps": np.int64, "tau": np.int32, "flip": np.uint8, "integers": np.int32, "signs": np.uint64,
    "sums": np.int32,
}  # fmt: skip
"""Dtypes behind the addresses that are the same for all numbers."""

OF_NUMBERS = ("parameters", "bounds", "window", "residual", "numbers", "spare")
"""The addresses behind which there are numbers of the result's float type."""
