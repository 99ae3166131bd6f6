"""Deployed models in files of safetensors: tensors, and the names and arguments of layers as JSON."""

from __future__ import annotations

import inspect
import json
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from fastconv._backends import optional
from fastconv.nn.binary_layer import BinaryLayer
from fastconv.nn.modules import PackedConv2d, PackedLayer, PackedLinear, PackedMaxPool2d
from fastconv.nn.packing import PackedFlatten, PackSigns, UnpackSigns
from fastconv.nn.sequential import PackedSequential, is_plain
from fastconv.nn.signs import BinaryMaxPool2d, Sign
from fastconv.packed import PackedSigns

Path = str | PathLike[str]
FORMAT = "fastconv.nn 1"
PACKED = (PackedConv2d, PackedFlatten, PackedLinear, PackedMaxPool2d, PackSigns, UnpackSigns)
KNOWN: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        *PACKED, BinaryMaxPool2d, Sign,
        nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.Flatten, nn.Identity,
        nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
        nn.Dropout, nn.Dropout1d, nn.Dropout2d,
        nn.PReLU, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardtanh, nn.Hardswish, nn.GELU, nn.SiLU,
        nn.Tanh, nn.Sigmoid, nn.Softmax, nn.LogSoftmax,
    )
}  # fmt: skip
"""Layers that a file may name."""


def save(deployed: nn.Module, path: Path) -> None:
    """Write a deployed chain to a file of safetensors. Nothing is pickled.

    Parameters
    ----------
    deployed : PackedSequential or Sequential
        As :func:`fastconv.nn.deploy` makes of a chain.
    path : path
        Replaced if it exists.

    Raises
    ------
    TypeError
        If it is none, or has a layer that a file cannot name.
    ValueError
        If :func:`load` would not give the same model: if there are hooks, or a layer with tensors of another
        shape or dtype than its constructor makes, float64 among them. Nothing is written then.
    """
    save_file = optional("save", "safetensors.torch", "torch").save_file
    if type(deployed) is not PackedSequential and any(isinstance(m, BinaryLayer) for m in deployed.modules()):
        raise TypeError(
            "save: the model has binary layers that train; deploy it first, deployed, _ = deploy(model)"
        )
    if type(deployed) not in (nn.Sequential, PackedSequential):
        raise TypeError(
            "save: deployed must be a PackedSequential, as deploy makes of a chain, or a Sequential, "
            f"got {type(deployed).__name__}"
        )
    for name, module in (("deployed", deployed), *deployed.named_children()):
        _check_call(name, module)
    layers = json.dumps([[type(layer).__name__, _arguments(layer)] for layer in deployed])
    tensors = {name: tensor.contiguous().clone() for name, tensor in deployed.state_dict().items()}
    _check_shapes("save: deployed", _twin("save: deployed", layers), tensors)
    save_file(tensors, path, metadata={"format": FORMAT, "layers": layers})


def load(path: Path) -> PackedSequential:
    """Read a model that :func:`save` wrote, and check it whole.

    Parameters
    ----------
    path : path

    Returns
    -------
    PackedSequential
        On the CPU.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is truncated or no file of :func:`save`, if tensors are missing, too many or of a wrong shape or
        type, or if bits beyond the last sign of a word are not 0.
    """
    with torch.inference_mode(False):  # whose tensors count changes, as deploy's do
        return _loaded(path)


def _loaded(path: Path) -> PackedSequential:
    metadata, tensors = _read(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"load: {path} must be of format {FORMAT!r}, got {metadata.get('format')!r}")
    file = f"load: {path}"
    model = _twin(file, metadata.get("layers", ""))
    _check_shapes(file, model, tensors)
    model.load_state_dict(tensors, assign=True)
    for name, layer in model.named_children():
        _check_tails(file, name, layer)
    model.eval().requires_grad_(False)
    return model


def _check_call(name: str, module: nn.Module) -> None:
    """Refuse what changes a module's call, and no file can hold."""
    if not is_plain(module):
        raise ValueError(
            f"save: {name} has hooks or a forward of its own, which a file cannot hold; remove them first"
        )


def _arguments(layer: nn.Module) -> dict[str, Any]:
    """What to call the constructor with: its parameters that are attributes and differ from the default."""
    if KNOWN.get(type(layer).__name__) is not type(layer):
        raise TypeError(
            "save: a file can hold what deploy makes of binary layers, and common layers of torch.nn "
            f"(see docs/nn.md), got a layer of type {type(layer).__name__}"
        )
    given = {}
    for name, parameter in inspect.signature(type(layer)).parameters.items():
        value = getattr(layer, name, parameter.default)
        value = value is not None if name == "bias" else value
        if value is not parameter.default and value != parameter.default:
            given[name] = value
    return given


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    safetensors = optional("load", "safetensors", "torch")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            # copies, since the file may be replaced while the model lives
            return file.metadata() or {}, {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(f"load: {path} is no complete file of safetensors: {error}") from error


def _twin(where: str, described: str) -> PackedSequential:
    """The model that a file describes, without numbers."""
    try:
        with torch.device("meta"):
            layers = [KNOWN[kind](**_tuples(arguments)) for kind, arguments in json.loads(described)]
    except Exception as error:  # whatever a constructor says to arguments that make no sense
        raise ValueError(f"{where} does not describe layers: {error!r}") from error
    model = PackedSequential(*layers)
    model.float()  # whatever the default dtype is
    return model


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples, which PyTorch's layers want."""
    if isinstance(value, dict):
        return {name: _tuples(part) for name, part in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _check_shapes(where: str, twin: PackedSequential, tensors: dict[str, Tensor]) -> None:
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
    for part, length in layer.signs_of_words() if isinstance(layer, (PackedLayer, PackedMaxPool2d)) else ():
        try:
            PackedSigns(getattr(layer, part).numpy(), length, check=True)
        except ValueError as error:
            raise ValueError(f"{where}: {name}.{part}: {error}") from error
