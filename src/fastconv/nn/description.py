"""What a file says of a deployed network beside its numbers: modules, their arguments, and calls, as JSON.

What is read may be anything, so nothing is believed: layers and functions are those of two tables,
constructors check their arguments, and every call is one that :func:`fastconv.nn.deploy` could have made.
"""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fastconv._checks import flag
from fastconv.nn.calls import Call, PackedModule, Slot, has_channels_last, slots_of
from fastconv.nn.channelwise import Channelwise
from fastconv.nn.functions import ATTRIBUTES, FUNCTIONS
from fastconv.nn.graph import PackedGraph
from fastconv.nn.modules import PackedConv2d, PackedLinear
from fastconv.nn.packing import JoinSigns, PackedFlatten, PackSigns, UnpackSigns
from fastconv.nn.pointwise import Scale, Shift, StrictSign
from fastconv.nn.resizing import EnlargeSigns, PackedMaxPool2d
from fastconv.nn.signs import BinaryMaxPool2d, Sign

PACKED = (
    PackedConv2d,
    PackedFlatten,
    PackedLinear,
    PackedMaxPool2d,
    PackSigns,
    UnpackSigns,
    JoinSigns,
    EnlargeSigns,
    Channelwise,
)
KNOWN: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        *PACKED, BinaryMaxPool2d, Sign, Scale, Shift, StrictSign,
        nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm,
        nn.Flatten, nn.Identity, nn.Upsample, nn.ZeroPad2d, nn.PixelShuffle,
        nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
        nn.Dropout, nn.Dropout1d, nn.Dropout2d,
        nn.PReLU, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.GELU,
        nn.SiLU, nn.ELU, nn.Softplus, nn.Tanh, nn.Sigmoid, nn.Softmax, nn.LogSoftmax,
    )
}  # fmt: skip
"""Layers that a file may name."""

NOT_KEPT: dict[str, Callable[[Any], Any]] = {
    "bias": lambda layer: layer.bias is not None,
    "init": lambda layer: 0.25,
}
"""Arguments of constructors that are no attributes of the same meaning."""

DEEPEST = 50
"""Lists in lists that a constant may be: more than any code writes, and fewer than Python can follow."""


def described(network: PackedGraph) -> dict[str, Any]:
    """All of a network but its numbers."""
    if network.functions:
        raise TypeError(
            f"save: a file can hold the functions of fastconv.nn.functions, got {[*network.functions]}"
        )
    own = {name: [*tensor.shape] for name, tensor in network._buffers.items() if tensor is not None}
    return {
        "modules": [
            [name, type(layer).__name__, _arguments(layer)] for name, layer in network.named_children()
        ],
        "tensors": own,
        "calls": [
            [call.target, *map(_written, (call.args, call.kwargs, call.results))] for call in network.calls
        ],
        "inputs": network.inputs,
        "output": _written(network.output),
        "channels_last": network.channels_last,
        "weights_channels_last": network.channels_last
        or any(map(has_channels_last, network.state_dict().values())),
    }


def _arguments(layer: nn.Module) -> dict[str, Any]:
    """What to call the constructor with: its parameters that are attributes and differ from the default."""
    if KNOWN.get(type(layer).__name__) is not type(layer):
        raise TypeError(
            "save: a file can hold what deploy makes of binary layers, and common layers of torch.nn "
            f"(see docs/nn.md), got a layer of type {type(layer).__name__}"
        )
    given = {}
    for name, parameter in inspect.signature(type(layer)).parameters.items():
        value = NOT_KEPT[name](layer) if name in NOT_KEPT else getattr(layer, name, parameter.default)
        if value is not parameter.default and value != parameter.default:
            given[name] = _written(value)
    return given


def _written(value: Any) -> Any:
    """A constant of a network as JSON has it: [kind, ...] for what JSON has not."""
    if isinstance(value, Slot):
        return ["slot", value.place]
    if type(value) in (list, tuple):
        return [type(value).__name__, *map(_written, value)]
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            raise TypeError(f"save: a file can hold dicts of which the keys are str, got {[*value]}")
        return ["dict", *[[name, _written(part)] for name, part in value.items()]]
    if isinstance(value, slice):
        return ["slice", *map(_written, (value.start, value.stop, value.step))]
    if isinstance(value, (torch.dtype, torch.memory_format)):
        return ["torch", str(value).removeprefix("torch.")]
    if value is Ellipsis:
        return ["..."]
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(f"save: a file cannot hold {value!r}, which a call of the network is given")


