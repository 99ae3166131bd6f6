"""What becomes of the sums of binary products, as CUDA kernels take it: one structure, passed by value."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import cupy
import numpy as np

from fastconv._epilogue import PARAMETERS, Epilogue, Outcome, words_shape
from fastconv.cuda.arrays import Array, contiguous, deliver, result
from fastconv.cuda.compile import c_type
from fastconv.cuda.xnor.problem import NULL

ROOM = 16
"""Steps that are passed by value; more are sent to the device's memory, which no captured graph may do."""

KINDS = tuple(PARAMETERS)
"""``enum Kind`` of kernels/binary_epilogue.cuh."""


class Results(NamedTuple):
    """What a kernel is given of its end: macros, where results go, and what becomes of the sums."""

    defines: tuple[str, ...]
    numbers: Array
    signs: Array
    laid_out: LaidOut


class Finish:
    """What a plan knows of the end of its products.

    Parameters
    ----------
    outcome : Outcome
    shape, logical : tuple of int
        Of numbers, and of signs.
    """

    def __init__(self, outcome: Outcome, shape: tuple[int, ...], logical: tuple[int, ...]) -> None:
        self.outcome, self.shape, self.words = outcome, shape, words_shape(logical)
        self.defines = (f"RESULT={c_type(outcome.dtype)}", *(("STEPS",) if outcome.steps else ()))

    def targets(self, out: Array | None, epilogue: Epilogue, *inputs: Array) -> tuple[Array, Array]:
        """Arrays that kernels may write numbers and words to; None for what is not wanted. A residual may be
        written over: whoever writes a number has read the residual's."""
        numbers = signs = None
        parameters = (n for step in epilogue.steps for n in step.parameters)
        residual = None if epilogue.residual is out else epilogue.residual
        read = *inputs, epilogue.tau, epilogue.flip, residual, *parameters
        if self.outcome.numbers:
            numbers = result(out, self.shape, self.outcome.dtype, *read)
        if self.outcome.signs:
            signs = result(None if self.outcome.numbers else out, self.words, np.uint64, *read)
        return numbers, signs

    def results(self, targets: tuple[Array, Array], epilogue: Epilogue, means: Array | None) -> Results:
        """The arguments of a launch that writes to ``targets``; ``means`` are XNOR-Net's K."""
        numbers, signs = (NULL if target is None else target for target in targets)
        if means is None and epilogue.residual is None and (self.outcome.steps or self.outcome.signs):
            # for each stream, since what is made on one may be read on another only after waiting for it
            key = f"cuda {cupy.cuda.get_current_stream().ptr}"
            laid_out = epilogue.derived(key, lambda: LaidOut(epilogue, None))
        else:
            laid_out = LaidOut(epilogue, means)
        return Results(self.defines, numbers, signs, laid_out)

    def delivered(self, targets: tuple[Array, Array], out: Array | None) -> Any:
        """What a plan gives: numbers, words, or both."""
        given = [target for target in targets if target is not None]
        given[0] = deliver(given[0], out)
        return given[0] if len(given) == 1 else tuple(given)


class LaidOut:
    """``structure``: ``struct Epilogue``, and the arrays whose addresses stand in it."""

    def __init__(self, epilogue: Epilogue, means: Array | None) -> None:
        self.arrays: list[Array] = []
        dtype, steps = epilogue.outcome.dtype, epilogue.steps
        step_type, structure_type = structures(dtype, bool(steps))
        self.structure = np.zeros(1, structure_type)
        if epilogue.outcome.signs:
            self.structure["tau"] = self._parameter(epilogue.tau, dtype)
            self.structure["flip"] = self._parameter(epilogue.flip, np.dtype(np.bool_))
        if steps:
            table = np.zeros(max(len(steps), ROOM), step_type)
            for row, (kind, numbers) in zip(table, steps, strict=False):
                row["kind"] = KINDS.index(kind)
                given = {"window": (means,), "add": (epilogue.residual,)}.get(kind, numbers)
                for name, number in zip(("first", "second"), given, strict=False):
                    row[name] = self._parameter(number, dtype)
            self.structure["count"], self.structure["steps"] = len(steps), table[:ROOM]
            if len(steps) > ROOM:
                self.structure["more"] = self._address(table[ROOM:].view(np.uint8))

    def _parameter(self, number: Any, dtype: np.dtype[Any]) -> tuple[Any, ...]:
        """``struct Parameter``: numbers on the device by their address, others as they are."""
        if isinstance(number, cupy.ndarray) or np.ndim(number):
            array = cupy.asarray(number).astype(dtype, copy=False)
            return self._address(array), min(array.ndim, 1), 0
        return 0, 0, number

    def _address(self, array: Array) -> int:
        self.arrays.append(contiguous(array))
        return int(self.arrays[-1].data.ptr)


@cache
def structures(dtype: np.dtype[Any], steps: bool) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """``struct Step`` and ``struct Epilogue`` of kernels/binary_epilogue.cuh for numbers of ``dtype``."""

    def parameter(value: Any) -> np.dtype[Any]:
        return np.dtype([("numbers", np.uint64), ("step", np.int64), ("value", value)], align=True)

    number = parameter(dtype)
    step = np.dtype([("kind", np.int64), ("first", number), ("second", number)], align=True)
    fields: list[Any] = [("tau", number), ("flip", parameter(np.uint8))]
    if steps:
        fields += [("count", np.int64), ("more", np.uint64), ("steps", step, (ROOM,))]
    return step, np.dtype(fields, align=True)
