"""What becomes of the integers of a binary product: steps in the order given, and what is given out.

=================  =====================================================
step               what becomes of v, o being the output channel
=================  =====================================================
scale(s)           v * s[o]
shift(b)           v + b[o]
affine(s, b)       s[o] * v + b[o], rounded twice
fused(s, b)        s[o] * v + b[o], rounded once
window(K)          v * K[n, g, y, x], XNOR-Net's K
add(r)             v + r[n, o, y, x], a residual
prelu(p)           p[o] * v where v < 0, else v
relu               0 where v < 0, else v
clamp(lo, hi)      lo[o] where v < lo[o], then hi[o] where that is more, else v
=================  =====================================================

Every step is an IEEE operation on float32 (float64 for float64 input); NaNs stay NaNs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fastconv._checks import as_array, check_out, choice, float_result, real_array
from fastconv._shared.thresholds import on_integers
from fastconv.packed import PackedFilters, PackedSigns, Threshold

Array = Any
Shape = tuple[int, ...]

PARAMETERS = {
    "scale": 1, "shift": 1, "affine": 2, "fused": 2, "window": 0, "add": 0, "prelu": 1, "relu": 0, "clamp": 2,
}  # fmt: skip
"""How many parameters for each output channel a step has."""

PARTS: dict[str, tuple[str, ...]] = {"relu": (), "clamp": ("lo", "hi"), "prelu": ("slope",), "shift": ("b",)}
"""What the numbers of activations are called."""

ACTIVATIONS = "'relu', ('clamp', lo, hi), ('prelu', slope), ('shift', b), or a list of these, or None"


class Step(NamedTuple):
    """One step; ``parameters`` are numbers or arrays (O,). K is found from the input, and the residual is the
    epilogue's."""

    kind: str
    parameters: tuple[Any, ...] = ()


class Outcome(NamedTuple):
    """What a plan has to know of an epilogue: ``dtype`` of the numbers, int32 if there are no steps."""

    dtype: np.dtype[Any]
    steps: tuple[str, ...]
    numbers: bool
    signs: bool


@dataclass(frozen=True, slots=True, eq=False)
class Epilogue:
    """Steps with their numbers, and what is given out: numbers, signs of (v >= tau) xor flip, or both.

    ``tau`` and ``flip`` are numbers or arrays (O,), of the dtype of the numbers and bool. What "add" adds
    is the ``residual``, of the shape and dtype of the numbers.
    """

    outcome: Outcome
    steps: tuple[Step, ...] = ()
    tau: Any = None
    flip: Any = None
    residual: Any = None
    _derived: dict[str, Any] = field(default_factory=dict, repr=False)

    def adding(self, residual: Any) -> Epilogue:
        """The same with another residual; what was derived from the rest serves both."""
        return Epilogue(self.outcome, self.steps, self.tau, self.flip, residual, self._derived)

    def derived(self, key: str, make: Callable[[], Any]) -> Any:
        """``make()``, computed at the first call with this ``key`` and kept: a kernel's own layout."""
        if key not in self._derived:
            self._derived[key] = make()
        return self._derived[key]


class Asked(NamedTuple):
    """The arguments of a face that say what becomes of the integers."""

    scale: Any = None
    bias: Any = None
    threshold: Any = None
    residual: Any = None
    activation: Any = None
    signs: Any = None

    def is_scale(self) -> bool:
        """Whether nothing but a scale is asked for."""
        no_bias, no_residual = self.bias is None, self.residual is None
        return (
            no_bias
            and no_residual
            and self.threshold is None
            and self.activation is None
            and self.signs is None
        )

    @property
    def arrays(self) -> list[Any]:
        """Everything that may be an array."""
        if self is NOTHING:
            return []
        activation = [part for part in _listed(self.activation) if isinstance(part, tuple)]
        parts = [self.scale, self.bias, getattr(self.threshold, "tau", None), self.residual]
        return [*parts, *_listed(self.signs), *(number for part in activation for number in part[1:])]


NOTHING = Asked()


def asked_for(*given: Any) -> Asked:
    """The arguments in their order; NOTHING if all are None."""
    for value in given:
        if value is not None:
            return Asked(*given)
    return NOTHING


