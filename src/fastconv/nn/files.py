"""Deployed networks in files of safetensors: tensors, and modules, their arguments and calls as JSON."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from fastconv._backends import optional
from fastconv.nn.calls import Call, PackedModule, Slot, has_channels_last, is_plain, slots_of
from fastconv.nn.functions import FUNCTIONS
from fastconv.nn.graph import PackedGraph
from fastconv.nn.modules import PackedConv2d, PackedLinear, PackedMaxPool2d
from fastconv.nn.packing import EnlargeSigns, JoinSigns, PackedFlatten, PackSigns, UnpackSigns
from fastconv.nn.pointwise import Scale, Shift, StrictSign
from fastconv.nn.signs import BinaryMaxPool2d, Sign
from fastconv.packed import PackedSigns

Path = str | PathLike[str]
FORMAT = "fastconv.nn 2"
PACKED = (
    PackedConv2d,
    PackedFlatten,
    PackedLinear,
    PackedMaxPool2d,
    PackSigns,
    UnpackSigns,
    JoinSigns,
    EnlargeSigns,
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

ATTRIBUTES: dict[str, Callable[[Any], Any]] = {
    "bias": lambda layer: layer.bias is not None,
    "init": lambda layer: 0.25,
}
"""Arguments of constructors that are no attributes of the same meaning."""


def save(deployed: nn.Module, path: Path) -> None:
    """Write a deployed network to a file of safetensors. Nothing is pickled.

    Parameters
    ----------
    deployed : PackedGraph
        As :func:`fastconv.nn.deploy` makes it.
    path : path
        Replaced if it exists.

    Raises
    ------
    TypeError
        If it is none, or has a layer or calls a function that a file cannot name.
    ValueError
        If :func:`load` would not give the same network: if there are hooks, or a layer with tensors of
        another shape or dtype than its constructor makes, float64 among them. Nothing is written then.
    """
    save_file = optional("save", "safetensors.torch", "torch").save_file
    if type(deployed) is not PackedGraph:
        raise TypeError(
            f"save: deployed must be a PackedGraph, as deploy makes it, got {type(deployed).__name__}; "
            "deploy it first"
        )
    for name, module in (("deployed", deployed), *deployed.named_children()):
        _check_call(name, module)
    described = json.dumps(_described(deployed))
    tensors = {name: tensor.contiguous().clone() for name, tensor in deployed.state_dict().items()}
    _check_shapes("save: deployed", _twin("save: deployed", described), tensors)
    save_file(tensors, path, metadata={"format": FORMAT, "network": described})


def load(path: Path) -> PackedGraph:
    """Read a network that :func:`save` wrote, and check it whole.

    Parameters
    ----------
    path : path

    Returns
    -------
    PackedGraph
        On the CPU.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is truncated or no file of :func:`save`, if it names what is unknown, if tensors are missing,
        too many or of a wrong shape or type, or if bits beyond the last sign of a word are not 0.
    """
    with torch.inference_mode(False):  # whose tensors count changes, as deploy's do
        return _loaded(path)


def _loaded(path: Path) -> PackedGraph:
    metadata, tensors = _read(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"load: {path} must be of format {FORMAT!r}, got {metadata.get('format')!r}")
    file = f"load: {path}"
    network = _twin(file, metadata.get("network", ""))
    _check_shapes(file, network, tensors)
    network.load_state_dict(_laid_out(network, tensors), assign=True)
    for name, layer in network.named_children():
        _check_tails(file, name, layer)
    network.eval().requires_grad_(False)
    return network


def _laid_out(twin: PackedGraph, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies that lie in memory as the twin's tensors do: PyTorch's convolutions round by the layout of their
    weights."""
    expected = twin.state_dict()
    return {
        name: torch.empty_like(expected[name], device="cpu").copy_(tensor) for name, tensor in tensors.items()
    }


def _check_call(name: str, module: nn.Module) -> None:
    """Refuse what changes a module's call, and no file can hold."""
    if not is_plain(module):
        raise ValueError(
            f"save: {name} has hooks or a forward of its own, which a file cannot hold; remove them first"
        )


