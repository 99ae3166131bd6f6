"""Calls that are ready: a network becomes one flat list of plans for inputs of one shape and layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from fastconv._backends import Array
from fastconv.adapters.torch_tensors import to_tensor
from fastconv.nn.arrays import lent
from fastconv.nn.calls import Call, PackedModule, Slot, filled, slots_of

Named = Callable[[str], Callable[..., Any]]
"""The module or function that a call names."""


class Ready(NamedTuple):
    """A call that is ready: on the values of ``sources``, with those not needed any more in ``dropped``."""

    function: Callable[..., Any]
    sources: tuple[int, ...]
    results: tuple[int, ...]
    dropped: tuple[int, ...]


class Preparation:
    """Runs calls once, and notes as ``plans`` what was called on what.

    A value may be a tensor, an array in the same memory, or both: arrays stand behind all tensors.

    Parameters
    ----------
    calls : sequence of Call
    named : callable
    output : Slot, or a tree of them
    given : tuple
        The inputs.
    contiguous : bool
        Whether PyTorch's modules are given images with the numbers of a channel side by side.
    """

    def __init__(
        self, calls: Sequence[Call], named: Named, output: Any, given: tuple[Any, ...], contiguous: bool
    ) -> None:
        self.named, self.plans = named, []  # type: tuple[Named, list[Ready]]
        self.values: dict[int, Any] = dict(enumerate(given))
        self.overwriting: list[int] = []
        self.arrays = 1 + max([len(given), *(place for call in calls for place in call.results)])
        self.adopted = _adopted_contiguous if contiguous else to_tensor
        for call in calls:
            self._plan(call)
        for slot in slots_of(output):
            self._tensor(slot)
        self._drop({*slots_of(output)})
        self._write_over()

    def _plan(self, call: Call) -> None:
        module = self.named(call.target)
        slots = slots_of((call.args, call.kwargs))
        if isinstance(module, PackedModule) and module.has_plan:
            sources = tuple(map(self._array, slots))
            function = module.planned(*(self.values[source] for source in sources))
            if module.overwrites:
                self.overwriting.append(len(self.plans))
            self._call(function, sources, tuple(self.arrays + place for place in call.results))
            return
        sources = tuple(map(self._tensor, slots))
        function = _called(module, call, slots)
        self._call(function, sources, call.results)

    def _tensor(self, slot: int) -> int:
        if slot not in self.values:
            self._call(self.adopted, (self.arrays + slot,), (slot,))
        return slot

    def _array(self, slot: int) -> int:
        if self.arrays + slot not in self.values:
            self._call(lent, (slot,), (self.arrays + slot,))
        return self.arrays + slot

    def _call(self, function: Callable[..., Any], sources: tuple[int, ...], results: tuple[int, ...]) -> None:
        planned = Ready(function, sources, results, ())
        self.plans.append(planned)
        _step(planned, self.values)

    def _drop(self, needed: set[int]) -> None:
        """Let values go after the last call that takes them, but for those that are ``needed``."""
        for at in range(len(self.plans) - 1, -1, -1):
            plan = self.plans[at]
            dropped = {*plan.sources, *plan.results} - needed
            needed |= dropped
            self.plans[at] = plan._replace(dropped=tuple(dropped))

    def _write_over(self) -> None:
        """Let results come to lie over arrays that nothing reads again: half as much memory is then touched.
        What has been a tensor stays, for a module or a hook may have kept it."""
        for at in self.overwriting:
            plan = self.plans[at]
            *others, last = plan.sources
            before, after = self.values[last], self.values[plan.results[0]]
            alike = before.shape == after.shape and before.dtype == after.dtype
            unseen = last - self.arrays not in self.values
            if alike and unseen and last in plan.dropped and last not in others:
                self.plans[at] = plan._replace(function=partial(plan.function, over=True))


def run(plans: Sequence[Ready], given: tuple[Any, ...]) -> dict[int, Any]:
    values: dict[int, Any] = dict(enumerate(given))
    for plan in plans:
        _step(plan, values)
    return values


def _step(plan: Ready, values: dict[int, Any]) -> None:
    function, sources, results, dropped = plan
    found = function(*[values[source] for source in sources])
    if len(results) == 1:
        values[results[0]] = found
    else:
        values.update(zip(results, found, strict=True))
    for place in dropped:
        del values[place]


def _called(function: Callable[..., Any], call: Call, slots: Sequence[int]) -> Callable[..., Any]:
    """``function`` with the constants of its call, to be called with the values of its slots."""
    if not call.kwargs and call.args == tuple(map(Slot, slots)):
        return function

    def run(*values: Any) -> Any:
        known = dict(zip(slots, values, strict=True))
        return function(*filled(call.args, known), **filled(call.kwargs, known))

    return run


def _adopted_contiguous(array: Array) -> Tensor:
    return to_tensor(array).contiguous()