def _listed(value: Any) -> list[Any]:
    """The parts of a list or a pair, or else the value alone."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


INTEGERS = np.dtype(np.int32)
PLAIN = Epilogue(Outcome(INTEGERS, (), True, False))
"""The integers as they are."""

COMPARED = Outcome(INTEGERS, (), False, True)


def epilogue_of(operation: str, x: Any, weight: Any, shape: Shape, asked: Asked) -> Epilogue:
    """Check what is asked of the products of ``x`` with ``weight``, whose numbers are to be of ``shape``."""
    if asked is NOTHING:
        return PLAIN
    filters = weight.shape[0]
    if asked.threshold is not None:
        return _threshold(operation, filters, asked)
    dtype = np.dtype(np.float32) if isinstance(x, PackedSigns) else float_result(x.dtype)
    check = _Checks(operation, filters, dtype)
    if isinstance(asked.scale, str) and asked.is_scale():
        _check_named_scale(check, x, weight, asked.scale)
        return _scaled(weight, asked.scale, dtype)
    steps = [*_scale(check, x, weight, asked.scale)]
    if asked.bias is not None:
        steps.append(Step("shift", (check.per_filter("bias", asked.bias, number=False),)))
    residual = None
    if asked.residual is not None:
        residual = check.residual(asked.residual, shape)
        steps.append(Step("add"))
    steps += _activations(check, asked.activation)
    if asked.signs is None:
        return _of_steps(steps, dtype, residual) if steps else PLAIN
    tau, flip = _signs(check, asked.signs, integers=not steps)
    kinds = tuple(step.kind for step in steps)
    outcome = Outcome(dtype if steps else INTEGERS, kinds, True, True)
    return Epilogue(outcome, tuple(steps), tau, flip, residual)


def _of_steps(steps: list[Step], dtype: np.dtype[Any], residual: Any = None) -> Epilogue:
    outcome = Outcome(dtype, tuple(step.kind for step in steps), True, False)
    return Epilogue(outcome, tuple(steps), residual=residual)


def _scaled(weight: PackedFilters, scale: str, dtype: np.dtype[Any]) -> Epilogue:
    """The epilogue of a named scale and nothing else, which the filters keep."""
    made: Epilogue = weight.derived(
        ("scaled", scale, dtype), lambda: _of_steps(_named_scale(weight, scale, dtype), dtype)
    )
    return made


def compared(threshold: Threshold) -> Epilogue:
    """The signs that ``threshold`` makes of the integers."""
    return Epilogue(COMPARED, (), threshold.tau, threshold.flip)


def check_result(operation: str, out: Any, shape: Shape, logical: Shape, outcome: Outcome) -> None:
    """Refuse an ``out`` that is not exactly for the numbers, or for the words where there are no numbers."""
    if outcome.numbers:
        check_out(operation, out, shape, outcome.dtype)
    else:
        check_out(operation, out, words_shape(logical), np.uint64)


def words_shape(logical: Shape) -> Shape:
    """The shape of the words of signs of ``logical`` shape."""
    return (*logical[:-1], -(-logical[-1] // 64))


def _threshold(operation: str, filters: int, asked: Asked) -> Epilogue:
    threshold = asked.threshold
    if not isinstance(threshold, Threshold):
        raise TypeError(f"{operation}: threshold must be a Threshold or None, got {type(threshold).__name__}")
    if asked.scale is not None or asked.bias is not None:
        raise ValueError(
            f"{operation}: threshold excludes scale and bias; fold them into it with fold_batchnorm"
        )
    if any(part is not None for part in (asked.residual, asked.activation, asked.signs)):
        raise ValueError(
            f"{operation}: threshold excludes residual, activation and signs; signs=(tau, flip) compares "
            "the numbers after them"
        )
    if threshold.tau.shape != (filters,):
        raise ValueError(f"{operation}: threshold must have {filters} channels, got {threshold.tau.shape[0]}")
    return compared(threshold)


def _scale(check: _Checks, x: Any, weight: Any, scale: Any) -> list[Step]:
    if scale is None:
        return []
    if not isinstance(scale, str):
        return [Step("scale", (check.per_filter("scale", scale, number=False),))]
    _check_named_scale(check, x, weight, scale)
    return _named_scale(weight, scale, check.dtype)


def _check_named_scale(check: _Checks, x: Any, weight: Any, scale: str) -> None:
    """Refuse unknown names, and operands whose magnitudes are gone."""
    choice(check.operation, "scale", scale, ("alpha", "xnor"), f", an array ({check.filters},) or None")
    if isinstance(weight, PackedSigns):
        raise ValueError(
            f"{check.operation}: scale {scale!r} needs the weight's magnitudes, which PackedSigns has "
            "dropped; pack the real weight by pack_filters(weight[:, :, None, None]), which keeps their mean"
        )
    if scale == "xnor" and isinstance(x, PackedSigns):
        raise ValueError(
            f"{check.operation}: scale 'xnor' needs the magnitudes of x, which PackedSigns has dropped"
        )


def _named_scale(weight: PackedFilters, scale: str, dtype: np.dtype[Any]) -> list[Step]:
    alpha = Step("scale", (weight.alpha.astype(dtype, copy=False),))
    return [alpha, Step("window")] if scale == "xnor" else [alpha]


def _activations(check: _Checks, activation: Any) -> list[Step]:
    if activation is None:
        return []
    steps = []
    for given in activation if isinstance(activation, list) else [activation]:
        name, *numbers = given if isinstance(given, tuple) and given else (given,)
        if not isinstance(name, str) or len(numbers) != len(PARTS.get(name, "none")):
            raise ValueError(f"{check.operation}: activation must be {ACTIVATIONS}, got {given!r}")
        given = zip(PARTS[name], numbers, strict=True)
        parameters = (check.per_filter(f"{part} of activation {name!r}", number) for part, number in given)
        steps.append(Step(name, tuple(parameters)))
    return steps


def _signs(check: _Checks, signs: Any, *, integers: bool) -> tuple[Any, Any]:
    tau, flip = signs if isinstance(signs, tuple) and len(signs) == 2 else (signs, False)
    if isinstance(tau, (bool, tuple)) or (
        isinstance(tau, list) and any(isinstance(part, bool) for part in tau)
    ):
        raise TypeError(
            f"{check.operation}: signs must be tau or a tuple (tau, flip), or None, got {signs!r}"
        )
    flips = as_array(check.operation, "signs", flip)
    if flips.dtype != np.bool_:
        raise TypeError(
            f"{check.operation}: signs must be tau or (tau, flip), flip of bool, got {flips.dtype}"
        )
    if flips.shape not in ((), (check.filters,)):
        raise ValueError(
            f"{check.operation}: flip of signs must be a bool or have shape ({check.filters},), "
            f"got {flips.shape}"
        )
    if integers:
        return on_integers(check.real("signs", tau)[()], flips[()])
    return check.per_filter("signs", tau), flips


@dataclass(frozen=True)
class _Checks:
    """What parameters of steps have to fit."""

    operation: str
    filters: int
    dtype: np.dtype[Any]

    def real(self, name: str, value: Any, *, number: bool = True) -> Array:
        """``value`` as an array (O,), or () if a ``number`` will do."""
        array = real_array(self.operation, name, value)
        if array.shape != (self.filters,) and not (number and array.ndim == 0):
            accepted = (
                f"a number or have shape ({self.filters},)" if number else f"have shape ({self.filters},)"
            )
            raise ValueError(f"{self.operation}: {name} must {'be ' * number}{accepted}, got {array.shape}")
        return array

    def per_filter(self, name: str, value: Any, *, number: bool = True) -> Array:
        """The same, in the dtype of the numbers."""
        array = self.real(name, value, number=number)
        return array.astype(self.dtype, copy=False)

    def residual(self, value: Any, shape: Shape) -> Array:
        array = real_array(self.operation, "residual", value)
        if array.shape != shape:
            raise ValueError(
                f"{self.operation}: residual must have the result's shape {shape}, got {array.shape}"
            )
        return array.astype(self.dtype, copy=False)
