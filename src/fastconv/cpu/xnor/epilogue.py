"""What a plan knows of the end of its products: what finishes sums, and what that is given."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv._epilogue import INTEGERS, PARAMETERS, Epilogue, Outcome, words_shape
from fastconv._specs.xnor import BinaryConv
from fastconv.cpu.arrays import Array, deliver, native, result
from fastconv.cpu.kernels import Kernel
from fastconv.cpu.xnor.problem import OF_NUMBERS, UNIT
from fastconv.cpu.xnor.steps import (
    KINDS,
    SPARE,
    compared_rows,
    integer_lines,
    integer_rows,
    integer_rows_turned,
    number_lines,
    number_rows,
)
from fastconv.packed import PackedFilters


class Finish:
    """What a plan knows of the end of its products: the record's fields, and where results go.

    Parameters
    ----------
    outcome : Outcome
    shape, logical : tuple of int
        Of numbers, and of signs.
    channels_last : bool
        Whether a pixel's filters are neighbours in the numbers.
    """

    def __init__(
        self, outcome: Outcome, shape: tuple[int, ...], logical: tuple[int, ...], channels_last: bool
    ) -> None:
        self.outcome, self.shape, self.words = outcome, shape, words_shape(logical)
        self.filters = logical[-1]
        self.step = self.filters + UNIT - 1
        self.by_line = not (channels_last or outcome.signs)
        self.floats = np.dtype(np.float32) if outcome.dtype == INTEGERS else outcome.dtype
        self.rows = sum(PARAMETERS[kind] for kind in outcome.steps)
        self.windowed = "window" in outcome.steps

    def values(self) -> dict[str, Any]:
        """Fields that are the same in every call."""
        outcome = self.outcome
        return {
            "steps": np.array([KINDS.index(kind) for kind in outcome.steps], np.int64),
            "step_count": len(outcome.steps),
            "parameter_step": self.step,
            "number_count": prod(self.shape),
            "word_count": prod(self.words),
            "with_numbers": outcome.numbers,
            "with_signs": outcome.signs,
            "adds": "add" in outcome.steps,
            "window_given": self.windowed,
        }

    def of_rows(self) -> int:
        """The address of what finishes sums that come pixel by pixel."""
        outcome = self.outcome
        kernel: Kernel = integer_rows_turned if self.by_line else integer_rows
        if outcome.steps:
            kernel = number_rows
        elif outcome.signs:
            kernel = compared_rows
        return kernel.compiled(self.elements())

    def of_lines(self) -> int:
        """The address of what finishes sums that come filter by filter."""
        kernel = number_lines if self.outcome.steps else integer_lines
        return kernel.compiled(self.elements())

    def elements(self) -> dict[str, Any]:
        return dict.fromkeys(OF_NUMBERS, self.floats)

    def scratch(self) -> dict[str, int]:
        """A worker's spare numbers, in bytes: the kernel that has them does not know what they are."""
        return {"spare": SPARE * self.floats.itemsize} if self.outcome.steps and not self.by_line else {}

    def targets(
        self, out: Array | None, inputs: Sequence[Array], given: dict[str, Array]
    ) -> dict[str, Array]:
        """Arrays that kernels may write what is wanted to, by the record's names; ``inputs`` and what is
        ``given`` are read meanwhile. A residual may be written over: each number of it is read right before
        the result's."""
        found, outcome = {}, self.outcome
        inputs = [*inputs, *(a for name, a in given.items() if name != "residual" or a is not out)]
        if outcome.numbers:
            name, dtype = "numbers" if outcome.steps else "integers", outcome.dtype
            found[name] = (
                np.empty(self.shape, dtype) if out is None else result(out, self.shape, dtype, *inputs)
            )
        if outcome.signs:
            fresh = out is None or outcome.numbers
            found["signs"] = (
                np.empty(self.words, np.uint64) if fresh else result(out, self.words, np.uint64, *inputs)
            )
        return found

    def delivered(self, targets: dict[str, Array], out: Array | None) -> Any:
        """What a plan gives: numbers, words, or both."""
        given = [*targets.values()]
        if out is not None:
            given[0] = deliver(given[0], out)
        return given[0] if len(given) == 1 else tuple(given)

    def given(self, epilogue: Epilogue) -> dict[str, Array]:
        """The numbers of ``epilogue`` by the record's names, laid out once."""
        if not (self.outcome.steps or self.outcome.signs):
            return {}
        found: dict[str, Array] = epilogue.derived("cpu", partial(self._laid_out, epilogue))
        return found if epilogue.residual is None else {**found, "residual": native(epilogue.residual)}

    def _laid_out(self, epilogue: Epilogue) -> dict[str, Array]:
        found: dict[str, Array] = {}
        if self.rows:
            rows = [n for _, numbers in epilogue.steps for n in numbers]
            found["parameters"] = np.zeros((self.rows, self.step), self.floats)
            for row, numbers in zip(found["parameters"], rows, strict=True):
                row[: self.filters] = numbers
        if self.outcome.signs:
            found["tau" if self.outcome.dtype == INTEGERS else "bounds"] = self._row(
                epilogue.tau, self.outcome.dtype
            )
            found["flip"] = self._row(epilogue.flip, np.uint8)
        return found

    def _row(self, numbers: Any, dtype: Any) -> NDArray[Any]:
        """Numbers of the filters, or lines of them, with room for a kernel to read 64 from any on."""
        row = np.zeros((*np.shape(numbers)[:-1], self.step), dtype)
        row[..., : self.filters] = numbers
        return row


class NothingPlan:
    """The plan of a binary convolution whose result has no elements."""

    def __init__(self, spec: BinaryConv) -> None:
        last = spec.target.channels_last and spec.target.rank > 2
        self.finish = Finish(spec.outcome, spec.shape, spec.logical, last)

    def __call__(self, x: Array, filters: PackedFilters, epilogue: Epilogue, out: Array | None) -> Any:
        return self.finish.delivered(self.finish.targets(out, [], {}), out)