def _described(network: PackedGraph) -> dict[str, Any]:
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
        value = ATTRIBUTES[name](layer) if name in ATTRIBUTES else getattr(layer, name, parameter.default)
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


def _read_value(written: Any) -> Any:
    """The inverse of :func:`_written`."""
    if not isinstance(written, list):
        return written
    kind, *parts = written
    if kind == "slot":
        (index,) = parts
        return Slot(int(index))
    if kind == "dict":
        return {str(name): _read_value(part) for name, part in parts}
    if kind == "torch":
        (name,) = parts
        value = getattr(torch, name)
        if not isinstance(value, (torch.dtype, torch.memory_format)):
            raise ValueError(f"torch.{name} is no dtype")
        return value
    if kind == "...":
        return Ellipsis
    values = [*map(_read_value, parts)]
    return {"list": values, "tuple": tuple(values)}[kind] if kind != "slice" else slice(*values)


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    safetensors = optional("load", "safetensors", "torch")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            # copies, since the file may be replaced while the model lives
            return file.metadata() or {}, {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(f"load: {path} is no complete file of safetensors: {error}") from error


def _twin(where: str, described: str) -> PackedGraph:
    """The network that a file describes, without numbers."""
    try:
        network = _made(json.loads(described))
    except Exception as error:  # whatever a constructor says to arguments that make no sense
        raise ValueError(f"{where} does not describe a network: {error!r}") from error
    network.float()  # whatever the default dtype is
    return network


def _made(given: dict[str, Any]) -> PackedGraph:
    with torch.device("meta"):
        modules = {
            name: KNOWN[kind](**{key: _read_value(value) for key, value in arguments.items()})
            for name, kind, arguments in given["modules"]
        }
        tensors = {name: torch.zeros(shape) for name, shape in given["tensors"].items()}
    calls = [Call(target, *map(_read_value, parts)) for target, *parts in given["calls"]]
    network = PackedGraph(
        modules, calls, given["inputs"], _read_value(given["output"]), given["channels_last"], None, tensors
    )
    _check_calls(network)
    if given.get("weights_channels_last", given["channels_last"]):
        network.to(memory_format=torch.channels_last)
    return network


def _check_calls(network: PackedGraph) -> None:
    """Refuse calls of what is unknown, and of values that nothing has given."""
    known = set(range(len(network.inputs)))
    for call in network.calls:
        if call.target == "get":
            (name,) = call.args
            if name not in network._buffers:
                raise ValueError(f"there is no tensor {name!r}")
        elif call.target not in network._modules and call.target not in FUNCTIONS:
            raise ValueError(f"no module or function is called {call.target!r}")
        missing = set(slots_of((call.args, call.kwargs))) - known
        if missing:
            raise ValueError(f"{call.target} is called with {missing}, which nothing has given")
        known |= {int(place) for place in call.results}
    if set(slots_of(network.output)) - known:
        raise ValueError("the output is given by nothing")


def _check_shapes(where: str, twin: PackedGraph, tensors: dict[str, Tensor]) -> None:
    expected = twin.state_dict()
    missing, unknown = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or unknown:
        raise ValueError(f"{where} has no tensors {missing}, and has {unknown}, which no layer wants")
    for name, tensor in tensors.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise ValueError(
                f"{where}: {name} must have shape {tuple(wanted.shape)} and dtype {wanted.dtype}, "
                f"got {tuple(tensor.shape)} and {tensor.dtype}"
            )


def _check_tails(where: str, name: str, layer: nn.Module) -> None:
    """Refuse words whose bits beyond the last sign are not 0: counts would be wrong."""
    for part, length in layer.signs_of_words() if isinstance(layer, PackedModule) else ():
        try:
            PackedSigns(getattr(layer, part).numpy(), length, check=True)
        except ValueError as error:
            raise ValueError(f"{where}: {name}.{part}: {error}") from error