def made(given: dict[str, Any]) -> PackedGraph:
    """The network that :func:`described` describes, without numbers.

    Raises
    ------
    Exception
        Whatever a constructor says to arguments that make no sense.
    """
    inputs, last = given["inputs"], flag("load", "channels_last", given["channels_last"])
    if not isinstance(inputs, list) or not all(isinstance(name, str) for name in inputs):
        raise TypeError(f"inputs must be names, got {reprlib.repr(inputs)}")
    with torch.device("meta"):
        modules = {name: _module(kind, arguments) for name, kind, arguments in given["modules"]}
        tensors = {name: torch.zeros(shape) for name, shape in given["tensors"].items()}
    calls = [Call(target, *map(_read_value, parts)) for target, *parts in given["calls"]]
    network = PackedGraph(modules, calls, inputs, _read_value(given["output"]), last, None, tensors)
    _check_calls(network)
    if flag("load", "weights_channels_last", given.get("weights_channels_last", last)):
        network.to(memory_format=torch.channels_last)
    return network


def _module(kind: str, arguments: dict[str, Any]) -> nn.Module:
    if kind not in KNOWN:
        raise ValueError(f"no layer is called {reprlib.repr(kind)}")
    return KNOWN[kind](**{name: _read_value(value) for name, value in arguments.items()})


def _read_value(written: Any, depth: int = 0) -> Any:
    """The inverse of :func:`_written`."""
    if type(written) is int and not -(2**63) <= written < 2**63:
        raise ValueError(f"{reprlib.repr(written)} is beyond 64 bits")
    if not isinstance(written, list):
        return written
    if depth > DEEPEST or not written:
        raise ValueError(f"{reprlib.repr(written)} is no value")
    kind, *parts = written
    if kind == "slot":
        (place,) = parts
        if type(place) is not int:
            raise TypeError(f"a slot has a number, got {reprlib.repr(place)}")
        return Slot(place)
    if kind == "torch":
        (name,) = parts
        value = getattr(torch, name)
        if not isinstance(value, (torch.dtype, torch.memory_format)):
            raise ValueError(f"torch.{name} is no dtype")
        return value
    if kind == "dict":
        return {str(name): _read_value(part, depth + 1) for name, part in parts}
    values = [_read_value(part, depth + 1) for part in parts]
    if kind == "list":
        return values
    if kind == "tuple":
        return tuple(values)
    if kind == "slice" and len(values) == 3:
        return slice(*values)
    if kind == "..." and not values:
        return Ellipsis
    raise ValueError(f"{reprlib.repr(written)} is no value")


def _check_calls(network: PackedGraph) -> None:
    """Refuse calls of what is unknown, with other arguments than it takes, of values that nothing has given,
    and those whose results take the place of others."""
    known = set(range(len(network.inputs)))
    for call in network.calls:
        if not (type(call.args) is tuple and type(call.kwargs) is dict and type(call.results) is tuple):
            raise TypeError(f"{reprlib.repr(call.target)} must be called with a tuple and a dict")
        _check_call(network, call)
        missing = set(slots_of((call.args, call.kwargs))) - known
        if missing:
            raise ValueError(f"{call.target} is called with {missing}, which nothing has given")
        for place in call.results:
            if type(place) is not int or place < 0 or place in known:
                raise ValueError(f"{call.target} gives {reprlib.repr(place)}, which is no new place")
            known.add(place)
    if set(slots_of(network.output)) - known:
        raise ValueError("the output is given by nothing")


def _check_call(network: PackedGraph, call: Call) -> None:
    target, args, results = call.target, call.args, 1
    module = network._modules.get(target)
    if target == "get":
        if len(args) != 1 or args[0] not in network._buffers or call.kwargs:
            raise ValueError(f"there is no tensor {', '.join(map(reprlib.repr, args))}")
    elif module is None and target not in FUNCTIONS:
        raise ValueError(f"no module or function is called {reprlib.repr(target)}")
    elif not slots_of((args, call.kwargs)):
        raise ValueError(f"{target} is called with no value")
    elif isinstance(module, PackedModule):
        results = module.results
        if len(args) != module.takes or call.kwargs or not all(isinstance(part, Slot) for part in args):
            raise ValueError(f"{target} takes {module.takes} values, got {reprlib.repr(args)}")
    elif module is not None:
        inspect.signature(module.forward).bind(*args, **call.kwargs)
        if not isinstance((*args, *call.kwargs.values())[0], Slot):
            raise ValueError(f"{target} is called with no value")
    elif target == "getattr" and (len(args) != 2 or args[1] not in ATTRIBUTES):
        raise ValueError(f"getattr gives one of {ATTRIBUTES}, got {reprlib.repr(args)}")
    if len(call.results) != results:
        raise ValueError(f"{target} gives {results} values, got places for {len(call.results)}")
