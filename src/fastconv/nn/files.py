"""Deployed networks in files of safetensors: tensors, and modules, their arguments and calls as JSON."""

from __future__ import annotations

import json
from os import PathLike

import torch
from torch import Tensor, nn

from fastconv._backends import optional
from fastconv.nn.calls import PackedModule, is_plain
from fastconv.nn.description import described, made
from fastconv.nn.graph import PackedGraph
from fastconv.packed import PackedSigns

Path = str | PathLike[str]
FORMAT = "fastconv.nn 2"


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
    network = json.dumps(described(deployed))
    tensors = {name: tensor.contiguous().clone() for name, tensor in deployed.state_dict().items()}
    _check_shapes("save: deployed", _twin("save: deployed", network), tensors)
    save_file(tensors, path, metadata={"format": FORMAT, "network": network})


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


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    safetensors = optional("load", "safetensors", "torch")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            # copies, since the file may be replaced while the model lives
            return file.metadata() or {}, {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(f"load: {path} is no complete file of safetensors: {error}") from error


def _twin(where: str, written: str) -> PackedGraph:
    """The network that a file describes, without numbers."""
    try:
        network = made(json.loads(written))
    except Exception as error:  # whatever a constructor says to arguments that make no sense
        raise ValueError(f"{where} does not describe a network: {error!r}") from error
    network.float()  # whatever the default dtype is
    return network


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
